"""The last lines of the terminal, redrawn in place; above them everything is printed for good."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LiveRegion"]

_STYLES = re.compile(r"\x1b\[[0-9;]*m")  # what a rendered line contains besides its text
_ERASE_LINE = "\x1b[K"
_ERASE_BELOW = "\x1b[J"


class LiveRegion:
    """Draws lines, writing only what has changed and in one write, so that nothing flickers.

    A line is rendered text without its line end. What is printed for good may be wider than the terminal, which wraps
    it. The region's lines are narrower, and it must have fewer of them than the terminal, or its first line could not be
    reached again. `columns` returns the current width.
    """

    def __init__(self, write: Callable[[bytes], None], columns: Callable[[], int]) -> None:
        self._write = write
        self._columns = columns
        self._shown: list[str] = []

    def draw(self, finished: list[str], live: list[str]) -> None:
        """Print `finished` for good in place of the region's lines, and make `live` the region."""
        lines = finished + (live or [""])
        same = _common(self._shown, lines)
        if not same == len(lines) == len(self._shown):
            same = min(same, len(lines) - 1)
            rest = lines[same:]
            # At the end of a full row the terminal's cursor is still in it, so that erasing would take a character.
            erased = any(self._width(line) >= self._columns() for line in rest)
            before, between, behind = (
                (_ERASE_BELOW, "\r\n", "") if erased else ("", f"{_ERASE_LINE}\r\n", _ERASE_BELOW)
            )
            text = f"{self._go_to(same)}{before}{between.join(rest)}{behind}"
            self._write(text.encode("utf-8", "replace"))
        # The terminal's cursor is at the end of the last of these lines.
        self._shown = live or [""]

    def forget(self) -> None:
        """Take it that the terminal's cursor is at the beginning of a line that is free."""
        self._shown = []

    def _go_to(self, line: int) -> str:
        """Return the codes that move the terminal's cursor from the region's end to the beginning of its `line`."""
        if line == len(self._shown):
            return "\r\n" if self._shown else ""
        # A line that was drawn on a wider terminal may take several rows now.
        rows = sum(self._rows(shown) for shown in self._shown[line:]) - 1
        return f"\x1b[{rows}A\r" if rows else "\r"

    def _rows(self, line: str) -> int:
        return max(1, -(-self._width(line) // self._columns()))

    def _width(self, line: str) -> int:
        return cell_len(_STYLES.sub("", line))


def _common(one: list[str], other: list[str]) -> int:
    """Return how many lines two lists have in common at their beginning."""
    for number, (line, counterpart) in enumerate(zip(one, other, strict=False)):
        if line != counterpart:
            return number
    return min(len(one), len(other))
