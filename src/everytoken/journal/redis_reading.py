"""Reads from Redis what is not in memory: a stream's entries, a bounded part of them at a time."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from everytoken.errors import JournalUnavailableError
from everytoken.journal.packed import PackedRecords
from everytoken.journal.redis_commands import Commands
from everytoken.journal.redis_connection import pack
from everytoken.journal.redis_entries import Entry, Keys, Position
from everytoken.journal.stream import some_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from everytoken.errors import StreamNotFoundError
    from everytoken.journal.redis_link import RedisLink
    from everytoken.journal.stream import Stream

__all__ = ["RedisReading"]

_PAUSE = 0.1  # seconds between two tries to read what is not there at the moment
_AHEAD = 256 * 1024  # bytes of entries read at once, a larger single one excepted
_AT_ONCE = 8  # reads on their way: what their replies take is not counted otherwise
_KEPT = 8 * 1024 * 1024  # packed bytes kept for readers that continue
_PIECES = 64  # and pieces, since they are looked through


class _Piece(NamedTuple):
    stream: weakref.ref[Stream]
    first: int
    records: PackedRecords


class RedisReading:
    """`missing` says of a stream that it is gone; `patience`: seconds to wait for what should be there, and is not."""

    def __init__(
        self, link: RedisLink, keys: Keys, missing: Callable[[str], StreamNotFoundError], patience: float
    ) -> None:
        self._link = link
        self._keys = keys
        self._commands = Commands(keys)
        self._missing = missing
        self._patience = patience
        self._pieces: OrderedDict[int, _Piece] = OrderedDict()
        self._number = 0
        self._bytes = 0
        self._reads = asyncio.Semaphore(_AT_ONCE)

    async def fetch(self, stream: Stream, offset: int, limit: int) -> Sequence[bytes]:
        """Return records from `offset` on, about `limit` bytes. Raises `JournalUnavailableError`, `StreamNotFoundError`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        while True:
            with contextlib.suppress(JournalUnavailableError):
                if taken := await self._take(stream, offset, limit):
                    return taken
            # Redis is away, or has lost what it had, and its writer is about to give it again.
            if loop.time() > deadline:
                raise JournalUnavailableError("Redis cannot be reached, or has lost records of this stream")
            await asyncio.sleep(_PAUSE)

    async def _take(self, stream: Stream, offset: int, limit: int) -> list[bytes]:
        piece = self._find(stream, offset)
        if piece is None:
            async with self._reads:
                piece = self._find(stream, offset) or await self._load(stream, offset)
        if piece is None:
            return []
        stop = min(len(piece.records), stream.tail - piece.first)
        return some_of(piece.records, offset - piece.first, stop, limit)

    def _find(self, stream: Stream, offset: int) -> _Piece | None:
        for number in reversed(self._pieces):
            piece = self._pieces[number]
            if piece.stream() is stream and piece.first <= offset < piece.first + len(piece.records):
                self._pieces.move_to_end(number)
                return piece
        return None

    async def _load(self, stream: Stream, offset: int) -> _Piece | None:
        found = await self._some(stream.info.id, offset)
        entries = [Entry(raw) for raw in found]
        if not entries:
            return None
        # An entry can be of a later epoch, whose writer went on from before the end of the one before it.
        first = entries[0].first
        records = entries[0].records if isinstance(entries[0].records, PackedRecords) else PackedRecords()
        for entry in entries:
            if entry.first > first + len(records):
                break
            if entry.records is not records:
                records.extend(entry.records[first + len(records) - entry.first :])
        if not first <= offset < first + len(records):
            return None
        piece = _Piece(weakref.ref(stream), first, records)
        self._number += 1
        self._pieces[self._number] = piece
        self._bytes += records.nbytes
        while len(self._pieces) > 1 and (self._bytes > _KEPT or len(self._pieces) > _PIECES):
            _, dropped = self._pieces.popitem(last=False)
            self._bytes -= dropped.records.nbytes
        return piece

    async def entries(self, stream_id: str, offset: int) -> AsyncIterator[Entry]:
        """Yield the entries from the one that holds `offset` on. Raises `StreamNotFoundError`."""
        found = await self._some(stream_id, offset)
        while found:
            for raw in found:
                yield Entry(raw)
            found = await self._read(stream_id, b"(%b" % found[-1][0])

    async def _some(self, stream_id: str, offset: int) -> list[list[bytes]]:
        """Return some entries from the one that holds `offset` on. Raises `StreamNotFoundError`."""
        # The first that can be it, if it is of the first epoch.
        start = Position(0, offset, closed=True).entry_id
        while found := await self._read(stream_id, start):
            first = Position.parse(found[0][0])
            if first.tail >= offset:
                return found
            # That epoch begins before: the entry is in it, or in a later one.
            start = Position(first.epoch, offset, closed=True).entry_id
        return found

    async def _read(self, stream_id: str, start: bytes) -> list[list[bytes]]:
        found, there = await self._link.ask(
            self._commands.read(stream_id, start, _AHEAD), pack("EXISTS", self._keys.stream(stream_id))
        )
        if not there:
            raise self._missing(stream_id)
        entries: list[list[bytes]] = found
        return entries
