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
from typing import TYPE_CHECKING, Any

from everytoken.errors import JournalUnavailableError
from everytoken.journal import sqlite_tidying as tidying
from everytoken.journal.packed import PackedRecords
from everytoken.journal.rules import Marks
from everytoken.journal.sqlite_file import (
    INSERT_LOG,
    NOTHING,
    SQLITE_FAULTS,
    Extra,
    SqliteFile,
    State,
    encode,
)
from everytoken.journal.sqlite_recovery import Recovered
from everytoken.journal.sqlite_tidying import SqliteTidying, Work
from everytoken.native import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from everytoken.journal.quota import Quota
    from everytoken.journal.stream import Stream, StreamWriter

__all__ = ["SqliteJournal"]

logger = logging.getLogger("everytoken.journal")

_TIDY_BYTES = (
    2 * 1024 * 1024
)  # bytes of commits from one tidying up to the next, as TIDY: this much of a stream that grows fast is in memory
_PAGE = 4096
_CHECKPOINT = 4 * 1024 * 1024  # bytes of commits after which the WAL is copied into the file
_SWEEP = 60.0  # seconds between two looks for streams whose time is over

_UPSERT_PRODUCER = "INSERT OR REPLACE INTO producers VALUES (?, ?, ?, ?)"


class SqliteJournal(SqliteTidying):
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
        self._in_thread = durability == "power"
        self.directory = path.parent  # whose disk it fills
        super().__init__(
            SqliteFile(path, sync=self._in_thread),
            retention=retention,
            max_bytes=max_bytes,
            quota=quota,
            now=now,
        )
        self._last_number = 0
        self._found_open: dict[Stream, None] = {}
        self._background: set[asyncio.Future[Any]] = set()
        self._checkpointing = False
        self._sweeper: asyncio.Task[None] | None = None

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
            self._keep(stream)
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
            self._since_tidy >= tidying.TIDY
            or self._bytes_since_tidy >= _TIDY_BYTES
            or len(self._ended) >= tidying.BATCH
            or self._sweeping
            or bool(self._large)
        )
        work = self._tidied(streams) if tidies else Work(self._last_row + 1)
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

    def _commit_work(self, work: Work, streams: Sequence[Stream]) -> bool:
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
                    part = (parts.part or PackedRecords.part)(stream.records, stream.tail - stream.base)
                work.entries.append((stream.number, stream.tail, part, extra))
            elif extra is not None:
                work.entries.append((stream.number, stream.tail, NOTHING, extra))
        if work.entries:
            data = encode(work.entries)
            work.size = len(data)
            work.statements.append((INSERT_LOG, (work.row, data)))
        if self._commit.storing_probes:
            work.add("UPDATE removed SET ended = ended")
        if not work.statements:
            return True
        if self._in_thread:
            future = asyncio.get_running_loop().run_in_executor(None, self._file.execute, work.statements)
            future.add_done_callback(lambda _: self._finish(future, work, streams))
            return False
        work.in_tail = not self._file.execute(work.statements)
        self._done(work, streams)
        return True

    def _finish(self, future: asyncio.Future[bool], work: Work, streams: Sequence[Stream]) -> None:
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

    def _done(self, work: Work, streams: Sequence[Stream]) -> None:
        if work.entries:
            self._last_row = work.row
        try:
            self._take_note(work, streams)
        except Exception:  # the file is right, and the readers' turn is next
            logger.exception("the journal could not record a commit")
            for stream in streams:
                self._floors.setdefault(stream, work.row)

    def _extra(self, work: Work, stream: Stream) -> Extra | None:
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

    def _take_note(self, work: Work, streams: Sequence[Stream]) -> None:
        """Bring what is known of the file up to date: `work` is done."""
        if work.entries:
            self._rows.append((work.row, work.size))
            self._log_bytes += work.size
            self._bytes_since_tidy += work.size
            # The row's own page is written whole, and of what is tidied up the row's and an index's.
            pages = 0 if work.in_tail else 2 * len(work.statements) - 1
            self._since_checkpoint += work.size + _PAGE * pages
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
                logger.exception("the journal could not record a commit")
        for stream in self._going:
            self._floors.pop(stream, None)
        if work.tidies:
            self._since_tidy = self._bytes_since_tidy = 0
        if self._large or work.size > tidying.SEGMENT:
            self._look_for_large(streams)
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
