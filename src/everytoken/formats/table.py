"""Every output format under its name. A route takes its format from here; a new format is one module and one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.formats.durable import DurableEvents
from everytoken.formats.openai import OpenAIEvents
from everytoken.formats.text import PlainText
from everytoken.formats.ui import UIMessages

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.formats.output import OutputFormat

__all__ = ["FORMATS"]

FORMATS: dict[str, Callable[..., OutputFormat]] = {
    "openai": OpenAIEvents,
    "text": PlainText,
    "ui": UIMessages,
    "durable": DurableEvents,
}
"""Name -> what makes a format for one reader; the arguments are the format's own."""
