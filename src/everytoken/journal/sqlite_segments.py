"""The segments of a SQLite journal, for readers: the part of a stream that is not in memory."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from everytoken.errors import JournalUnavailableError, StreamNotFoundError
from everytoken.journal.packed import PackedRecords
from everytoken.journal.sqlite_file import SQLITE_FAULTS
from everytoken.journal.stream import some_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.journal.sqlite_file import SqliteFile

__all__ = ["Segments"]

_LIMIT = 8 * 1024 * 1024  # bytes kept in memory: what was just read or sealed; the rest is one read away
_WHICH = "SELECT first FROM segments WHERE stream = ? AND first <= ? ORDER BY first DESC LIMIT 1"
_READ = "SELECT records FROM segments WHERE stream = ? AND first = ?"


class Segments:
    """Reads segments in a thread, and keeps those in memory that were used last."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._kept: OrderedDict[tuple[int, int], PackedRecords] = OrderedDict()
        self._bytes = 0
        self._reading = asyncio.Lock()  # the connection can do one thing at a time

    async def read(self, stream: int, offset: int, limit: int) -> Sequence[bytes]:
        """Return records of a stream. Raises `StreamNotFoundError`, `JournalUnavailableError`."""
        try:
            if not (found := self._file.look_up(_WHICH, stream, offset)):
                raise StreamNotFoundError("the stream is gone")
            first = found[0][0]
            if (stream, first) not in self._kept:
                async with self._reading:
                    if (stream, first) not in self._kept:
                        self.keep(stream, first, await asyncio.to_thread(self._read, stream, first))
        except SQLITE_FAULTS as error:
            raise JournalUnavailableError(f"SQLite: {error}") from error
        self._kept.move_to_end((stream, first))
        records = self._kept[stream, first]
        return some_of(records, offset - first, len(records), limit)

    def _read(self, stream: int, first: int) -> PackedRecords:
        row = self._file.read.execute(_READ, (stream, first)).fetchone()
        if row is None:
            raise StreamNotFoundError("the stream is gone")
        return PackedRecords.load(row[0])

    def keep(self, stream: int, first: int, records: PackedRecords) -> None:
        """Keep a segment in memory for a while."""
        if (stream, first) in self._kept:
            self._bytes -= self._kept[stream, first].nbytes
        self._kept[stream, first] = records
        self._bytes += records.nbytes
        while self._bytes > _LIMIT and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= dropped.nbytes

    def forget(self, stream: int) -> None:
        """Let go of what there is of a stream."""
        for key in [key for key in self._kept if key[0] == stream]:
            self._bytes -= self._kept.pop(key).nbytes
