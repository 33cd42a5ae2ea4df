"""Rows in columns, for people; what is for programs is JSON."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["table", "when"]

_WIDEST = 40  # characters of one cell


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows under a head, each column as wide as it has to be; "" without rows.

    Long cells are cut, but for those of the last column, which may be there to be copied.
    """
    if not rows:
        return ""
    cells = [list(head), *([*map(_cut, row[:-1]), row[-1]] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def when(seconds: float | None, otherwise: str) -> str:
    """Return a time in the local time zone, `otherwise` without one."""
    return otherwise if not seconds else time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _cut(cell: str) -> str:
    return cell if len(cell) <= _WIDEST else f"{cell[: _WIDEST - 1]}…"
