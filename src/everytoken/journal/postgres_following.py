"""Follows streams that other nodes write: PostgreSQL notifies us of those that anybody here reads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import (
    JournalUnavailableError,
    NotStorableError,
    OffsetInvalidError,
    StreamNotFoundError,
)
from everytoken.journal.packed import PackedRecords
from everytoken.journal.postgres_entries import Entry, decode_info
from everytoken.journal.postgres_link import UNAVAILABLE
from everytoken.journal.postgres_schema import CHANNEL, ENTRIES, READ_HERE, STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from everytoken.journal.postgres_link import PostgresLink
    from everytoken.journal.stream import Stream

__all__ = ["PostgresFollower"]

logger = logging.getLogger("everytoken.journal")

_PACE: Final = 0.002  # seconds between two reads: while much moves, they bring more at once
_RETRY: Final = 0.05  # seconds between two tries to connect
_LOOK: Final = 5.0  # seconds from one look at all followed streams to the next
_SAYS: Final = 15  # seconds for which a node says each time that it reads a stream of another
_AT_ONCE: Final = 64  # streams that are read at once
_AHEAD: Final = 256 * 1024  # bytes of each stream that are read at once
_IN_MEMORY: Final = 4 * 1024 * 1024  # packed bytes of a followed stream kept in memory


class PostgresFollower:
    """`taken` is told of streams that are taken over, `gone` of those that are deleted: by their numbers."""

    def __init__(
        self,
        link: PostgresLink,
        writes: Callable[[Stream], bool],
        taken: Callable[[int], None],
        gone: Callable[[int], None],
    ) -> None:
        """`writes` says whether a stream is written here: its commits show it then."""
        self._link = link
        self._writes = writes
        self._taken = taken
        self._gone = gone
        self._followed: dict[int, Stream] = {}
        self._new: set[int] = set()  # of them, those that nobody has said of yet that they are read here
        self._moved: set[int] = set()
        self._woken = asyncio.Event()
        self._connection: Any = None
        self._lost = asyncio.Event()  # the connection that listens
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Connect. Raises `JournalUnavailableError`."""
        await self._listen()
        self._tasks = [
            asyncio.create_task(self._for_ever(self._follow)),
            asyncio.create_task(self._for_ever(self._look)),
            asyncio.create_task(self._for_ever(self._stay)),
        ]

    async def stop(self) -> None:
        """Follow no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection is not None:
            self._connection.terminate()

    async def _for_ever(self, work: Callable[[], Any]) -> None:
        while True:
            try:
                await work()
            except (JournalUnavailableError, NotStorableError):
                await asyncio.sleep(_RETRY)
            except Exception:  # one failure must not end it for good
                logger.exception("following streams in PostgreSQL failed")
                await asyncio.sleep(_RETRY)

    # Being told

    async def _listen(self) -> None:
        self._connection = connection = await self._link.connect()
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        try:
            await connection.add_listener(CHANNEL, self._notified)
        except UNAVAILABLE as error:
            connection.terminate()
            raise self._link.unavailable(error) from error
        self._lost = lost

    async def _stay(self) -> None:
        """Have a connection that listens, and read again what may have moved while there was none."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._lost.wait(), _LOOK)
        if not self._lost.is_set():
            try:  # a server that is gone without a word sends no notification either
                await self._connection.execute("SELECT 1")
            except UNAVAILABLE:
                self._connection.terminate()
                self._lost.set()
            return
        await self._listen()
        self._moved.update(self._followed)
        self._woken.set()

    def _notified(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        kind, number = str(payload)[:1], str(payload)[1:]
        if not number.isdecimal():
            return
        if kind == "m":
            if int(number) in self._followed:
                self._moved.add(int(number))
                self._woken.set()
        elif kind == "t":
            self._taken(int(number))
        elif kind == "g":
            self._gone(int(number))

    # Following

    def follow(self, stream: Stream) -> None:
        """Follow a stream, from where it is, as long as anybody reads it."""
        if stream.closed or stream.lost is not None or stream.number in self._followed:
            return
        self._followed[stream.number] = stream
        self._new.add(stream.number)
        self._woken.set()

    def leave(self, stream: Stream) -> None:
        """Follow a stream no more."""
        if self._followed.get(stream.number) is stream:
            del self._followed[stream.number]

    async def _follow(self) -> None:
        await self._woken.wait()
        self._woken.clear()
        followed = self._watched()
        new, moved = self._new & followed, (self._moved | self._new) & followed
        # Before the read: what moves while it is under way has to be read again.
        self._new, self._moved = set(), set()
        try:
            if new:
                await self._link.fetch(READ_HERE, sorted(new), _SAYS)
            # Not before: an append that comes now tells us of itself, and one that came before can be seen now.
            more: set[int] = set()
            for some in batched(moved, _AT_ONCE):
                more |= await self._read(
                    [self._followed[number] for number in some if number in self._followed]
                )
        except BaseException:
            self._new |= new
            self._moved |= moved
            self._woken.set()
            raise
        if more:
            self._moved |= more
            self._woken.set()
        await asyncio.sleep(_PACE)

    async def _look(self) -> None:
        """Say that streams are still read here, and see whether they are still there."""
        await asyncio.sleep(_LOOK)
        followed = self._watched()
        if followed:
            await self._link.fetch(READ_HERE, sorted(followed), _SAYS)
            self._moved |= followed
            self._woken.set()

    def _watched(self) -> set[int]:
        for stream in [stream for stream in self._followed.values() if not stream.watched]:
            self.leave(stream)
        self._new &= self._followed.keys()
        self._moved &= self._followed.keys()
        return set(self._followed)

    async def catch_up(self, stream: Stream, row: Any) -> None:
        """Show the readers of a stream what there was behind its tail. Raises `JournalUnavailableError`, what it was lost for."""
        while self._lacks(stream, row):
            before = (stream.tail, stream.closed)
            await self._read([stream])
            if before == (stream.tail, stream.closed) and self._lacks(stream, row):
                raise JournalUnavailableError("PostgreSQL has lost records of this stream")
        if stream.lost is not None:
            raise stream.lost

    def _lacks(self, stream: Stream, row: Any) -> bool:
        if stream.lost is not None or self._writes(stream):
            return False
        return bool(stream.tail < row["tail"] or (row["closed"] and not stream.closed))

    async def _read(self, streams: Iterable[Stream]) -> set[int]:
        """Show what there is behind the tails of streams; return those of which there is more."""
        by_number = {stream.number: stream for stream in streams}
        if not by_number:
            return set()
        # First where they are, then what is there: so nothing is missing before an end.
        states = {row["number"]: row for row in await self._link.fetch(STATES, list(by_number))}
        behind = [number for number, row in states.items() if row["tail"] > by_number[number].tail]
        entries: dict[int, list[Any]] = {number: [] for number in behind}
        if behind:
            tails = [by_number[number].tail for number in behind]
            for row in await self._link.fetch(ENTRIES, behind, tails, _AHEAD):
                entries[row["number"]].append(row)
        more = set()
        for number, stream in by_number.items():
            if self._writes(stream):  # since we asked: its commits show it
                continue
            if self._show_all(stream, states.get(number), entries.get(number, ())):
                more.add(number)
        return more

    def _show_all(self, stream: Stream, state: Any, rows: Iterable[Any]) -> bool:
        if state is None:
            self.leave(stream)
            stream.lose(StreamNotFoundError("the stream is gone"))
            return False
        before = stream.tail
        try:
            show(stream, state, [Entry.of(row) for row in rows])
        except Exception as error:
            logger.exception("stream %s: its data in PostgreSQL cannot be read", stream.info.id)
            failure = JournalUnavailableError("the data of this stream in PostgreSQL cannot be read")
            failure.__cause__ = error
            stream.lose(failure)
        if stream.closed or stream.lost is not None:
            self.leave(stream)
            return False
        return bool(before < stream.tail < state["tail"])


def batched(numbers: Iterable[int], size: int) -> Iterator[list[int]]:
    """Yield numbers in lists of `size`; `itertools` has it from Python 3.12 on."""
    left = list(numbers)
    for at in range(0, len(left), size):
        yield left[at : at + size]


def show(stream: Stream, state: Any, entries: Iterable[Entry]) -> None:
    """Show the readers of a stream what there is behind its tail. `state`: a row of `STATES`, no newer than the entries."""
    later = state["epoch"] - stream.info.epoch
    if later > 0:
        if min(state["begun"][-later:]) < stream.tail:
            # A writer went on before what was shown here: it is not there any more, and something else may take its place.
            stream.lose(
                OffsetInvalidError(
                    "the stream is shorter than before: PostgreSQL has lost records", param="offset"
                )
            )
            return
        stream.fence(state["epoch"])
    for entry in entries:
        fresh = entry.records[max(0, stream.tail - entry.first) :]
        if entry.first > stream.tail:
            raise ValueError("records are missing")
        if fresh and not stream.closed:
            last = state["closed"] and stream.tail + len(fresh) == state["tail"]
            stream.show(fresh, decode_info(state["info"]).result or {} if last else None)
    if state["closed"] and not stream.closed and stream.tail == state["tail"]:
        stream.show((), decode_info(state["info"]).result or {})
    if stream.records.nbytes > _IN_MEMORY:
        stream.forget(PackedRecords())
