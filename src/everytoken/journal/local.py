"""Streams that belong to one process: what the journals in memory and in SQLite share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from everytoken.errors import (
    FencedError,
    JournalError,
    JournalFullError,
    StreamClosedError,
    StreamExistsError,
)
from everytoken.journal import Append, Appended, StreamInfo
from everytoken.journal.commit import GroupCommit
from everytoken.journal.ids import missing
from everytoken.journal.quota import OWN, Quota, Usage, size_of
from everytoken.journal.rules import check_producers, is_duplicate, marks_after
from everytoken.journal.stream import Stream, StreamWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.errors import StreamNotFoundError

__all__ = ["LocalJournal"]

_FEW = 64  # open streams from which on those that have ended are looked for
_MEASURE = 1.0  # seconds between two looks at what open streams take, at least
_FOR_EACH = 2e-5  # seconds more for each of them: a look is to take less than a hundredth of the time


class _Room:
    """How much streams take, and may take; time is in seconds."""

    def __init__(self, max_bytes: int, now: Callable[[], float]) -> None:
        self._streams: dict[str, Stream] = {}
        # Of these, so that what is done now and then costs nothing for the many that have ended.
        self._open: list[Stream] = []
        self._enough = _FEW
        self._mortal: list[Stream] = []  # those with a time of their own
        self._open_bytes = 0  # of open streams, as of `_measured` and with what was submitted since
        self._ended_bytes = 0
        self._log_bytes = 0  # of what a storage has not sorted by streams yet, ended ones included
        self._measured = -math.inf
        self._max_bytes = max_bytes
        self._now = now

    def _measure(self) -> None:
        now = self._now()
        if not 0 <= now - self._measured < max(_MEASURE, _FOR_EACH * len(self._open)):
            self._measured = now
            self._forget_ended()
            self._open_bytes = sum(map(_size, self._open))

    def _forget_ended(self) -> None:
        self._open = [stream for stream in self._open if not stream.closed and stream.lost is None]
        self._enough = 2 * len(self._open) + _FEW

    def _keep(self, stream: Stream) -> None:
        """Have a stream in memory."""
        self._streams[stream.info.id] = stream
        if not stream.closed:
            self._open.append(stream)
            if len(self._open) > self._enough:
                self._forget_ended()
        if stream.info.ttl is not None or stream.info.expires is not None:
            self._mortal.append(stream)

    @property
    def is_full(self) -> bool:
        """Whether what is open takes all the room, so that no response can begin."""
        self._measure()
        return self._open_bytes > self._max_bytes

    @property
    def size(self) -> int:
        """About how many bytes the streams take, of the `max_bytes` they may."""
        self._measure()
        return max(self._open_bytes, self._log_bytes) + self._ended_bytes

    @property
    def max_bytes(self) -> int:
        """How many bytes the streams may take."""
        return self._max_bytes


class LocalJournal(_Room):
    """A journal whose streams belong to this process. A storage adds `_store`, `_find` and what it has to tidy up."""

    durable = True

    def __init__(
        self, *, retention: float, max_bytes: int, quota: Quota | None, now: Callable[[], float]
    ) -> None:
        super().__init__(max_bytes, now)
        self._retention = retention
        self._usage = Usage(quota or Quota())
        self._deleting: dict[str, Stream] = {}
        self._going: list[Stream] = []  # those whose deletion is being stored
        self._removed = 0.0  # what had ended up to then may have been removed: it was too old, or too much
        self._commit = GroupCommit(self._begin, self._after)
        # What was appended to a stream is stored with the next group commit.
        self.moved: Callable[[Stream], None] = self._commit.add

    # What a storage adds

    def _store(self, streams: Sequence[Stream]) -> bool:
        """Store what `streams` are storing, and that those in `_going` are gone; see `GroupCommit`."""
        raise NotImplementedError

    def _stored(self, streams: Sequence[Stream]) -> None:
        """Record what has been stored."""

    def _find(self, stream_id: str) -> Stream | None:  # noqa: ARG002  # for those that store
        """Return a stream that is not in memory."""
        return None

    def sweep(self) -> None:
        """Let go of the streams whose time is over."""
        kept = self._streams
        self._mortal = [stream for stream in self._mortal if kept.get(stream.info.id) is stream]
        for stream in self._mortal:
            if stream.created and self._is_over(stream):
                self._have_deleted(stream)

    # Life

    async def start(self) -> None:
        """Get ready."""

    async def stop(self) -> None:
        """Store what is on its way."""
        await self._commit.finish()

    # Streams

    async def create(
        self, info: StreamInfo, records: Sequence[bytes] = (), *, closed: bool = False
    ) -> StreamWriter:
        """Begin a stream. Raises `StreamExistsError`, `JournalUnavailableError`."""
        while (there := self._look_up(info.id)) is not None:
            if not there.created or not self._is_over(there):
                raise StreamExistsError(f"stream {info.id} already exists")
            await self._delete(there)
        self._commit.check()
        stream = Stream(info, self._fetch)
        self._admit(stream, records)
        stream.pending += records
        if closed:
            stream.end(info.result or {})
        self._keep(stream)
        try:
            await self._stored_soon(stream)
        except JournalError as error:
            self._streams.pop(info.id, None)
            self._usage.release(stream)
            if stream.lost is None:
                stream.lose(error)
            raise
        self._charge(stream)
        return StreamWriter(self, stream)

    async def open(self, stream_id: str, *, touch: bool = True) -> Stream:
        """Return a stream to read. Raises `StreamNotFoundError`, `JournalUnavailableError`."""
        stream = self._look_up(stream_id)
        if stream is not None and not stream.created:
            await stream.wait()
        if stream is None or self._is_over(stream):
            raise self.missing(stream_id)
        if touch:
            self._touch(stream)
        return stream

    async def claim(self, stream_id: str) -> StreamWriter:
        """Become the writer at the next epoch. Raises `StreamNotFoundError`, `StreamClosedError`."""
        stream = await self.open(stream_id)
        if stream.closing:
            raise StreamClosedError(f"stream {stream_id} has ended")
        self._commit.check()
        stream.fence(stream.info.epoch + 1)
        writer = StreamWriter(self, stream)
        await self._stored_soon(stream)
        return writer

    async def orphans(self) -> list[str]:
        """Return the open streams whose maker is gone: none, in one process."""
        return []

    async def is_read_elsewhere(self, stream_id: str) -> bool:  # noqa: ARG002  # there is no elsewhere
        """Whether a stream has readers on other nodes: no."""
        return False

    async def delete(self, stream_id: str) -> None:
        """Forget a stream. Raises `StreamNotFoundError`, `JournalUnavailableError`."""
        await self._delete(await self.open(stream_id, touch=False))

    async def submit(self, stream_id: str, append: Append) -> Appended:
        """Check an append and store it."""
        stream = await self.open(stream_id)
        duplicate = is_duplicate(stream.due_marks, append, closed=stream.closing)
        if not duplicate and not (stream.closing and not append.records):
            if not stream.info.shared:
                raise FencedError(f"only its own writer can append to stream {stream_id}")
            self._commit.check()
            if append.producer is not None:
                known = stream.due_marks.producers
                check_producers(append.producer.id in known, len(known))
            self._admit(stream, append.records)
            if not stream.waits:
                stream.revocable = True
            stream.pending += append.records
            stream.pending_bytes += sum(map(len, append.records))
            stream.due_marks = marks_after(stream.due_marks, append)
            if append.close:
                stream.end(append.result or {})
            tail = stream.tail + len(stream.storing) + len(stream.pending)
            try:
                await self._stored_soon(stream)
            finally:
                self._charge(stream)
        else:
            if stream.waits:
                await self._stored_soon(stream)  # what it repeats may wait to be stored itself
            tail = stream.tail
        seq = None
        if append.producer is not None:
            _, seq = stream.marks.producers.get(append.producer.id, (0, append.producer.seq))
        return Appended(tail, stream.closed, duplicate=duplicate, seq=seq)

    # Room

    def _admit(self, stream: Stream, records: Sequence[bytes]) -> None:
        """Raise `JournalFullError`, and for streams of callers `StreamFullError` and `QuotaExceededError`."""
        self._measure()
        # Streams of callers leave half of it to responses.
        is_callers = stream.info.shared and stream.info.owner != OWN
        if self._open_bytes > (self._max_bytes // 2 if is_callers else self._max_bytes):
            raise JournalFullError(
                "the journal is full: open streams and responses use all the space they may have"
            )
        if stream.info.shared:
            added = size_of(records)
            self._usage.admit(stream, added)
            self._open_bytes += added

    def _charge(self, stream: Stream) -> None:
        """Charge a stream for what it takes once it is stored."""
        if stream.charged is not None:
            self._usage.charge(stream, stream.stored_bytes + stream.records.nbytes + stream.pending_bytes)

    async def _stored_soon(self, stream: Stream) -> None:
        stored = stream.wait()
        self.moved(stream)
        await stored

    async def _fetch(self, stream: Stream, offset: int, limit: int) -> Sequence[bytes]:  # noqa: ARG002
        raise self.missing(stream.info.id)

    # The end of streams

    def missing(self, stream_id: str) -> StreamNotFoundError:
        """Return what is to be said of a stream that is not there."""
        return missing(stream_id, removed=self._removed)

    def _look_up(self, stream_id: str) -> Stream | None:
        return self._streams.get(stream_id) or self._find(stream_id)

    def _touch(self, stream: Stream) -> None:
        stream.used = self._now()

    def _is_over(self, stream: Stream) -> bool:
        now, info = self._now(), stream.info
        return (info.expires is not None and now >= info.expires) or (
            info.ttl is not None and now >= stream.used + info.ttl
        )

    async def _delete(self, stream: Stream) -> None:
        deleted = stream.wait()
        self._have_deleted(stream)
        await deleted

    def _have_deleted(self, stream: Stream) -> None:
        self._deleting[stream.info.id] = stream
        self.moved(stream)

    def _take_deleted(self, streams: Sequence[Stream]) -> None:
        """Take those of `streams` that are being deleted as going."""
        self._going = [stream for stream in streams if self._deleting.get(stream.info.id) is stream]

    def _begin(self, streams: Sequence[Stream]) -> bool:
        if self._deleting:
            self._take_deleted(streams)
        return self._store(streams)

    def _after(self, streams: Sequence[Stream]) -> None:
        if self._going:
            self._drop_deleted()
        self._stored(streams)

    def _drop_deleted(self) -> None:
        """Forget those whose deletion is stored."""
        going, self._going = self._going, []
        for stream in going:
            self._drop(stream)

    async def probe(self) -> None:
        """Have something stored. Raises `JournalUnavailableError`."""
        await self.commits.probe()

    @property
    def commits(self) -> GroupCommit:
        """The group commit, for the watchdog."""
        return self._commit

    def _drop(self, stream: Stream) -> None:
        """Forget a stream whose deletion is stored, and tell its readers."""
        self._deleting.pop(stream.info.id, None)
        if self._streams.get(stream.info.id) is stream:
            del self._streams[stream.info.id]
        self._usage.release(stream)
        self._open_bytes -= _size(stream)
        stream.lose(self.missing(stream.info.id))


def _size(stream: Stream) -> int:
    return 0 if stream.closed else stream.stored_bytes + stream.records.nbytes
