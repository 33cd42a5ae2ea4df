"""One stream as this process sees it: what is committed, for its readers, and what waits to be stored."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from everytoken.dialects.registry import dialect_of
from everytoken.errors import (
    EverytokenError,
    FencedError,
    NotStorableError,
    OffsetInvalidError,
    StreamClosedError,
    error_body,
)
from everytoken.journal.packed import PackedRecords
from everytoken.journal.rules import Marks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from everytoken.journal import StreamInfo
    from everytoken.journal.packed import Part

    Fetch = Callable[[Any, int, int], Awaitable[Sequence[bytes]]]

__all__ = ["FULL", "Stream", "StreamWriter", "some_of"]

logger = logging.getLogger("everytoken.journal")

_FIRST = 4  # records taken before the first look at their size
_STEP = 64  # and at most between two looks
_NEWEST = 16 * 1024  # bytes of a commit that a reader gets as they came, whatever its limit
FULL = 1024 * 1024  # bytes waiting to be stored at which a writer pauses


class _Mover(Protocol):
    def moved(self, stream: Stream) -> None: ...


class StreamRecords:
    """Records from `base` to `tail` are in memory, packed; those before are in storage.

    `newest` are those of the last commit, as they came: a reader that keeps up gets these, and only for one that does not
    they are made anew.
    """

    __slots__ = (
        "__weakref__",
        "_fetch",
        "_moved",
        "_newest",
        "_watch",
        "base",
        "info",
        "lost",
        "records",
        "tail",
    )

    def __init__(
        self, info: StreamInfo, fetch: Fetch | None, *, tail: int, watch: Callable[[Any], None] | None
    ) -> None:
        """`fetch` reads records that are not in memory: all those before `tail`. `watch` is told of new readers."""
        self._fetch = fetch
        self._watch = watch
        self._moved: tuple[Callable[[], None], ...] = ()  # a reader may leave while all are told
        self._newest: Sequence[bytes] = ()
        self.records = PackedRecords()  # from `base` to `tail`, and then those that are being stored
        self.base = tail
        self.tail = tail
        self.info = info
        self.lost: EverytokenError | None = None  # why nothing can be read or written any more

    @property
    def deleted(self) -> bool:
        """Whether the stream is gone."""
        return self.lost is not None

    @property
    def watched(self) -> bool:
        """Whether anybody wants to hear of commits."""
        return bool(self._moved)

    def take(self, offset: int, limit: int) -> Sequence[bytes] | None:
        """Return committed records from `offset` on, about `limit` bytes; None for those that have to be fetched."""
        if self.tail - offset == len(self._newest) and self.lost is None:
            return self._newest
        if offset > self.tail:
            raise OffsetInvalidError("the offset is past the end of the stream", param="offset")
        if offset < self.base or self.lost is not None:
            return None
        return some_of(self.records, offset - self.base, self.tail - self.base, limit)

    async def fetch(self, offset: int, limit: int) -> Sequence[bytes]:
        """Do as `take`, from storage. Raises `JournalUnavailableError`, `StreamNotFoundError` too."""
        taken = self.take(offset, limit)
        if taken is not None:
            return taken
        if self.lost is not None:
            raise self.lost
        assert self._fetch is not None
        return await self._fetch(self, offset, limit)

    def subscribe(self, moved: Callable[[], None]) -> None:
        """Have `moved` called after every commit."""
        self._moved = (*self._moved, moved)
        if self._watch is not None:
            self._watch(self)

    def unsubscribe(self, moved: Callable[[], None]) -> None:
        """Call it no more."""
        if moved in self._moved:
            at = self._moved.index(moved)
            self._moved = self._moved[:at] + self._moved[at + 1 :]

    def load(self, part: Part) -> None:
        """Have records in memory that are stored."""
        self.records.extend_part(part)
        self.tail = self.base + len(self.records)

    def forget(self, records: PackedRecords) -> None:
        """Keep no committed records in memory: they are in storage. `records`: those being stored."""
        self.records = records
        self.base = self.tail
        self._newest = ()

    def trim(self) -> None:
        """Let go of the older half of the committed records in memory: they are in storage."""
        count = (self.tail - self.base) // 2
        self.records.drop(count)
        self.base += count


class Stream(StreamRecords):
    """One stream: its records, and what of it is not stored yet.

    What a writer appends is `pending`; `begin` makes it `storing`, and then either `commit` shows it to the readers or
    `put_back` has it stored again.
    """

    __slots__ = (
        "_special",
        "_storing_special",
        "_storing_waiting",
        "_waiting",
        "broken_off",
        "charged",
        "closed",
        "closing",
        "created",
        "dirty",
        "due_marks",
        "fenced",
        "immediate",
        "marks",
        "number",
        "pending",
        "pending_bytes",
        "pending_result",
        "position",
        "revocable",
        "stored_bytes",
        "stored_epoch",
        "storing",
        "storing_marks",
        "storing_result",
        "used",
    )

    def __init__(
        self,
        info: StreamInfo,
        fetch: Fetch | None = None,
        *,
        tail: int = 0,
        watch: Callable[[Stream], None] | None = None,
    ) -> None:
        """`fetch` reads records that are not in memory: all those before `tail`. `watch` is told of new readers."""
        super().__init__(info, fetch, tail=tail, watch=watch)
        self._waiting: list[asyncio.Future[None]] = []
        self._storing_waiting: list[asyncio.Future[None]] = []
        # Whether more than records waits, or is being stored: a beginning, an end, marks, somebody who wants to know.
        self._special = self._storing_special = False
        self.number = 0  # the storage's own name for it
        self.position: Any = None  # where it is in the storage, in the storage's own words
        self.immediate = False  # whether nothing has to be stored: what is appended is shown at once
        self.created = False  # whether it is stored
        self.stored_bytes = 0  # of its segments in the storage
        self.charged: int | None = None  # bytes that count against its owner's quota, if it has one
        self.broken_off = False  # whether its end is ours, because its own could not be stored
        self.closed = False
        self.closing = False  # whether nothing can be appended any more, stored or not yet
        self.dirty = False  # whether the next group commit has to look at it
        self.pending: list[bytes] = []
        self.pending_bytes = 0
        self.pending_result: dict[str, Any] | None = None  # set when closing waits to be stored
        self.storing: list[bytes] = []
        self.storing_result: dict[str, Any] | None = None
        self.marks = self.storing_marks = self.due_marks = Marks()  # stored, being stored, when all is stored
        self.stored_epoch = -1
        self.revocable = (
            False  # whether all that waits came by `submit`, whose caller can be told that it is not stored
        )
        self.used = info.created
        self.fenced: Callable[[], None] | None = None  # told when its writer can write no more

    # Storage

    @property
    def waits(self) -> bool:
        """Whether something is not stored yet."""
        return self.closing is not self.closed or bool(self.pending or self.storing)

    def show(self, records: Sequence[bytes], result: dict[str, Any] | None = None) -> None:
        """Show the readers what is stored already, or need not be; `result` if that is the end."""
        if records:
            self.records.extend(records)
        if result is not None:
            self.info.result = result
            self.closed = self.closing = True
            self.fenced = None
        self.tail += len(records)
        self._newest = records if len(records) == 1 or sum(map(len, records)) <= _NEWEST else ()
        for moved in self._moved:
            try:
                moved()
            except Exception as error:  # noqa: BLE001  # one reader's fault must not keep the others from what is theirs
                self.reader_failed(error)

    def reader_failed(self, error: Exception) -> None:
        """Write down that a reader could not be told."""
        logger.error("a reader of stream %s failed", self.info.id, exc_info=error)

    def begin(self) -> None:
        """Take what is pending as being stored."""
        self.dirty = False
        self.pending_bytes = 0
        self.storing = records = self.pending
        self.pending = []
        self.records.extend(records)
        if self._special:
            self._special, self._storing_special = False, True
            self.storing_result, self.pending_result = self.pending_result, None
            self.storing_marks = self.due_marks
            self._storing_waiting += self._waiting
            self._waiting = []

    def commit(self) -> None:
        """Take what was being stored as stored."""
        records, self.storing = self.storing, []
        special, self._storing_special = self._storing_special, False
        if special:
            self.created = True
            self.marks = self.storing_marks
            if self.storing_result is not None:
                self.info.result, self.storing_result = self.storing_result, None
                self.closed = True
                self.fenced = (
                    None  # nothing is left to write, and the writer must not live as long as the stream
                )
        self.tail += len(records)
        self._newest = records if len(records) == 1 or sum(map(len, records)) <= _NEWEST else ()
        for moved in self._moved:
            try:
                moved()
            except Exception as error:  # noqa: BLE001  # one reader's fault must not keep the others from what is theirs
                self.reader_failed(error)
        if special:
            waiting, self._storing_waiting = self._storing_waiting, []
            _settle(waiting, None)

    def cannot_show(self, error: Exception) -> None:
        """Give up a stream whose stored records cannot be shown."""
        logger.error("stream %s: what was stored cannot be shown", self.info.id, exc_info=error)
        failure = NotStorableError("what was stored cannot be shown")
        failure.__cause__ = error
        self.lose(failure)

    def put_back(self) -> None:
        """Take what was being stored as pending again: it could not be stored."""
        if self.storing:
            self.records.truncate(self.tail - self.base)
            self.pending = self.storing + self.pending
            self.pending_bytes = sum(map(len, self.pending))
            self.storing = []
        if self.storing_result is not None:
            self.pending_result, self.storing_result = self.storing_result, None
        self._special = self._special or self._storing_special
        self._storing_special = False
        self._waiting = self._storing_waiting + self._waiting
        self._storing_waiting = []

    def keep(self, count: int, *, closed: bool) -> None:
        """Of what was being stored, take the first `count` records as stored, and the end if `closed`; not the rest."""
        self.pending = self.storing[count:] + self.pending
        self.pending_bytes = sum(map(len, self.pending))
        self.storing = self.storing[:count]
        self.records.truncate(self.tail - self.base + count)
        if not closed and self.storing_result is not None:
            self.pending_result, self.storing_result = self.storing_result, None
            self._special = True

    def drop_pending(self) -> None:
        """Forget what is not stored: it never will be."""
        self.put_back()
        self.pending, self.pending_bytes, self.pending_result = [], 0, None
        self.closing = self.closed

    def give_up(self, error: EverytokenError) -> None:
        """Tell those who wait that nothing was stored, and take back what they wanted to have stored."""
        if self.revocable:
            self.pending, self.pending_bytes, self.pending_result = [], 0, None
            self.closing = self.closed
            self.due_marks = self.marks
        waiting, self._waiting = self._waiting, []
        _settle(waiting, error)

    def break_off(self, error: EverytokenError) -> None:
        """End the stream with `error`, behind what is stored of it, and stop its writer."""
        self.broken_off = True
        self.drop_pending()
        self.give_up(error)
        body = error_body(error)
        self.pending = [dialect_of(self.info.meta).error(body, number=self.tail)]
        self.end({"outcome": "interrupted", **body})
        self._tell_writer()

    def lose(self, error: EverytokenError) -> None:
        """Tell everybody that there is nothing to read or write here any more."""
        self.lost = error
        waiting = self._storing_waiting + self._waiting
        self._storing_waiting, self._waiting = [], []
        _settle(waiting, error)
        self.show(())
        self._tell_writer()

    def fence(self, epoch: int) -> None:
        """Record that the stream has a writer at this epoch, and tell the one before."""
        self.info.epoch = epoch
        self._tell_writer()

    def _tell_writer(self) -> None:
        told, self.fenced = self.fenced, None
        if told is not None:
            try:
                told()
            except Exception:  # a writer's fault must not stop the stream either
                logger.exception("the writer of stream %s failed", self.info.id)

    def wait(self) -> asyncio.Future[None]:
        """Return a future that is done when what waits now is stored."""
        stored = asyncio.get_running_loop().create_future()
        self._waiting.append(stored)
        self._special = True
        return stored

    def end(self, result: dict[str, Any]) -> None:
        """Have nothing follow what was appended; `result`: what it is closed with."""
        self.pending_result = result
        self.closing = self._special = True


class StreamWriter:
    """The writer of a stream in one epoch."""

    __slots__ = ("_epoch", "_journal", "log")

    def __init__(self, journal: _Mover, stream: Stream) -> None:
        self._journal = journal
        self._epoch = -1 if stream.info.shared else stream.info.epoch  # everybody's stream has no writer
        self.log = stream

    @property
    def full(self) -> bool:
        """Whether the writer should pause until the log has moved."""
        return sum(map(len, self.log.pending)) > FULL

    def when_fenced(self, told: Callable[[], None]) -> None:
        """Have `told` called when another writer takes over, or the stream is lost."""
        self.log.fenced = told

    def append(self, records: Sequence[bytes]) -> bool:
        """Append records; return `full`. Raises `StreamClosedError`, `FencedError`, `StreamNotFoundError`."""
        stream = self.log
        if self._epoch != stream.info.epoch or stream.lost is not None or stream.closing:
            self._refuse()
        if stream.immediate and not stream.dirty:
            try:
                stream.show(list(records))
            except Exception:  # noqa: BLE001  # the group commit tries it again, and knows what to do if it fails
                stream.records.truncate(stream.tail - stream.base)
            else:
                return False
        stream.pending += records
        if stream.dirty:
            # What was the first since the last commit is not counted: nearly always it is all, and no more than one read.
            stream.pending_bytes += sum(map(len, records))
            return stream.pending_bytes > FULL
        self._journal.moved(stream)
        return False

    def close(self, records: Sequence[bytes], result: dict[str, Any]) -> None:
        """Append the last records and close. Raises as `append` does."""
        stream = self.log
        if self._epoch != stream.info.epoch or stream.lost is not None or stream.closing:
            self._refuse()
        stream.pending += records
        stream.end(result)
        self._journal.moved(stream)

    def _refuse(self) -> None:
        stream = self.log
        if stream.lost is not None:
            raise stream.lost
        if self._epoch != stream.info.epoch:
            raise FencedError(f"stream {stream.info.id} has another writer now")
        raise StreamClosedError(f"stream {stream.info.id} has ended")


def some_of(records: PackedRecords | Sequence[bytes], start: int, stop: int, limit: int) -> list[bytes]:
    """Return records from `start` on, before `stop`, about `limit` bytes of them."""
    taken: list[bytes] = []
    size, step = 0, _FIRST
    while start < stop and size < limit:
        some = records[start : min(stop, start + step)]
        taken += some
        start += len(some)
        size += sum(map(len, some))
        step = max(1, min(_STEP, (limit - size) * len(taken) // max(size, 1)))
    return taken


def _settle(waiting: Sequence[asyncio.Future[None]], error: EverytokenError | None) -> None:
    for stored in waiting:
        if stored.done():
            continue
        if error is None:
            stored.set_result(None)
        else:
            stored.set_exception(error)
