"""How long readers waited between two pieces of a response: what a model that stutters looks like."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import accumulate, pairwise
from typing import Final

__all__ = ["Gaps"]

_SMALLEST: Final = 1e-4  # seconds; shorter ones are counted as this
# Where each bucket ends, at 1.4 times the one before: up to 840 s, and behind that one for all others.
_ENDS: Final = [_SMALLEST * 2 ** (number / 2) for number in range(47)]
_MIDDLE: Final = 2**-0.25  # of a bucket, as a part of its end


class Gaps:
    """Counts gaps in buckets, so that a response takes the same memory however long it is.

    `note` takes the time of a piece, in seconds from any steady origin. It is on the path of each chunk, so it only
    remembers the time; `fold`, to be called now and then, counts what was remembered.
    """

    __slots__ = ("_counts", "_longest", "_times", "note")

    def __init__(self) -> None:
        self._counts: array[int] | None = None  # from the first gap on
        self._longest = 0.0
        self._times = array("d")
        self.note = self._times.append

    def fold(self) -> None:
        """Count the gaps between the times that are remembered, and forget all but the last."""
        if len(self._times) < 2:
            return
        counts = self._counts
        if counts is None:
            counts = self._counts = array("I", bytes(4 * (len(_ENDS) + 1)))
        gaps = [now - before for before, now in pairwise(self._times)]
        for gap in gaps:
            counts[bisect_left(_ENDS, gap)] += 1
        self._longest = max(self._longest, *gaps)
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
        if self._counts is None:
            return None
        half = (sum(self._counts) + 1) // 2
        bucket = bisect_left(list(accumulate(self._counts)), half)
        return min(_ENDS[min(bucket, len(_ENDS) - 1)] * _MIDDLE, self._longest)
