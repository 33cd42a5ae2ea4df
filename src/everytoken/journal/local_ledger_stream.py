"""The stream in which the ledger of one process is stored, and how it is kept short.

Each reservation is an entry, and so is how each was settled. When there are many, another stream begins with what they come
to, and then the one before goes: a death in between loses nothing, for at a start the newer one of the two counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from everytoken.errors import StreamExistsError, StreamNotFoundError
from everytoken.journal import Append, StreamInfo
from everytoken.journal.ledger import Reservation  # noqa: TC001  # msgspec reads the annotations
from everytoken.journal.quota import OWN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.journal import Journal, Log

__all__ = ["LONG", "Entry", "LedgerStream"]

logger = logging.getLogger("everytoken.journal")

LONG: Final = 20_000  # entries added to a stream before another replaces it
_NAMES: Final = ("~ledger", "~ledger-2")  # callers cannot make a stream with such a name
_BATCH: Final = 1024 * 1024  # bytes that are read at once


class Entry(msgspec.Struct, omit_defaults=True):
    """A reservation, how one was settled, or what a stream begins with.

    The first entry of a stream that has replaced another has the `totals` as they were, when each was `used` last, the
    stream's `generation`, and how many `entries` it began with: a stream with fewer was never finished.
    """

    name: str = ""
    reserved: Reservation | None = None
    settled: list[int] | None = None
    at: float = 0.0
    totals: dict[str, int] | None = None
    used: dict[str, int] = {}
    generation: int = 0
    entries: int = 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


class _Found(NamedTuple):
    generation: int
    name: str
    log: Log


class LedgerStream:
    """Stores entries. `told` returns the entries that sum up all others so far; the first of them has the totals."""

    def __init__(self, journal: Journal, told: Callable[[], list[Entry]]) -> None:
        self._journal = journal
        self._told = told
        self._name = _NAMES[0]
        self._generation = 0
        self._length = 0
        self._due = LONG
        self._whole = asyncio.Event()  # clear while it is being replaced
        self._whole.set()

    async def start(self, count: Callable[[Entry], None]) -> None:
        """Have what was stored counted, entry by entry. Raises `JournalUnavailableError`."""
        found = sorted([one for name in _NAMES if (one := await self._found(name)) is not None])
        if not found:
            return
        *before, newest = found
        self._generation, self._name, log = newest
        for one in before:
            await self._forget(one.name)
        beginning, open_then = 0, set()
        while self._length < log.tail:
            for record in await _some(log, self._length):
                self._length += 1
                if (entry := _read(record)) is None:
                    continue
                beginning = entry.entries or beginning
                if entry.reserved is not None:
                    # What was on its way when the stream began is in its beginning, and comes again, even once it is settled.
                    if self._length <= beginning:
                        open_then.add(entry.name)
                    elif entry.name in open_then:
                        continue
                count(entry)
        if self._length > LONG:
            await self.renew()

    async def _found(self, name: str) -> _Found | None:
        try:
            log = await self._journal.open(name)
        except StreamNotFoundError:
            return None
        first = _read((await _some(log, 0))[0]) if log.tail else None
        if first is not None and first.entries > log.tail:
            return _Found(-1, name, log)  # somebody died while it was written
        return _Found(0 if first is None else first.generation, name, log)

    @property
    def is_long(self) -> bool:
        """Whether another stream should replace this one."""
        return self._length > self._due

    async def ready(self) -> None:
        """Wait while another stream replaces this one, which is short."""
        if not self._whole.is_set():
            await self._whole.wait()

    async def store(self, *entries: Entry) -> None:
        """Add entries. Raises `JournalError`."""
        await self.ready()
        name, append = self._name, Append(records=[_encode(entry) for entry in entries])
        try:
            await self._journal.submit(name, append)
        except StreamNotFoundError:
            if name != self._name:
                return  # it has been replaced, and these entries are in the sum that the other one begins with
            try:
                await self._journal.create(self._info(self._name), append.records)
            except StreamExistsError:  # by another call of this process
                await self._journal.submit(self._name, append)
        self._length += len(entries)

    async def renew(self) -> None:
        """Replace this stream by one that begins with the sum. Raises `JournalError`, with nothing changed then."""
        if not self._whole.is_set():
            return
        (name,) = {*_NAMES} - {self._name}
        self._due = self._length + LONG  # when it is tried again if it fails
        await self._forget(name)
        self._whole.clear()
        try:
            entries = self._told()
            entries[0].generation, entries[0].entries = self._generation + 1, len(entries)
            await self._journal.create(self._info(name), [_encode(entry) for entry in entries])
            before, self._name = self._name, name
            self._generation += 1
            self._length, self._due = len(entries), len(entries) + LONG
        finally:
            self._whole.set()
        await self._forget(before)

    async def _forget(self, name: str) -> None:
        with contextlib.suppress(StreamNotFoundError):
            await self._journal.delete(name)

    def _info(self, name: str) -> StreamInfo:
        return StreamInfo(
            id=name, content_type="application/json", owner=OWN, created=time.time(), shared=True
        )


async def _some(log: Log, offset: int) -> Sequence[bytes]:
    records = log.take(offset, _BATCH)
    return await log.fetch(offset, _BATCH) if records is None else records


def _read(record: bytes) -> Entry | None:
    try:
        return _decode(record)
    except msgspec.DecodeError:
        logger.error("an entry of the ledger cannot be read; it may be of a later version")  # noqa: TRY400
        return None
