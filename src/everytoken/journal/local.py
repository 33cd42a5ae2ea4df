"""Streams of one process: what the journals in memory and in SQLite share.

All state of an open stream is here, in memory, packed; a journal that stores only has to add `_store`, one group commit
for everything that moved in a turn of the event loop. A record becomes visible to readers when that has returned.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from everytoken.errors import (
    EverytokenError,
    FencedError,
    InvalidRequestError,
    JournalUnavailableError,
    OffsetInvalidError,
    ProducerGapError,
    ProducerStaleError,
    SequenceConflictError,
    StreamClosedError,
    StreamExistsError,
    StreamNotFoundError,
)
from everytoken.journal import Append, Appended, StreamInfo
from everytoken.journal.packed import PackedRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LocalJournal", "LocalStream", "LocalWriter"]

logger = logging.getLogger("everytoken.journal")

_STEP = 64  # records taken at once, between two looks at their size
_FULL = 1024 * 1024  # bytes waiting to be stored at which a writer pauses
_RETRY = (0.05, 2.0)  # seconds between tries while the storage refuses: first and longest


class LocalStream:
    """One stream: the log that readers see, and what waits to be stored.

    `_newest` are the records of the last commit, as they came: a reader that keeps up gets these, and only one that
    does not has them made anew.
    """

    __slots__ = (
        "_moved",
        "_newest",
        "_records",
        "_waiting",
        "closed",
        "created",
        "deleted",
        "info",
        "last_sequence",
        "number",
        "pending",
        "pending_bytes",
        "pending_result",
        "producers",
        "used",
    )

    def __init__(self, info: StreamInfo) -> None:
        self._records = PackedRecords()
        self._newest: Sequence[bytes] = ()
        self._moved: list[Callable[[], None]] = []
        self._waiting: list[asyncio.Future[None]] = []
        self.info = info
        self.number = 0  # the storage's own name for it
        self.created = False  # whether the storage knows it
        self.closed = False
        self.deleted = False
        self.pending: list[bytes] = []
        self.pending_bytes = 0
        self.pending_result: dict[str, Any] | None = None  # set when closing waits to be stored
        self.last_sequence: str | None = None
        self.producers: dict[str, tuple[int, int]] = {}
        self.used = info.created

    # Readers

    @property
    def tail(self) -> int:
        """The offset after the last committed record."""
        return len(self._records)

    @property
    def nbytes(self) -> int:
        """About how much memory the records take."""
        return self._records.nbytes

    @property
    def records(self) -> PackedRecords:
        """The committed records."""
        return self._records

    def take(self, offset: int, limit: int) -> Sequence[bytes]:
        """Return committed records from `offset` on, about `limit` bytes. Raises `OffsetInvalidError`."""
        records = self._records
        count = len(records) - offset
        if count == len(self._newest):
            return self._newest
        if count < 0:
            raise OffsetInvalidError("this offset is past the end of the stream", param="offset")
        taken: list[bytes] = []
        size = 0
        while size < limit and offset < len(records):
            some = records[offset : offset + _STEP]
            taken += some
            offset += len(some)
            size += sum(map(len, some))
        return taken

    async def fetch(self, offset: int, limit: int) -> Sequence[bytes]:
        """Do as `take`: everything is in memory."""
        return self.take(offset, limit)

    def subscribe(self, moved: Callable[[], None]) -> None:
        """Have `moved` called after every commit."""
        self._moved.append(moved)

    def unsubscribe(self, moved: Callable[[], None]) -> None:
        """Call it no more."""
        if moved in self._moved:
            self._moved.remove(moved)

    # Writers

    @property
    def closing(self) -> bool:
        """Whether nothing can be appended any more, stored or not yet."""
        return self.closed or self.pending_result is not None

    @property
    def due(self) -> int:
        """The tail when everything that waits is stored."""
        return len(self._records) + len(self.pending)

    def publish(self, records: Sequence[bytes]) -> None:
        """Show records that are stored to the readers."""
        self._records.extend(records)
        self._newest = records
        # A reader that has had enough takes itself off the list in this call: hence the copy.
        for moved in self._moved.copy():
            moved()

    def commit(self) -> None:
        """Take what waited as stored."""
        records, self.pending = self.pending, []
        self.pending_bytes = 0
        self.created = True
        if self.pending_result is not None:
            self.info.result, self.pending_result = self.pending_result, None
            self.closed = True
        self.publish(records)
        waiting, self._waiting = self._waiting, []
        for stored in waiting:
            if not stored.done():
                stored.set_result(None)

    def wait(self) -> asyncio.Future[None]:
        """Return a future that is done when what waits now is stored."""
        stored = asyncio.get_running_loop().create_future()
        self._waiting.append(stored)
        return stored

    def go(self) -> None:
        """Tell readers, and those who wait for storage, that the stream is gone."""
        self.deleted = True
        self.give_up(StreamNotFoundError("the stream was deleted"))
        for moved in self._moved.copy():
            moved()

    def give_up(self, error: EverytokenError) -> None:
        """Tell those who wait that nothing was stored."""
        waiting, self._waiting = self._waiting, []
        for stored in waiting:
            if not stored.done():
                stored.set_exception(error)


class LocalWriter:
    """The writer of a stream in one epoch."""

    __slots__ = ("_epoch", "_journal", "log")

    def __init__(self, journal: LocalJournal, stream: LocalStream) -> None:
        self._journal = journal
        self._epoch = stream.info.epoch
        self.log = stream

    @property
    def full(self) -> bool:
        """Whether the writer should pause until the log has moved."""
        return self.log.pending_bytes > _FULL

    def append(self, records: Sequence[bytes]) -> None:
        """Append records. Raises `StreamClosedError`, `FencedError`."""
        stream = self.log
        if self._epoch != stream.info.epoch or stream.closed or stream.pending_result is not None:
            self._refuse()
        self._journal.append(stream, records)

    def close(self, records: Sequence[bytes], result: dict[str, Any]) -> None:
        """Append the last records and close. Raises `StreamClosedError`, `FencedError`."""
        stream = self.log
        if self._epoch != stream.info.epoch or stream.closing:
            self._refuse()
        stream.pending += records
        stream.pending_result = result
        self._journal.moved(stream)

    def _refuse(self) -> None:
        if self._epoch != self.log.info.epoch:
            raise FencedError(f"stream {self.log.info.id} has another writer now")
        raise StreamClosedError(f"stream {self.log.info.id} has ended")


class LocalJournal:
    """A journal whose streams belong to this process."""

    immediate = False  # whether a record is stored as soon as it is in memory
    durable = True

    def __init__(self) -> None:
        self._streams: dict[str, LocalStream] = {}
        self._dirty: list[LocalStream] = []
        self._flushing = False
        self._retry: asyncio.TimerHandle | None = None
        self._pause = 0.0

    # What a storage adds

    def _store(self, streams: Sequence[LocalStream]) -> None:
        """Store what waits in `streams`, in one step. Raises `JournalUnavailableError`, with nothing stored then."""

    def _stored(self, streams: Sequence[LocalStream]) -> None:
        """Do what is due after a commit; `streams` are those that moved."""

    async def _load(self, stream_id: str) -> LocalStream | None:  # noqa: ARG002  # for those that store
        """Return a stream that is no longer in memory."""
        return None

    # Life

    async def start(self) -> None:
        """Get ready."""

    async def stop(self) -> None:
        """Store what is on its way."""
        if self._dirty:
            self._flush()
        if self._retry is not None:
            self._retry.cancel()

    # Streams

    async def create(
        self, info: StreamInfo, records: Sequence[bytes] = (), *, closed: bool = False
    ) -> LocalWriter:
        """Begin a stream. Raises `StreamExistsError`, `JournalUnavailableError`."""
        there = self._streams.get(info.id) or await self._load(info.id)
        if there is not None:
            if not self._expired(there):
                raise StreamExistsError(f"stream {info.id} exists")
            self._drop(there)
        self._refuse_when_failing()
        stream = LocalStream(info)
        stream.pending += records
        if closed:
            stream.pending_result = info.result or {}
        self._streams[info.id] = stream
        if self.immediate:
            stream.commit()
            self._stored([stream])
        else:
            await self._stored_soon(stream)
        return LocalWriter(self, stream)

    async def open(self, stream_id: str, *, touch: bool = True) -> LocalStream:
        """Return a stream to read. Raises `StreamNotFoundError`."""
        stream = self._streams.get(stream_id) or await self._load(stream_id)
        if stream is not None and not stream.created:
            await stream.wait()
        if stream is None or self._expired(stream):
            raise StreamNotFoundError("there is no such stream")
        if touch:
            stream.used = time.time()
        return stream

    async def claim(self, stream_id: str) -> LocalWriter:
        """Become the writer at the next epoch. Raises `StreamNotFoundError`, `StreamClosedError`."""
        stream = await self.open(stream_id)
        if stream.closing:
            raise StreamClosedError(f"stream {stream_id} has ended")
        stream.info.epoch += 1
        if not self.immediate:
            await self._stored_soon(stream)
        return LocalWriter(self, stream)

    async def orphans(self) -> list[str]:
        """Return the open streams that this process found when it started, and has not taken over yet."""
        return []

    async def delete(self, stream_id: str) -> None:
        """Forget a stream. Raises `StreamNotFoundError`."""
        self._drop(await self.open(stream_id, touch=False))

    def _drop(self, stream: LocalStream) -> None:
        """Forget a stream. Raises `JournalUnavailableError`, with nothing forgotten then."""
        self._streams.pop(stream.info.id, None)
        stream.go()

    def drop_expired(self) -> None:
        """Let go of the streams in memory whose time is over."""
        for stream in list(self._streams.values()):
            if stream.created and self._expired(stream):
                self._drop(stream)

    async def submit(self, stream_id: str, append: Append) -> Appended:
        """Check an append and store it."""
        stream = await self.open(stream_id)
        duplicate = self._check(stream, append)
        if not duplicate and not (stream.closing and not append.records):
            self._refuse_when_failing()
            stream.pending += append.records
            stream.pending_bytes += sum(map(len, append.records))
            if append.sequence is not None:
                stream.last_sequence = append.sequence
            if append.producer is not None:
                stream.producers[append.producer.id] = (append.producer.epoch, append.producer.seq)
            if append.close:
                stream.pending_result = append.result or {}
            tail = stream.due
            if self.immediate:
                stream.commit()
                self._stored([stream])
            else:
                await self._stored_soon(stream)
        else:
            if stream.pending or stream.pending_result is not None:
                await self._stored_soon(stream)  # what it repeats may wait to be stored itself
            tail = stream.tail
        seq = None if append.producer is None else stream.producers[append.producer.id][1]
        return Appended(tail, stream.closed, duplicate=duplicate, seq=seq)

    def _check(self, stream: LocalStream, append: Append) -> bool:
        """Return whether the append had been there already; raises what speaks against it."""
        if append.producer is not None and self._check_producer(stream, append):
            return True
        if stream.closing and (append.records or not append.close):
            raise StreamClosedError(f"stream {stream.info.id} has ended")
        last = stream.last_sequence
        if append.sequence is not None and last is not None and append.sequence.encode() <= last.encode():
            raise SequenceConflictError("the sequence does not come after the last one")
        return False

    @staticmethod
    def _check_producer(stream: LocalStream, append: Append) -> bool:
        producer = append.producer
        assert producer is not None
        epoch, seq = stream.producers.get(producer.id, (producer.epoch, -1))
        if producer.epoch < epoch:
            raise ProducerStaleError("a producer with a higher epoch has taken over", epoch=epoch)
        if producer.epoch > epoch:
            if producer.seq != 0:
                raise InvalidRequestError("a new producer epoch begins at sequence 0", param="Producer-Seq")
            return False
        if producer.seq <= seq:
            return True
        if producer.seq != seq + 1:
            raise ProducerGapError(
                "the producer's sequence has a gap", expected=seq + 1, received=producer.seq
            )
        return False

    @staticmethod
    def _expired(stream: LocalStream) -> bool:
        now = time.time()
        info = stream.info
        return (info.expires is not None and now >= info.expires) or (
            info.ttl is not None and now >= stream.used + info.ttl
        )

    # Group commit

    def append(self, stream: LocalStream, records: Sequence[bytes]) -> None:
        """Take records of the stream's writer."""
        if self.immediate:
            stream.publish(records)
            return
        if not stream.pending:
            self.moved(stream)
        stream.pending += records
        for record in records:
            stream.pending_bytes += len(record)

    def moved(self, stream: LocalStream) -> None:
        """Have a stream stored with the next group commit, at the end of this turn of the event loop."""
        if self.immediate:
            stream.commit()
            self._stored([stream])
            return
        self._dirty.append(stream)
        if not self._flushing and self._retry is None:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    async def _stored_soon(self, stream: LocalStream) -> None:
        stored = stream.wait()
        self.moved(stream)
        await stored

    def _flush(self) -> None:
        self._flushing = False
        self._retry = None
        streams = [stream for stream in dict.fromkeys(self._dirty) if not stream.deleted]
        try:
            self._store(streams)
        except JournalUnavailableError as error:
            self._pause = min(max(self._pause * 2, _RETRY[0]), _RETRY[1])
            if self._pause == _RETRY[0]:
                logger.warning("the journal cannot store: %s; readers wait until it can", error.message)
            for stream in streams:
                if not stream.created:
                    self._streams.pop(stream.info.id, None)
                stream.give_up(error)
            self._dirty = [stream for stream in streams if stream.created]
            self._retry = asyncio.get_running_loop().call_later(self._pause, self._flush)
            return
        if self._pause:
            logger.warning("the journal stores again")
            self._pause = 0.0
        self._dirty.clear()
        for stream in streams:
            stream.commit()
        self._stored(streams)

    def _refuse_when_failing(self) -> None:
        if self._pause:
            raise JournalUnavailableError("the journal cannot store now")
