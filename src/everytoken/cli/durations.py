"""Lengths of time as people write them: `90s`, `15m`, `24h`, `30d`, `2w`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.core import Context, Parameter

__all__ = ["Duration", "parse"]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}
_FORM = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([smhdw]?)")


def parse(text: str) -> float:
    """Return seconds; a number by itself is one of seconds. Raises `ValueError`."""
    found = _FORM.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} is not a length of time: write 90s, 15m, 24h, 30d or 2w")
    return float(found[1]) * _UNITS[found[2] or "s"]


class Duration(click.ParamType[float]):
    """A length of time on the command line, in seconds to the program."""

    name = "duration"

    def convert(self, value: Any, param: Parameter | None, ctx: Context | None) -> float:
        """Return seconds."""
        if isinstance(value, float):
            return value
        try:
            return parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
