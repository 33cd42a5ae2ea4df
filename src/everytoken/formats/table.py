"""Every output format under its name. A route takes its format from here; a new format is one module and one line."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from everytoken import plugins
from everytoken.errors import InvalidRequestError
from everytoken.formats.anthropic import AnthropicEvents
from everytoken.formats.durable import DurableEvents
from everytoken.formats.openai import OpenAIEvents
from everytoken.formats.openai_responses import ResponsesEvents
from everytoken.formats.text import PlainText
from everytoken.formats.ui import UIMessages

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.formats.output import OutputFormat

__all__ = ["FORMATS", "format_named", "offered", "register_format"]

FORMATS: dict[str, Callable[..., OutputFormat]] = {
    "openai": OpenAIEvents,
    "responses": ResponsesEvents,
    "anthropic": AnthropicEvents,
    "text": PlainText,
    "ui": UIMessages,
    "durable": DurableEvents,
}
"""Name -> what makes a format for one reader; the arguments are the format's own."""

_WITHOUT_ARGUMENTS = {"openai", "responses", "anthropic", "text"}
_MAX_NAME = 64  # characters


def register_format(name: str, make: Callable[[], OutputFormat]) -> None:
    """Add a format that readers can ask for by its name."""
    FORMATS[name] = make
    _WITHOUT_ARGUMENTS.add(name)


def format_named(name: str) -> Callable[[], OutputFormat]:
    """Return what makes the format that a reader asks for: ours, or one of the entry points `everytoken.formats`.

    May read files. Raises `InvalidRequestError` for a name that there is not.
    """
    if name not in _WITHOUT_ARGUMENTS and name in offered():
        register_format(name, plugins.load("everytoken.formats", name))
    if name not in _WITHOUT_ARGUMENTS:
        raise InvalidRequestError(f"there is no format {name[:_MAX_NAME]!r}", param="format")
    return FORMATS[name]


@cache
def offered() -> frozenset[str]:
    """Return the names of the formats that other packages add: looked for once, since readers choose what to ask for."""
    return frozenset(entry.name for entry in entry_points(group="everytoken.formats")) - set(FORMATS)
