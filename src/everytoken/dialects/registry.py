"""The dialects by name. The name is stored with every response, so that another process can take it over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken import plugins
from everytoken.dialects.anthropic_messages.dialect import ANTHROPIC_MESSAGES
from everytoken.dialects.openai_chat.dialect import OPENAI_CHAT
from everytoken.dialects.openai_completions.dialect import OPENAI_COMPLETIONS
from everytoken.dialects.openai_responses.dialect import OPENAI_RESPONSES
from everytoken.errors import EverytokenError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from everytoken.dialects.dialect import Dialect

__all__ = ["all_dialects", "dialect_named", "dialect_of", "register"]

_DIALECTS: dict[str, Dialect] = {
    # Chat first: clients look for a dialect by the end of its path, and that of completions is a part of it.
    dialect.name: dialect
    for dialect in (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, OPENAI_COMPLETIONS)
}


def register(dialect: Dialect) -> None:
    """Add a dialect, under its name."""
    _DIALECTS[dialect.name] = dialect


def all_dialects() -> Iterable[Dialect]:
    """Return every dialect."""
    return _DIALECTS.values()


def dialect_named(name: str) -> Dialect:
    """Return the dialect with a name: ours, or one of the entry points `everytoken.dialects`.

    Raises `EverytokenError` if there is none.
    """
    dialect = _DIALECTS.get(name)
    if dialect is None:
        dialect = plugins.load("everytoken.dialects", name)
        if dialect is None:
            raise EverytokenError(f"unknown dialect {name!r}")
        register(dialect)
    return dialect


def dialect_of(meta: Mapping[str, Any]) -> Dialect:
    """Return the dialect of a stored response; those of older versions name none and are chat completions."""
    return dialect_named(meta.get("dialect", OPENAI_CHAT.name))
