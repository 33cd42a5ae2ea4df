"""The counters of `everytoken.journal.ledger` for a journal that one process has for itself.

What is of a minute may be forgotten with the process; money may not. So reservations with a `total` are also records of a
stream of the journal, and so is how each was settled; at start they are counted again.

Neither costs a commit of its own. A reservation is stored with what is stored next, which is the response that it is for;
how responses were settled is gathered for a moment. What a process that is killed had not stored of that is open when it
starts again, and is settled then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import EverytokenError
from everytoken.journal.ledger import Counters, Demand, Refusal, Reservation
from everytoken.journal.local_ledger_stream import Entry, LedgerStream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.journal import Journal
    from everytoken.journal.ledger import Ledger

__all__ = ["LocalLedger", "ledger_of"]

logger = logging.getLogger("everytoken.journal")

_DELAY: Final = 0.2  # seconds for which what was settled is gathered
_KEPT: Final = (
    40 * 86_400
)  # seconds that a total is kept which nothing is added to: a month's is of use for a month


class LocalLedger:
    """Counters of one process. See `everytoken.journal.ledger.Ledger`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._counters = Counters()
        self._stream = LedgerStream(journal, self._told)
        self._settled: list[Entry] = []  # that are not stored yet
        self._timer: asyncio.TimerHandle | None = None
        self._storing: set[asyncio.Task[None]] = set()
        self._renewing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Count what was stored. Raises `JournalUnavailableError`."""
        if self._journal.durable:
            await self._stream.start(self._count)

    def _count(self, entry: Entry) -> None:
        counters = self._counters
        if entry.totals is not None:
            counters.total.update(entry.totals)
            now = int(time.time())
            counters.used.update((name, entry.used.get(name, now)) for name in entry.totals)
        elif entry.reserved is not None:
            counters.restore(entry.name, entry.reserved)
        elif entry.settled is not None:
            counters.settle(entry.name, entry.at, entry.settled)

    def _told(self) -> list[Entry]:
        """Return the totals without what is open, which is counted again when it is read, and that."""
        counters = self._counters
        reserved = [Entry(name, reserved=one) for name, one in counters.open.items()]
        counters.forget_unused(_KEPT)
        totals = dict(counters.total)
        for one in counters.open.values():
            for demand in one.demands:
                if demand.kind == "total":
                    totals[demand.counter] -= demand.amount
        return [Entry(totals=totals, used=dict(counters.used)), *reserved]

    def _is_stored(self, demands: Sequence[Demand]) -> bool:
        return self._journal.durable and any(demand.kind == "total" for demand in demands)

    async def reserve(
        self, name: str, now: float, until: float, demands: Sequence[Demand]
    ) -> Refusal | list[int]:
        """Reserve, and store that no later than what the caller stores next.

        Raises `JournalUnavailableError` if nothing can be stored, with nothing reserved.
        """
        if self._journal.durable:
            await self._stream.ready()
        known = name in self._counters.open
        reply = self._counters.reserve(name, now, until, demands)
        if isinstance(reply, list) and not known and self._is_stored(demands):
            storing = self._store_soon(Entry(name, reserved=self._counters.open[name]))
            await asyncio.sleep(0)  # then it is in line
            if storing.done() and storing.exception() is not None:
                self._counters.settle(name, now, [0] * len(demands))
                storing.result()
        return reply

    async def settle(self, name: str, now: float, amounts: Sequence[int]) -> bool:
        """Settle; that is stored a moment later."""
        reservation = self._counters.open.get(name)
        done = self._counters.settle(name, now, amounts)
        if done and reservation is not None and self._is_stored(reservation.demands):
            self._settled.append(Entry(name, settled=list(amounts), at=now))
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_DELAY, self._store_settled)
        return done

    def _store_settled(self) -> None:
        self._timer = None
        settled, self._settled = self._settled, []
        self._store_soon(*settled)

    def _store_soon(self, *entries: Entry) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._stream.store(*entries))
        self._storing.add(task)
        task.add_done_callback(self._stored)
        return task

    def _stored(self, task: asyncio.Task[None]) -> None:
        self._storing.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, EverytokenError):
            logger.warning("the ledger could not be stored: %s (%s)", error.message, error.code)
        elif error is not None:
            logger.error("the ledger could not be stored", exc_info=error)
        elif self._stream.is_long and self._renewing is None:
            self._renewing = asyncio.ensure_future(self._renew())

    async def _renew(self) -> None:
        try:
            await self._stream.renew()
        except EverytokenError as error:
            logger.warning("the ledger could not be shortened: %s (%s)", error.message, error.code)
        except Exception:  # one failure must not end it for good
            logger.exception("the ledger could not be shortened")
        finally:
            self._renewing = None

    async def stop(self) -> None:
        """Store what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._store_settled()
        await asyncio.gather(*self._storing, return_exceptions=True)
        if self._renewing is not None:
            await self._renewing

    async def reservation(self, name: str) -> Reservation | None:
        """Return an open reservation, None if it is none."""
        return self._counters.open.get(name)

    async def open_before(self, at: float) -> list[tuple[str, Reservation]]:
        """Return what has not been settled."""
        return [(name, one) for name, one in self._counters.open.items() if one.at < at]

    async def totals(self, counters: Sequence[str]) -> list[int]:
        """Return what counters hold."""
        return [self._counters.total.get(name, 0) for name in counters]


def ledger_of(journal: Any) -> Ledger:
    """Return where counters are kept beside a journal: where its nodes share them, if it can."""
    made = getattr(journal, "ledger", None)
    found: Ledger = LocalLedger(journal) if made is None else made()
    return found
