"""The numbers of the console: the request log counted by steps of time, hour by hour.

The log only grows, so what was counted stays counted: another look reads what has been added since, and hours that are over
are not read again.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from everytoken.gateway.console.tally import Step, Tally
from everytoken.gateway.requestlog.kept import HOUR

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.gateway.requestlog.kept import Kept

__all__ = ["Overview"]

_LATE: Final = 120.0  # seconds after its end in which a node may still add to an hour
_BASE: Final = 600.0  # seconds of a step that longer ones are made of
_STEPS: Final = 20_000  # of all hours together that are kept; a week by hours has 168
_TURN: Final = 2000  # entries that are counted before another thread may have its turn


class _Hour:
    __slots__ = ("offset", "over", "tally")

    def __init__(self, seconds: float) -> None:
        self.tally = Tally(seconds)
        self.offset = 0
        self.over = False


class Overview:
    """Counts what the request log has. `now`: seconds since 1970."""

    def __init__(self, kept: Kept, now: Callable[[], float] = time.time) -> None:
        self._kept = kept
        self._now = now
        self._hours: OrderedDict[tuple[int, float], _Hour] = OrderedDict()
        self._lock = asyncio.Lock()  # so that many who look at once read once

    async def steps(self, first: int, last: int, seconds: float) -> dict[int, Step]:
        """Return the steps from one to another, by their number, without those in which nothing was. Raises `JournalError`."""
        # Days and weeks are counted once for both.
        base = _BASE if seconds % _BASE == 0 else seconds
        async with self._lock:
            await self._kept.flush()
            now = self._now()
            # An entry is in the hour in which its response has ended, give or take what storing takes.
            newest = min(int(now // HOUR), int((last + 1) * seconds // HOUR) + 1)
            oldest = int(first * seconds // HOUR)
            hours = [await self._read(number, base, now) for number in range(oldest, newest + 1)]
            found = await asyncio.to_thread(_joined, hours, first, last, round(seconds / base))
            self._forget()
            return found

    async def _read(self, number: int, seconds: float, now: float) -> _Hour:
        hour = self._hours.setdefault((number, seconds), _Hour(seconds))
        self._hours.move_to_end((number, seconds))
        if hour.over:
            return hour
        if await self._kept.length(number) < hour.offset:
            hour.offset = 0  # it has started over, for want of room; what was counted did happen
        async for records in self._kept.records(number, hour.offset):
            for start in range(0, len(records), _TURN):
                some = records[start : start + _TURN]
                hour.offset += len(some)  # before: a thread cannot be cancelled with who waits for it
                await asyncio.to_thread(hour.tally.add, some)
        hour.over = now > (number + 1) * HOUR + _LATE
        return hour

    def _forget(self) -> None:
        """Keep the memory within its limit; what was looked at last stays."""
        count = sum(len(hour.tally.steps) + 1 for hour in self._hours.values())
        while count > _STEPS and len(self._hours) > 1:
            _, hour = self._hours.popitem(last=False)
            count -= len(hour.tally.steps) + 1


def _joined(hours: list[_Hour], first: int, last: int, many: int) -> dict[int, Step]:
    """Return steps that are made of so many each."""
    found: dict[int, Step] = {}
    for hour in hours:
        for number, step in hour.tally.steps.items():
            if first <= number // many <= last:
                found.setdefault(number // many, Step()).add(step)
    return found
