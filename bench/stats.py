"""The little arithmetic of the report."""

from __future__ import annotations

from math import ceil
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Spread(NamedTuple):
    """Median, least and greatest of a few repetitions."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Summarise the values that are there; None if there are none."""
        known = [value for value in values if value is not None]
        return cls(median(known), min(known), max(known)) if known else None

    def text(self, digits: int = 1) -> str:
        middle = f"{self.median:.{digits}f}"
        if self.least == self.greatest:
            return middle
        return f"{middle} ({self.least:.{digits}f}–{self.greatest:.{digits}f})"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed; 0 of nothing."""
    if not values:
        return 0.0
    ranked = sorted(values)
    return ranked[max(0, ceil(share * len(ranked)) - 1)]


def ratios(ours: Sequence[float | None], floor: Sequence[float | None]) -> list[float]:
    """Divide repetition by repetition: what disturbs the machine disturbs both of a pair."""
    return [a / b for a, b in zip(ours, floor, strict=False) if a is not None and b]
