"""A journal in a SQLite file: the default of one node.

Everything that moved in one turn of the event loop becomes one row of `log`, written in the loop's thread: with the
file in WAL mode that is a copy into the page cache, some tens of microseconds, and it survives the death of the process.
Now and then the streams that have ended, and what has become long of the open ones, go packed into `segments`, and the
log is cut behind the oldest stream it is still needed for. At start, the open streams are what the segments and the
log say.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from functools import partial
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
from everytoken.journal.sqlite_recovery import Recovered
from everytoken.journal.sqlite_retention import Retention
from everytoken.journal.sqlite_segments import Segments
from everytoken.journal.stream import Stream, StreamWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from everytoken.journal.quota import Quota
    from everytoken.journal.sqlite_file import Entry

__all__ = ["SqliteJournal"]

logger = logging.getLogger("everytoken.journal")

_SEGMENT = 1024 * 1024  # packed bytes of an open stream in memory from which on they get a segment
_LOG_LIMIT = 32 * 1024 * 1024  # bytes of log from which on the open streams that it is kept for get segments
_TIDY = 256  # commits from one tidying up to the next
_TIDY_BYTES = 2 * 1024 * 1024  # or bytes of commits: this much of a stream that grows fast is in memory
_BATCH = 16  # streams tidied up at once: what the event loop can do without being missed
_PAGE = 4096
_CHECKPOINT = 4 * 1024 * 1024  # bytes of commits after which the WAL is copied into the file
_SWEEP = 60.0  # seconds between two looks for streams whose time is over
_CUT = 2 * _TIDY_BYTES  # bytes of log cut off at once: more than can have come
_CACHED = (
    4 * _SEGMENT
)  # packed bytes of a segment up to which it is kept for readers when it has just been made
_PAUSE = 0.02  # seconds between two batches of old streams

_INSERT_LOG = "INSERT INTO log VALUES (?, ?)"
_FIND = "SELECT number, tail, until, bytes, state FROM streams WHERE id = ? AND ended IS NOT NULL"
_SIZE = "SELECT bytes, owner FROM streams WHERE number = ? AND ended IS NOT NULL"
_UPSERT_STREAM = (
    "INSERT INTO streams VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET tail = excluded.tail, "
    "ended = excluded.ended, until = excluded.until, bytes = bytes + excluded.bytes, state = excluded.state"
)
_UPSERT_PRODUCER = "INSERT OR REPLACE INTO producers VALUES (?, ?, ?, ?)"


class _Work(msgspec.Struct, eq=False):
    """One commit: what it does to the file, and what is to be done here once it has.

    `extended`: open streams that get a segment, and what is to be in memory of them: the rows that say what the records
    before have in common may go, so that those being stored now start a new run.
    """

    row: int
    tidies: bool = False
    entries: list[Any] = []  # of `Entry`
    extended: dict[Any, PackedRecords] = {}
    size: int = 0
    statements: list[Any] = []  # of `Statement`
    effects: list[Any] = []

    def add(self, sql: str, *values: object) -> None:
        self.statements.append((sql, values))


class SqliteJournal(LocalJournal):
    """Streams in the file at `path`, which one process has for itself.

    Ended streams are kept for `retention` seconds and within `max_bytes` on disk. `durability` is `process` (what was
    acknowledged survives the death of the process) or `power` (that of the machine: one fsync for each commit).
    """

    def __init__(
        self,
        path: Path,
        *,
        retention: float = 86_400.0,
        max_bytes: int = 2 * 1024**3,
        durability: str = "process",
        quota: Quota | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(retention=retention, max_bytes=max_bytes, quota=quota, now=now)
        self._in_thread = durability == "power"
        self.directory = path.parent  # whose disk it fills
        self._file = SqliteFile(path, sync=self._in_thread)
        self._kept = Retention(self._file, seconds=retention, max_bytes=max_bytes, slack=2 * _LOG_LIMIT)
        self._last_number = 0
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
        self._found_open: dict[Stream, None] = {}
        self._segments = Segments(self._file)
        self._background: set[asyncio.Future[Any]] = set()
        self._checkpointing = False
        self._sweeper: asyncio.Task[None] | None = None
        self._sweeping = False
        self._next_batch: asyncio.TimerHandle | None = None  # of old streams

    # Life

    async def start(self) -> None:
        """Open the file and find the streams that are still open. Raises `ConfigurationError`."""
        recovered = await asyncio.to_thread(self._open_file)
        self._last_row, self._last_number = recovered.last_row, recovered.last_number
        self._rows, self._ended_bytes = recovered.rows, recovered.ended_bytes
        self._removed = recovered.removed
        self._log_bytes = sum(size for _, size in self._rows)
        for owner, size, count in recovered.used:
            self._usage.add(owner, size, count)
        for number, stream in sorted(recovered.streams.items()):
            self._floors[stream] = recovered.floors.get(number, self._last_row + 1)
            stream.stored_epoch = stream.info.epoch
            self._streams[stream.info.id] = stream
            if stream.info.shared:
                self._usage.charge(stream, stream.stored_bytes + stream.records.nbytes)
            if stream.closed:
                self._ended.append(stream)
            else:
                stream.used = (
                    self._now()
                )  # when it was is not stored; too long a life is better than too short
                self._found_open[stream] = None
        self._sweeper = asyncio.create_task(self._sweep_for_ever())

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            try:
                self.sweep()
            except Exception:  # one failure must not end it for good
                logger.exception("the journal could not look for old streams")

    def _open_file(self) -> Recovered:
        self._file.open()
        try:
            return Recovered(self._file, self._fetch)
        except SQLITE_FAULTS as error:
            self._file.close()
            raise self._file.unusable(error) from error

    async def stop(self) -> None:
        """Store what is on its way and close the file."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        await super().stop()
        if self._next_batch is not None:
            self._next_batch.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.to_thread(self._file.close)

    async def orphans(self) -> list[str]:
        """Return the streams that were open when this process started and that nobody has claimed yet."""
        return [
            stream.info.id
            for stream in self._found_open
            if not (stream.info.shared or stream.closing or stream.lost)
        ]

    async def claim(self, stream_id: str) -> StreamWriter:
        """Become the writer at the next epoch. Raises `StreamNotFoundError`, `StreamClosedError`."""
        writer = await super().claim(stream_id)
        self._found_open.pop(writer.log, None)
        return writer

    # Group commit

    # Both without the base's further steps: their frames would be a part of every commit's cost.

    def _after(self, streams: Sequence[Stream]) -> None:  # noqa: ARG002  # `_take_note` has looked at them
        if self._going:
            self._drop_deleted()

    def _begin(self, streams: Sequence[Stream]) -> bool:
        if self._deleting:
            self._take_deleted(streams)
        self._since_tidy += 1
        tidies = self._since_tidy >= 0 and (
            self._since_tidy >= _TIDY
            or self._bytes_since_tidy >= _TIDY_BYTES
            or len(self._ended) >= _BATCH
            or self._sweeping
            or bool(self._large)
        )
        work = self._tidied(streams) if tidies else _Work(self._last_row + 1)
        work.tidies = tidies
        try:
            return self._commit_work(work, streams)
        except JournalUnavailableError:
            raise
        except Exception as error:
            if not tidies:
                raise
            self._tidy_later(error)
            return self._begin(streams)  # perhaps none of them is at fault

    def _tidy_later(self, error: BaseException) -> None:
        logger.error("the journal could not tidy up", exc_info=error)
        self._ended.rotate(-1)  # whatever it was, the next time it is another one's turn
        self._since_tidy = -_TIDY

    def _commit_work(self, work: _Work, streams: Sequence[Stream]) -> bool:
        for stream in streams:
            extra = None
            if (
                stream.storing_result is not None
                or stream.storing_marks is not stream.marks
                or stream.stored_epoch != stream.info.epoch
                or self._going
            ):
                extra = self._extra(work, stream)
            if stream.storing:
                if work.extended and stream in work.extended:
                    part = work.extended[stream].part(0)
                else:
                    part = stream.records.part(stream.tail - stream.base)
                work.entries.append((stream.number, stream.tail, part, extra))
            elif extra is not None:
                work.entries.append((stream.number, stream.tail, NOTHING, extra))
        if work.entries:
            data = encode(work.entries)
            work.size = len(data)
            work.statements.append((_INSERT_LOG, (work.row, data)))
        if self._commit.storing_probes:
            work.add("UPDATE removed SET ended = ended")
        if not work.statements:
            return True
        if self._in_thread:
            future = asyncio.get_running_loop().run_in_executor(None, self._file.execute, work.statements)
            future.add_done_callback(lambda _: self._finish(future, work, streams))
            return False
        self._file.execute(work.statements)
        self._done(work, streams)
        return True

    def _finish(self, future: asyncio.Future[None], work: _Work, streams: Sequence[Stream]) -> None:
        error = future.exception()
        if error is None:
            self._done(work, streams)
            self._commit.done()
        elif isinstance(error, JournalUnavailableError):
            self._commit.failed(error)
        elif work.tidies:
            self._tidy_later(error)
            self._commit.refused(error, together=True)  # perhaps none of them is at fault
        else:
            self._commit.refused(error)

    def _done(self, work: _Work, streams: Sequence[Stream]) -> None:
        if work.entries:
            self._last_row = work.row
        try:
            self._take_note(work, streams)
        except Exception:  # the file is right, and the readers' turn is next
            logger.exception("the journal could not finish a commit")
            for stream in streams:
                self._floors.setdefault(stream, work.row)

    def _extra(self, work: _Work, stream: Stream) -> Extra | None:
        created = not stream.created
        deleted = stream in self._going
        if created:
            if stream.lost is not None:
                return None  # its creation was given up
            self._last_number += 1
            stream.number = self._last_number
        if deleted:
            self._delete_rows(work, stream.number)
        state = None
        before, marks = stream.marks, stream.storing_marks
        if marks is not before:
            for producer in [
                name for name, at in marks.producers.items() if before.producers.get(name) != at
            ]:
                work.add(_UPSERT_PRODUCER, stream.number, producer, *marks.producers[producer])
        if marks.sequence != before.sequence or stream.stored_epoch != stream.info.epoch:
            state = State(stream.info, Marks(marks.sequence))
        result = stream.storing_result
        if state is None and result is None and not deleted:
            return None
        return Extra(state=state, created=created, result=result, deleted=deleted)

    def _take_note(self, work: _Work, streams: Sequence[Stream]) -> None:
        """Bring what is known of the file up to date: `work` is done."""
        if work.entries:
            self._rows.append((work.row, work.size))
            self._log_bytes += work.size
            self._bytes_since_tidy += work.size
            # The row's own page is written whole, and of what is tidied up the row's and an index's.
            self._since_checkpoint += work.size + _PAGE * (2 * len(work.statements) - 1)
            floors = self._floors
            for stream in streams:
                if stream not in floors and not (stream.closed or stream.lost):
                    floors[stream] = work.row
                stream.stored_epoch = stream.info.epoch
                if stream.storing_result is not None:
                    self._ended.append(stream)
        for effect in work.effects:
            try:
                effect()
            except Exception:  # the file is right, and the others' turn is not over
                logger.exception("the journal could not finish a commit")
        for stream in self._going:
            self._floors.pop(stream, None)
        if work.tidies:
            self._since_tidy = self._bytes_since_tidy = 0
        if self._large or work.size > _SEGMENT:
            self._large = {
                stream: None
                for stream in (*self._large, *streams)
                if stream in self._floors and stream.records.nbytes > _SEGMENT
            }
            if self._large:  # nothing more may come of these for a long time
                asyncio.get_running_loop().call_soon(self._commit.soon)
        if self._since_checkpoint >= _CHECKPOINT and not self._checkpointing:
            self._since_checkpoint = 0
            self._checkpointing = True
            future = asyncio.get_running_loop().run_in_executor(None, self._file.checkpoint)
            self._background.add(future)
            future.add_done_callback(self._checkpointed)

    def _checkpointed(self, future: asyncio.Future[None]) -> None:
        self._background.discard(future)
        self._checkpointing = False
        if not future.cancelled() and (error := future.exception()) is not None:
            logger.error("the journal's WAL could not be copied into the file", exc_info=error)

    # Tidying up: each time a little, as a part of somebody's commit

    def _tidied(self, streams: Sequence[Stream]) -> _Work:
        """Return a commit that begins with tidying up, or with nothing if that fails: the others must be stored."""
        work = _Work(self._last_row + 1)
        try:
            self._tidy(work, streams)
        except JournalUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, it is not in what is to be stored
            self._tidy_later(error)
            return _Work(self._last_row + 1)
        return work

    def _tidy(self, work: _Work, streams: Sequence[Stream]) -> None:
        self._cut_log(work)
        for stream in [self._ended[i] for i in range(min(_BATCH, len(self._ended)))]:
            self._seal(work, stream)
        # A stream that grows comes here often enough.
        long = [stream for stream in (*streams, *self._large) if stream.records.nbytes > _SEGMENT]
        if self._log_bytes > _LOG_LIMIT:
            long += sorted(self._floors, key=self._floors.__getitem__)
        long = [
            stream
            for stream in long
            if stream in self._floors and not (stream.closed or stream.storing_result is not None)
        ]
        for stream in dict.fromkeys(long[:_BATCH]):
            self._extend_segments(work, stream)
        if self._sweeping or self._kept.is_exceeded(self._ended_bytes):
            self._delete_old(work)

    def _cut_log(self, work: _Work) -> None:
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

    def _seal(self, work: _Work, stream: Stream) -> None:
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

    def _extend_segments(self, work: _Work, stream: Stream) -> None:
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

    def _put(self, work: _Work, stream: Stream, *, ended: float | None) -> int:
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

    # Streams whose time is over

    def sweep(self) -> None:
        """Let go of the streams whose time is over, and of ended ones that are too old or beyond the size."""
        super().sweep()
        self._sweeping = True
        self._commit.soon()

    def _delete_old(self, work: _Work) -> None:
        touched = dict(self._touched)
        for number, until in touched.items():
            work.add("UPDATE streams SET until = ? WHERE number = ?", until, number)
        found, removed = self._kept.old(self._now(), self._ended_bytes, _BATCH)
        old = [number for number in found if number not in touched]
        self._sweeping = len(old) == _BATCH
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
        if self._sweeping:
            self._next_batch = asyncio.get_running_loop().call_later(_PAUSE, self._commit.soon)

    def _delete_rows(self, work: _Work, number: int) -> tuple[int, str | None]:
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
