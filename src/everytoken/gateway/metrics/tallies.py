"""Counts and distributions as plain numbers: what is recorded costs a dictionary look-up, and needs no library."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Count", "Distribution", "Key"]

Key = tuple[str, ...]
"""The values of the labels, in their order."""


class Count:
    """A number that only grows, for each set of labels. Without labels it is there from the beginning."""

    __slots__ = ("labels", "meaning", "name", "values")

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = tuple(labels)
        self.values: dict[Key, float] = {} if labels else {(): 0}

    def add(self, *key: str, by: float = 1) -> None:
        """Count something."""
        self.values[key] = self.values.get(key, 0) + by

    def begin(self, *key: str) -> None:
        """Have a set of labels be there, so that its first increase can be seen."""
        self.values.setdefault(key, 0)


class Distribution:
    """How often a value was how large, for each set of labels. `bounds` are the upper ends of the buckets."""

    __slots__ = ("bounds", "labels", "meaning", "name", "rows")

    def __init__(
        self, name: str, meaning: str, labels: Sequence[str] = (), *, bounds: Sequence[float]
    ) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = tuple(labels)
        self.bounds = tuple(bounds)
        # A bucket each, the one above the last bound, and the sum of the values.
        self.rows: dict[Key, list[float]] = {}
        if not labels:
            self.rows[()] = self._empty()

    def _empty(self) -> list[float]:
        return [0] * (len(self.bounds) + 2)

    def observe(self, value: float, *key: str) -> None:
        """Record a value."""
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = self._empty()
        row[bisect_left(self.bounds, value)] += 1
        row[-1] += value

    def observe_all(self, values: Iterable[float], *key: str) -> None:
        """Record many values, for much less than one at a time."""
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = self._empty()
        ordered = sorted(values)
        below = 0
        for number, bound in enumerate(self.bounds):
            upto = bisect_right(ordered, bound, below)
            row[number] += upto - below
            below = upto
        row[len(self.bounds)] += len(ordered) - below
        row[-1] += sum(ordered)

    def cumulated(self, key: Key) -> tuple[list[tuple[str, float]], float]:
        """Return, for each bound, how many values did not exceed it, and the sum of all values."""
        *counts, total = tuple(self.rows[key])
        bounds = [*map(str, map(float, self.bounds)), "+Inf"]
        return list(zip(bounds, accumulate(counts), strict=True)), total
