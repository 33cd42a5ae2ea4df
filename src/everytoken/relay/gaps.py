"""How long readers waited between two pieces of a response: what a model that stutters looks like."""

from __future__ import annotations

from array import array
from itertools import pairwise
from math import frexp
from typing import Final

__all__ = ["Gaps"]

_SMALLEST: Final = 1e-4  # seconds; shorter ones are counted as this
_BUCKETS: Final = 48  # each ends at 1.4 times the one before: up to 1,600 s
_HALF: Final = 0.5**0.5


class Gaps:
    """Counts gaps in buckets, so that a response takes the same memory however long it is.

    `note` takes the time of a piece, in seconds from any steady origin. It is on the path of each chunk, so it only
    remembers the time; `fold`, to be called now and then, counts what was remembered.
    """

    __slots__ = ("_counts", "_longest", "_times", "note")

    def __init__(self) -> None:
        self._counts = array("L", bytes(8 * _BUCKETS))
        self._longest = 0.0
        self._times = array("d")
        self.note = self._times.append

    def fold(self) -> None:
        """Count the gaps between the times that are remembered, and forget all but the last."""
        for before, now in pairwise(self._times):
            gap = now - before
            self._longest = max(self._longest, gap)
            part, power = frexp(gap / _SMALLEST)
            self._counts[min(max(2 * power + (part >= _HALF), 0), _BUCKETS - 1)] += 1
        del self._times[:-1]

    @property
    def longest(self) -> float:
        """The longest gap; 0 with fewer than two pieces."""
        self.fold()
        return self._longest

    @property
    def median(self) -> float | None:
        """The gap that half of the gaps do not exceed, within a fifth; None with fewer than two pieces."""
        self.fold()
        left = (sum(self._counts) + 1) // 2
        if not left:
            return None
        for bucket, count in enumerate(self._counts):
            left -= count
            if left <= 0:
                return float(min(_SMALLEST * 2 ** (bucket / 2 - 0.75), self._longest))
        raise AssertionError
