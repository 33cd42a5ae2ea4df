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

import msgspec

from everytoken.errors import EverytokenError, StreamExistsError, StreamNotFoundError
from everytoken.journal import Append, StreamInfo
from everytoken.journal.ledger import Counters, Demand, Refusal, Reservation
from everytoken.journal.quota import OWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.journal import Journal
    from everytoken.journal.ledger import Ledger

__all__ = ["LocalLedger", "ledger_of"]

logger = logging.getLogger("everytoken.journal")

_STREAM: Final = "~ledger"
_BATCH: Final = 1024 * 1024  # bytes that are read at once
_DELAY: Final = 0.2  # seconds for which what was settled is gathered
_LONG: Final = 20_000  # records from which on the stream is written anew at start


class _Record(msgspec.Struct, omit_defaults=True):
    """A reservation, how one was settled, or what the totals were when the stream was written anew."""

    name: str = ""
    reserved: Reservation | None = None
    settled: list[int] | None = None
    at: float = 0.0
    totals: dict[str, int] | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Record).decode


class LocalLedger:
    """Counters of one process. See `everytoken.journal.ledger.Ledger`."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._counters = Counters()
        self._settled: list[_Record] = []  # that are not stored yet
        self._timer: asyncio.TimerHandle | None = None
        self._storing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Count what was stored. Raises `JournalUnavailableError`."""
        if not self._journal.durable:
            return
        try:
            log = await self._journal.open(_STREAM)
        except StreamNotFoundError:
            return
        read = 0
        while read < log.tail:
            some = log.take(read, _BATCH)
            if some is None:
                some = await log.fetch(read, _BATCH)
            for record in some:
                read += 1
                self._count(record)
        if read > _LONG:
            await self._store_anew()

    def _count(self, record: bytes) -> None:
        try:
            found = _decode(record)
        except msgspec.DecodeError:
            logger.error("an entry of the ledger cannot be read; it may be of a later version")  # noqa: TRY400
            return
        if found.totals is not None:
            self._counters.total.update(found.totals)
        elif found.reserved is not None:
            self._counters.restore(found.name, found.reserved)
        elif found.settled is not None:
            self._counters.settle(found.name, found.at, found.settled)

    async def _store_anew(self) -> None:
        """Write the stream anew: nobody else has this journal."""
        await self._journal.delete(_STREAM)
        reserved = [_Record(name, reserved=one) for name, one in self._counters.open.items()]
        # What is open is counted again when it is read.
        totals = dict(self._counters.total)
        for one in self._counters.open.values():
            for demand in one.demands:
                if demand.kind == "total":
                    totals[demand.counter] -= demand.amount
        await self._store(_Record(totals=totals), *reserved)

    async def _store(self, *records: _Record) -> None:
        append = Append(records=[_encode(record) for record in records])
        try:
            await self._journal.submit(_STREAM, append)
        except StreamNotFoundError:
            info = StreamInfo(
                id=_STREAM, content_type="application/json", owner=OWN, created=time.time(), shared=True
            )
            try:
                await self._journal.create(info, append.records)
            except StreamExistsError:  # by another call of this process
                await self._journal.submit(_STREAM, append)

    def _is_stored(self, demands: Sequence[Demand]) -> bool:
        return self._journal.durable and any(demand.kind == "total" for demand in demands)

    async def reserve(
        self, name: str, now: float, until: float, demands: Sequence[Demand]
    ) -> Refusal | list[int]:
        """Reserve, and store that no later than what the caller stores next.

        Raises `JournalUnavailableError` if nothing can be stored, with nothing reserved.
        """
        known = name in self._counters.open
        reply = self._counters.reserve(name, now, until, demands)
        if isinstance(reply, list) and not known and self._is_stored(demands):
            storing = self._store_soon(_Record(name, reserved=self._counters.open[name]))
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
            self._settled.append(_Record(name, settled=list(amounts), at=now))
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_DELAY, self._store_settled)
        return done

    def _store_settled(self) -> None:
        self._timer = None
        settled, self._settled = self._settled, []
        self._store_soon(*settled)

    def _store_soon(self, *records: _Record) -> asyncio.Task[None]:
        task = asyncio.ensure_future(self._store(*records))
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

    async def stop(self) -> None:
        """Store what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._store_settled()
        await asyncio.gather(*self._storing, return_exceptions=True)

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
