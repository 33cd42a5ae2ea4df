"""How long readers waited between two pieces of a response: what a model that stutters looks like."""

from __future__ import annotations

from array import array
from math import frexp
from typing import Final

__all__ = ["Gaps"]

_SMALLEST: Final = 1e-4  # seconds; shorter ones are counted as this
_BUCKETS: Final = 48  # each ends at 1.4 times the one before: up to 1,600 s
_HALF: Final = 0.5**0.5


class Gaps:
    """Counts gaps in buckets, so that a response takes the same memory however long it is."""

    __slots__ = ("_counts", "_last", "longest")

    def __init__(self) -> None:
        self._counts = array("L", bytes(8 * _BUCKETS))
        self._last = 0.0
        self.longest = 0.0

    def note(self, now: float) -> None:
        """A piece has come; `now` is in seconds from any steady origin."""
        gap, self._last = now - self._last, now
        if gap != now:  # not the first
            self.longest = max(self.longest, gap)
            part, power = frexp(gap / _SMALLEST)
            self._counts[min(max(2 * power + (part >= _HALF), 0), _BUCKETS - 1)] += 1

    @property
    def median(self) -> float | None:
        """The gap that half of the gaps do not exceed, within a fifth; None with fewer than two pieces."""
        left = (sum(self._counts) + 1) // 2
        if not left:
            return None
        for bucket, count in enumerate(self._counts):
            left -= count
            if left <= 0:
                return float(min(_SMALLEST * 2 ** (bucket / 2 - 0.75), self.longest))
        raise AssertionError
