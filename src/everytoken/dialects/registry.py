"""The dialects by name. The name is stored with every response, so that another process can take it over."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from everytoken import plugins
from everytoken.errors import EverytokenError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from everytoken.dialects.dialect import Dialect

__all__ = ["all_dialects", "dialect_named", "dialect_of", "register"]

_FIRST: Final = "openai-chat"
# Ours, and where they are: a program imports a client before it knows which it needs. Chat completions come first: clients
# look for a dialect by the end of its path, and that of completions is a part of it.
_OURS: Final = {
    _FIRST: ("openai_chat", "OPENAI_CHAT"),
    "openai-responses": ("openai_responses", "OPENAI_RESPONSES"),
    "anthropic-messages": ("anthropic_messages", "ANTHROPIC_MESSAGES"),
    "openai-completions": ("openai_completions", "OPENAI_COMPLETIONS"),
}
_DIALECTS: dict[str, Dialect] = {}


def register(dialect: Dialect) -> None:
    """Add a dialect, under its name."""
    _DIALECTS[dialect.name] = dialect


def all_dialects() -> Iterable[Dialect]:
    """Return every dialect."""
    ours = [dialect_named(name) for name in _OURS]
    return [*ours, *(dialect for name, dialect in _DIALECTS.items() if name not in _OURS)]


def dialect_named(name: str) -> Dialect:
    """Return the dialect with a name: ours, or one of the entry points `everytoken.dialects`.

    Raises `EverytokenError` if there is none.
    """
    dialect = _DIALECTS.get(name)
    if dialect is None and name in _OURS:
        package, constant = _OURS[name]
        found: Dialect = getattr(import_module(f"everytoken.dialects.{package}.dialect"), constant)
        register(found)
        return found
    if dialect is None:
        dialect = plugins.load("everytoken.dialects", name)
        if dialect is None:
            raise EverytokenError(f"unknown dialect {name!r}")
        register(dialect)
    return dialect


def dialect_of(meta: Mapping[str, Any]) -> Dialect:
    """Return the dialect of a stored response; those of older versions name none and are chat completions."""
    return dialect_named(meta.get("dialect", _FIRST))
