"""Lines of text for a terminal: folded to a width, painted, and a column that grows token by token."""

from __future__ import annotations

import os
from typing import Final

from rich.cells import cell_len

__all__ = ["BAD", "DIM", "GOOD", "HEAD", "MARK", "Column", "folded", "painted"]

HEAD: Final = "1"
DIM: Final = "2"
GOOD: Final = "32"
MARK: Final = "33"
BAD: Final = "31"


def painted(text: str, colour: str) -> str:
    """Return `text` in a colour, as it is where nobody wants colours."""
    return text if not text or os.environ.get("NO_COLOR") else f"\x1b[{colour}m{text}\x1b[0m"


def folded(text: str, width: int, indent: str = "") -> list[str]:
    """Return `text` in lines of at most `width` columns, all but the first one behind `indent`."""
    column = Column(width, indent)
    return [*column.push(text), column.open]


class Column:
    """Text that comes in pieces, in lines of at most `width` columns; `open` is the line that still grows.

    A line that goes on in the next one goes on behind `indent`.
    """

    def __init__(self, width: int, indent: str = "") -> None:
        self._width = width
        self._indent = indent
        self.open = ""

    def push(self, text: str) -> list[str]:
        """Take a piece and return the lines that it has finished."""
        finished = []
        for character in text:
            if character == "\n":
                finished.append(self.open)
                self.open = ""
                continue
            self.open += character
            if cell_len(self.open) > self._width:
                finished += self._broken()
        return finished

    def cut(self) -> list[str]:
        """Return the open line, if there is text in it; what follows stands below it, in the same column."""
        if not self.open.strip():
            return []
        line, self.open = self.open, " " * cell_len(self.open)
        return [line]

    def _broken(self) -> list[str]:
        """Break the open line at its last space, or where it is full; return what stands before that."""
        line, space, rest = self.open.rpartition(" ")
        if not space or (not line.strip() and cell_len(rest) > self._width // 2):
            line, rest = self.open[:-1], self.open[-1]
        self.open = self._indent + rest
        return [line.rstrip()] if line.strip() else []
