"""Wrong keys: an address that tries many waits longer and longer for its refusals.

A right key is never held up, so nobody can lock out those who share an address. What is remembered of addresses is limited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Slowing"]

_FREE: Final = 3  # wrong keys in a window that cost nothing: a mistake, and its repetition by an SDK
_WINDOW: Final = 60.0  # seconds without a wrong key after which all is forgotten
_FIRST: Final = 0.1  # seconds; doubled with each further one
_LONGEST: Final = 5.0  # seconds
_MOST_WAITING: Final = 16  # refusals of one address that wait at once; further ones are refused as too many
_ADDRESSES: Final = 4096


class Slowing:
    """Counts wrong keys by address; `now` is in seconds from any steady origin."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._wrong: dict[str, tuple[int, float]] = {}  # how many, and when the last was
        self._waiting: dict[str, int] = {}

    def note(self, address: str) -> float:
        """Count a wrong key; return how many seconds its refusal has to wait."""
        now = self._now()
        count, last = self._wrong.pop(address, (0, now))
        count = 1 if now - last > _WINDOW else count + 1
        if len(self._wrong) >= _ADDRESSES:
            del self._wrong[next(iter(self._wrong))]  # which has been quiet the longest
        self._wrong[address] = count, now
        return 0.0 if count <= _FREE else min(_FIRST * 2 ** min(count - _FREE - 1, 16), _LONGEST)

    def begin(self, address: str) -> bool:
        """Begin to wait; return whether as many wait already as may."""
        if self._waiting.get(address, 0) >= _MOST_WAITING:
            return True
        self._waiting[address] = self._waiting.get(address, 0) + 1
        return False

    def end(self, address: str) -> None:
        """Wait no more."""
        self._waiting[address] -= 1
        if not self._waiting[address]:
            del self._waiting[address]
