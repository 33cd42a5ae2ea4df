"""The tables of a journal in a SQLite file, kept tidy: each time a little, as a part of somebody's commit.

Streams that have ended, and what has become long of the open ones, go packed into `segments`. The log is cut behind the
oldest stream it is still needed for, and streams whose time is over go.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.errors import JournalUnavailableError, StreamNotFoundError
from everytoken.journal.local import LocalJournal
from everytoken.journal.packed import PackedRecords
from everytoken.journal.rules import Marks
from everytoken.journal.sqlite_file import (
    NOTHING,
    SQLITE_FAULTS,
    Extra,
    SqliteFile,
    State,
    decode_state,
    encode,
)
from everytoken.journal.sqlite_retention import Retention
from everytoken.journal.sqlite_segments import Segments
from everytoken.journal.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.journal.quota import Quota
    from everytoken.journal.sqlite_file import Entry

__all__ = ["SqliteTidying", "Work"]

logger = logging.getLogger("everytoken.journal")

SEGMENT = 1024 * 1024  # packed bytes of an open stream in memory from which on they get a segment
LOG_LIMIT = 32 * 1024 * 1024  # bytes of log from which on the open streams that it is kept for get segments
TIDY = 256  # commits from one tidying up to the next
BATCH = 16  # streams tidied up at once, by a commit of few: what the event loop can do without being missed
_CUT = 4 * 1024 * 1024  # bytes of log cut off at once: more than can have come since the last time
_CACHED = 4 * SEGMENT  # packed bytes up to which a segment just made is kept for readers
_PAUSE = 0.02  # seconds between two batches of old streams

_FIND = "SELECT number, tail, until, bytes, state FROM streams WHERE id = ? AND ended IS NOT NULL"
_SIZE = "SELECT bytes, owner FROM streams WHERE number = ? AND ended IS NOT NULL"
_UPSERT_STREAM = (
    "INSERT INTO streams VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET tail = excluded.tail, "
    "ended = excluded.ended, until = excluded.until, bytes = bytes + excluded.bytes, state = excluded.state"
)


class Work(msgspec.Struct, eq=False):
    """One commit: what it does to the file, and what is to be done here once it has.

    `extended`: open streams that get a segment, and what is to be in memory of them: the rows that say what the records
    before have in common may go, so that those being stored now start a new run.
    """

    row: int
    tidies: bool = False
    in_tail: bool = False  # whether its row went to the tail
    entries: list[Any] = []  # of `Entry`
    extended: dict[Any, PackedRecords] = {}
    size: int = 0
    statements: list[Any] = []  # of `Statement`
    effects: list[Any] = []

    def add(self, sql: str, *values: object) -> None:
        """Add a statement."""
        self.statements.append((sql, values))


class SqliteTidying(LocalJournal):
    """What a journal in a SQLite file does besides its log: put things where they belong, and find them again."""

    def __init__(
        self,
        file: SqliteFile,
        *,
        retention: float,
        max_bytes: int,
        quota: Quota | None,
        now: Callable[[], float],
    ) -> None:
        super().__init__(retention=retention, max_bytes=max_bytes, quota=quota, now=now)
        self._file = file
        self._kept = Retention(file, seconds=retention, max_bytes=max_bytes, slack=2 * LOG_LIMIT)
        self._segments = Segments(file)
        self._last_row = 0
        self._rows: deque[tuple[int, int]] = deque()  # rows of the log, with their sizes
        self._log_bytes = 0
        self._floors: dict[Stream, int] = {}  # stream -> the first row of the log that it needs
        self._ended: deque[Stream] = deque()  # streams that have no segment of their end yet
        self._ended_bytes = 0  # of those that have one, on disk
        self._touched: dict[int, float] = {}  # ended streams with a ttl -> when they were used
        self._since_tidy = 0
        self._bytes_since_tidy = 0
        self._large: dict[Stream, None] = {}  # open streams that a single commit has made large
        self._since_checkpoint = 0
        self._sweeping = False
        self._next_batch: asyncio.TimerHandle | None = None  # of old streams

    def _tidy_later(self, error: BaseException) -> None:
        logger.error("the journal could not tidy up", exc_info=error)
        self._ended.rotate(-1)  # whatever it was, the next time it is another one's turn
        self._since_tidy = -TIDY

    def _tidied(self, streams: Sequence[Stream]) -> Work:
        """Return a commit that begins with tidying up, or with nothing if that fails: the others must be stored."""
        work = Work(self._last_row + 1)
        try:
            self._tidy(work, streams)
        except JournalUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, it is not in what is to be stored
            self._tidy_later(error)
            return Work(self._last_row + 1)
        return work

    def _tidy(self, work: Work, streams: Sequence[Stream]) -> None:
        self._cut_log(work)
        # More than have ended since, or a backlog would grow for as long as many end in each commit.
        most = max(BATCH, 2 * len(streams))
        for stream in list(islice(self._ended, most)):
            self._seal(work, stream)
        # A stream that grows comes here often enough.
        long = [stream for stream in (*streams, *self._large) if stream.records.nbytes > SEGMENT]
        if self._log_bytes > LOG_LIMIT:
            long += sorted(self._floors, key=self._floors.__getitem__)
        long = [
            stream
            for stream in long
            if stream in self._floors and not (stream.closed or stream.storing_result is not None)
        ]
        for stream in dict.fromkeys(long[:BATCH]):
            self._extend_segments(work, stream)
        if self._sweeping or self._kept.is_exceeded(self._ended_bytes):
            self._delete_old(work, most)
        if self._file.has_tail:
            work.add("UPDATE moved SET row = row")  # any transaction moves the tail into the log

    def _cut_log(self, work: Work) -> None:
        """Have the rows go that no stream needs."""
        floor = min(self._floors.values(), default=work.row)
        size = count = 0
        for row, row_size in self._rows:
            if row >= floor or size > _CUT:
                break
            size += row_size
            count += 1
        if count:
            work.add("DELETE FROM log WHERE number <= ?", self._rows[count - 1][0])
            work.effects.append(lambda: self._log_cut(count, size))

    def _log_cut(self, count: int, size: int) -> None:
        for _ in range(count):
            self._rows.popleft()
        self._log_bytes -= size

    def _seal(self, work: Work, stream: Stream) -> None:
        """Have an ended stream stand in the tables, whole."""
        if stream.lost is not None or stream in self._going:
            work.effects.append(self._ended.popleft)
            return
        size = self._put(work, stream, ended=self._now())
        work.effects.append(lambda: self._sealed(stream, size))

    def _sealed(self, stream: Stream, size: int) -> None:
        self._ended.popleft()
        self._ended_bytes += size
        stream.stored_bytes += size
        if stream.charged is not None:
            self._usage.charge(stream, stream.stored_bytes)
        self._floors.pop(stream, None)
        if self._streams.get(stream.info.id) is stream:
            del self._streams[stream.info.id]
        self._remember(stream, PackedRecords())

    def _extend_segments(self, work: Work, stream: Stream) -> None:
        """Have what is in memory of an open stream stand in a segment."""
        if stream in self._going:
            return
        size = self._put(work, stream, ended=None)
        records = work.extended[stream] = PackedRecords()
        records.extend(stream.storing)
        # Not `work` itself: in a circle, megabytes would wait for the garbage collector.
        row, entries = work.row, work.entries
        work.effects.append(lambda: self._extended(stream, size, records, row, entries))

    def _extended(
        self, stream: Stream, size: int, records: PackedRecords, row: int, entries: list[Entry]
    ) -> None:
        stream.stored_bytes += size
        if any(entry[0] == stream.number for entry in entries):
            self._floors[stream] = row
        else:
            del self._floors[stream]
        self._remember(stream, records)

    def _put(self, work: Work, stream: Stream, *, ended: float | None) -> int:
        length = stream.tail - stream.base
        data = stream.records.dump(length) if length else b""
        state = encode(State(stream.info, Marks(stream.marks.sequence)))
        info = stream.info
        until = info.expires if info.ttl is None else stream.used + info.ttl
        if data:
            work.add("INSERT INTO segments VALUES (?, ?, ?)", stream.number, stream.base, data)
        size = len(data) + len(state)
        owner = info.owner if info.shared else None
        work.add(_UPSERT_STREAM, stream.number, info.id, stream.tail, ended, until, size, state, owner)
        self._since_checkpoint += size
        return size

    def _remember(self, stream: Stream, records: PackedRecords) -> None:
        """Let go of a stream's records in memory but for the segment just made, which is kept for readers a while."""
        if stream.tail > stream.base and stream.records.nbytes <= _CACHED:
            self._segments.keep(stream.number, stream.base, stream.records)
        stream.forget(records)

    def _look_for_large(self, streams: Sequence[Stream]) -> None:
        """Have open streams that one commit has made large tidied up soon: nothing more may come of them for long."""
        self._large = {
            stream: None
            for stream in (*self._large, *streams)
            if stream in self._floors and stream.records.nbytes > SEGMENT
        }
        if self._large:
            asyncio.get_running_loop().call_soon(self._commit.soon)

    # Streams whose time is over

    def sweep(self) -> None:
        """Let go of the streams whose time is over, and of ended ones that are too old or beyond the size."""
        super().sweep()
        self._sweeping = True
        self._commit.soon()

    def _delete_old(self, work: Work, most: int) -> None:
        touched = dict(self._touched)
        for number, until in touched.items():
            work.add("UPDATE streams SET until = ? WHERE number = ?", until, number)
        found, removed = self._kept.old(self._now(), self._ended_bytes, most)
        old = [number for number in found if number not in touched]
        self._sweeping = len(old) == most
        for number in old:
            size, owner = self._delete_rows(work, number)
            if owner is not None:
                work.effects.append(partial(self._usage.forget, owner, size))
            work.entries.append((number, 0, NOTHING, Extra(deleted=True)))
        if removed:
            work.add("UPDATE removed SET ended = max(ended, ?)", removed)
            # At once: when a thread commits, the rows go before it is known here.
            self._removed = max(self._removed, removed)
        work.effects.append(lambda: self._old_deleted(touched))

    def _old_deleted(self, touched: dict[int, float]) -> None:
        self._touched = {key: until for key, until in self._touched.items() if touched.get(key) != until}
        if self._next_batch is not None:
            self._next_batch.cancel()  # other commits have come before it
        if self._sweeping:
            self._next_batch = asyncio.get_running_loop().call_later(_PAUSE, self._commit.soon)

    def _delete_rows(self, work: Work, number: int) -> tuple[int, str | None]:
        """Have a stream's rows go; return the bytes of one that has ended, and whose quota they count against."""
        found = self._file.look_up(_SIZE, number)
        size, owner = found[0] if found else (0, None)
        work.add("DELETE FROM segments WHERE stream = ?", number)
        work.add("DELETE FROM producers WHERE stream = ?", number)
        work.add("DELETE FROM streams WHERE number = ?", number)
        work.effects.append(lambda: self._rows_deleted(number, size))
        return size, owner

    def _rows_deleted(self, number: int, size: int) -> None:
        self._ended_bytes -= size
        self._touched.pop(number, None)
        self._segments.forget(number)

    # Reading what is not in memory

    def _find(self, stream_id: str) -> Stream | None:
        found = self._file.look_up(_FIND, stream_id)
        if not found:
            return None
        number, tail, until, size, data = found[0]
        try:
            state = decode_state(data)
            producers = self._file.producers_of(number) if state.info.shared else {}
        except SQLITE_FAULTS as error:
            raise JournalUnavailableError(f"stream {stream_id} is damaged: {error}") from error
        stream = Stream(state.info, self._fetch, tail=tail)
        stream.number, stream.stored_epoch = number, state.info.epoch
        stream.created = stream.closed = stream.closing = True
        stream.marks = stream.storing_marks = stream.due_marks = Marks(state.marks.sequence, producers)
        stream.stored_bytes = size
        if state.info.shared:
            stream.charged = size
        if state.info.ttl is not None:
            stream.used = self._touched.get(number, until) - state.info.ttl
        return stream

    def _touch(self, stream: Stream) -> None:
        super()._touch(stream)
        if stream.closed and stream.info.ttl is not None:
            self._touched[stream.number] = stream.used + stream.info.ttl

    async def _fetch(self, stream: Stream, offset: int, limit: int) -> Sequence[bytes]:
        try:
            return await self._segments.read(stream.number, offset, limit)
        except StreamNotFoundError as error:
            raise self.missing(stream.info.id) from error
