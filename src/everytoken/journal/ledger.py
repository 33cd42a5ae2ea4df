"""What may be used and what has been: counters that are reserved before something is done and settled behind it.

A reservation names what it takes of each counter, and is granted as a whole or not at all. It is settled once, with what
it has really taken; so a counter never passes its limit, and in the end holds exactly what was used. There are three kinds:

- `window`: a sum over the last 60 seconds, in steps of one.
- `running`: how many reservations are open.
- `total`: a sum for good, such as the money of a day, whose name is a part of the counter's.

Here is what one process needs, without any I/O; `everytoken.journal.redis_ledger` does the same in Redis, for many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["WINDOW", "Counters", "Demand", "Ledger", "Refusal", "Reservation"]

WINDOW: Final = 60
"""Seconds of a window."""

_FEW: Final = 1024


class Demand(msgspec.Struct, frozen=True):
    """What a reservation takes of a counter, which must not pass `limit`. `limit` 0: it is only counted."""

    counter: str
    kind: Literal["window", "running", "total"]
    amount: int
    limit: int


class Refusal(msgspec.Struct, frozen=True):
    """The demand, by its place, that cannot be met, and in how many seconds it perhaps can; None: not soon."""

    demand: int
    retry_after: float | None


class Reservation(msgspec.Struct):
    """What was granted. `until`: when it is forgotten if nobody settles it. `at`: seconds since 1970."""

    at: int
    until: float
    demands: list[Demand]


class Ledger(Protocol):
    """Where counters are kept. Times are in seconds since 1970."""

    async def reserve(
        self, name: str, now: float, until: float, demands: Sequence[Demand]
    ) -> Refusal | list[int]:
        """Reserve; return what is left of each counter, or which refuses. A name that is reserved stays as it is.

        Raises `JournalUnavailableError`. What is stored afterwards is not stored before it.
        """

    async def settle(self, name: str, now: float, amounts: Sequence[int]) -> bool:
        """Replace what was reserved by what was taken, once; return whether it was still open.

        It may be stored a moment later: who settles can find out again what was taken.
        """

    async def reservation(self, name: str) -> Reservation | None:
        """Return an open reservation, None if it is none."""

    async def open_before(self, at: float) -> list[tuple[str, Reservation]]:
        """Return what was reserved before a time and has not been settled."""

    async def totals(self, counters: Sequence[str]) -> list[int]:
        """Return what counters of the kind `total` hold."""


class Counters:
    """The counters of one process."""

    def __init__(self) -> None:
        self.open: dict[str, Reservation] = {}
        self.total: dict[str, int] = {}
        self.used: dict[str, int] = {}  # when a total was added to last, in seconds since 1970
        self._windows: dict[str, dict[int, int]] = {}  # by counter, then by second
        self._enough = _FEW  # windows at which to look for those that are over
        self._running: dict[
            str, dict[str, float]
        ] = {}  # by counter: reservations, and when each is forgotten

    def have(self, kind: str, counter: str, amount: int, second: int, name: str, until: float) -> None:
        """Take in what is stored of a counter: a total, a second of a window, or one that is running."""
        if kind == "total":
            self.total[counter] = amount
        elif kind == "window":
            self._windows.setdefault(counter, {})[second] = amount
        elif kind == "running":
            self._running.setdefault(counter, {})[name] = until

    def reserve(
        self, name: str, now: float, until: float, demands: Sequence[Demand], *, there: bool = False
    ) -> Refusal | list[int]:
        """See `Ledger.reserve`. `there`: it is known to be reserved."""
        there = there or name in self.open
        left = []
        for number, demand in enumerate(demands):
            taken = self._taken(demand, now)
            if not there and demand.limit and taken + demand.amount > demand.limit:
                return Refusal(number, self._wait(demand, now))
            more = 0 if there else demand.amount
            left.append(max(0, demand.limit - taken - more) if demand.limit else 0)
        if not there:
            self.restore(name, Reservation(int(now), until, list(demands)))
        return left

    def restore(self, name: str, reservation: Reservation) -> None:
        """Have a reservation, granted or found."""
        self.open[name] = reservation
        for demand in reservation.demands:
            if demand.kind == "running":
                self._running.setdefault(demand.counter, {})[name] = reservation.until
            else:
                self._add(demand, reservation.at, demand.amount)

    def settle(self, name: str, now: float, amounts: Sequence[int]) -> bool:
        """See `Ledger.settle`."""
        reservation = self.open.pop(name, None)
        if reservation is None:
            return False
        for demand, amount in zip(reservation.demands, amounts, strict=True):
            if demand.kind == "running":
                running = self._running.get(demand.counter, {})
                running.pop(name, None)
                if not running:
                    self._running.pop(demand.counter, None)
            elif demand.kind == "total" or reservation.at > now - WINDOW:
                self._add(demand, reservation.at, amount - demand.amount)
        return True

    def _add(self, demand: Demand, at: int, amount: int) -> None:
        if demand.kind == "total":
            self.total[demand.counter] = self.total.get(demand.counter, 0) + amount
            self.used[demand.counter] = max(at, self.used.get(demand.counter, 0))
        else:
            window = self._windows.get(demand.counter)
            if window is None:
                if len(self._windows) >= self._enough:
                    self._forget_windows(at)
                window = self._windows[demand.counter] = {}
            window[at] = window.get(at, 0) + amount

    def _forget_windows(self, now: float) -> None:
        """Forget those of keys that ask no more."""
        self._windows = {
            name: window for name, window in self._windows.items() if max(window, default=0) > now - WINDOW
        }
        self._enough = 2 * len(self._windows) + _FEW

    def forget_unused(self, seconds: int) -> None:
        """Forget the totals to which nothing was added for so many seconds before the latest."""
        oldest = max(self.used.values(), default=0) - seconds
        self.used = {name: at for name, at in self.used.items() if at >= oldest}
        self.total = {name: self.total[name] for name in self.used}

    def _taken(self, demand: Demand, now: float) -> int:
        if demand.kind == "total":
            return self.total.get(demand.counter, 0)
        if demand.kind == "running":
            running = self._running.get(demand.counter, {})
            for name in [name for name, until in running.items() if until <= now]:
                del running[name]
            return len(running)
        window = self._windows.get(demand.counter, {})
        for second in [second for second in window if second <= now - WINDOW]:
            del window[second]
        if not window:
            self._windows.pop(demand.counter, None)
        return sum(window.values())

    def _wait(self, demand: Demand, now: float) -> float | None:
        """Return when so much of a window is over that the demand fits."""
        if demand.kind != "window":
            return 1.0 if demand.kind == "running" else None
        over = self._taken(demand, now) + demand.amount - demand.limit
        for second, amount in sorted(self._windows.get(demand.counter, {}).items()):
            over -= amount
            if over <= 0:
                return max(0.0, second + WINDOW - now)
        return None  # it is more than a whole window may hold
