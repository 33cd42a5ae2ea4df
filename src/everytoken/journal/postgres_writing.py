"""The streams that this node writes to PostgreSQL: their group commit, and what happens when something goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.errors import (
    EverytokenError,
    FencedError,
    JournalUnavailableError,
    NotStorableError,
    StreamNotFoundError,
)
from everytoken.journal.commit import GroupCommit
from everytoken.journal.postgres_entries import encode, kept_for, packed
from everytoken.journal.postgres_link import NOT_STORABLE, UNAVAILABLE
from everytoken.journal.postgres_schema import APPEND, STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from everytoken.journal.postgres_link import PostgresLink
    from everytoken.journal.stream import Stream

__all__ = ["PostgresWriting"]

logger = logging.getLogger("everytoken.journal")

# Packed bytes of an open stream that are kept, to be given again to a server that has lost them; its oldest records go.
_IN_MEMORY: Final = 4 * 1024 * 1024
_SEALED: Final = 1024  # records of an ended stream that become one entry


class PostgresWriting:
    """`fenced` is called for a stream that another node has taken over."""

    def __init__(
        self,
        link: PostgresLink,
        node: str,
        retention: float,
        fenced: Callable[[Stream], None],
        *,
        durable: bool,
    ) -> None:
        """`retention`: seconds that an ended stream is kept; `durable`: a crash of the server must lose nothing."""
        self._link = link
        self._node = node
        self._retention = retention
        self._fenced = fenced
        self._durable = durable
        self._ours: dict[int, Stream] = {}  # by number
        self._connection: Any = None
        self._doubtful = False  # whether the server may have stored what it has not acknowledged
        self._tasks: set[asyncio.Task[None]] = set()
        self.commit = GroupCommit(self._store, self._stored)

    def __contains__(self, stream: Stream | None) -> bool:
        return stream is not None and self._ours.get(stream.number) is stream

    def add(self, stream: Stream) -> None:
        """Write this stream from here on."""
        self._ours[stream.number] = stream

    async def start(self) -> None:
        """Connect. Raises `JournalUnavailableError`."""
        self._connection = await self._link.connect(durable=self._durable)

    async def stop(self) -> None:
        """Store what is on its way."""
        await self.commit.finish()
        await self.stopped()

    async def stopped(self) -> None:
        """Let go of the connection, when nothing is under way any more."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._let_go()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    # Group commit

    def _store(self, streams: Sequence[Stream]) -> bool:
        sent, entries = [], []
        for stream in streams:
            if stream not in self:
                _drop(stream)
            elif stream.storing or stream.storing_result is not None:
                sent.append(stream)
                entries.append(self._entry(stream))
        if not sent and not self.commit.storing_probes:
            return True
        self._in_background(self._write(sent, entries))
        return False

    async def _write(self, streams: list[Stream], entries: list[tuple[Any, ...]]) -> None:
        compared: Iterable[Stream] = ()
        try:
            connection = self._connection
            if connection is None or connection.is_closed():
                connection = self._connection = await self._link.connect(durable=self._durable)
            if self._doubtful:
                compared = list(self._ours.values())
                await self._compare(connection, compared)
                self._doubtful = False
            elif streams:
                moved = await _append(connection, entries)
                compared = [stream for stream in streams if stream.number not in moved]
                if compared:
                    await self._compare(connection, compared)
            if self.commit.storing_probes:
                await connection.execute(
                    "UPDATE everytoken.nodes SET until = until WHERE node = $1", self._node
                )
        except NOT_STORABLE as error:
            self.commit.refused(error)
        except JournalUnavailableError as error:
            self._doubtful = True
            self.commit.failed(error)
        except UNAVAILABLE as error:
            self._doubtful = True
            self._let_go()
            self.commit.failed(self._link.unavailable(error))
        except Exception as error:  # whatever it is, the next commit must come
            logger.exception("the journal could not store")
            self._let_go()
            # Once, it belongs to the connection; if it comes again, to one of the streams.
            if self._doubtful:
                self.commit.refused(error)
            else:
                self.commit.failed(self._link.unavailable(error))
            self._doubtful = True
        else:
            self.commit.done()
            for stream in compared:
                if stream.waits:
                    self.commit.add(stream)

    def _entry(self, stream: Stream) -> tuple[Any, ...]:
        records, result = stream.storing, stream.storing_result
        tail = stream.tail
        packing, data = packed(records) if records else (0, b"")
        where = (stream.number, stream.info.epoch, tail, tail + len(records), packing, data)
        if result is None:
            return (*where, None, None)
        info = msgspec.structs.replace(stream.info, result=result)
        return (*where, encode(info), kept_for(info, self._retention))

    def _stored(self, streams: Sequence[Stream]) -> None:
        for stream in streams:
            if stream.records.nbytes > _IN_MEMORY:
                stream.trim()
            ended = stream.closed and self._ours.pop(stream.number, None) is not None
            if ended and stream.base == 0 and stream.tail > 1:
                self._in_background(self._seal(stream))

    async def _seal(self, stream: Stream) -> None:
        """Have the entries of an ended stream become few, packed: a tenth of the room."""
        number, tail = stream.number, stream.tail
        with contextlib.suppress(JournalUnavailableError):  # it does as it is, too
            async with self._link.transaction() as connection:
                found = await connection.fetchval(
                    "SELECT 1 FROM everytoken.streams WHERE number = $1 FOR UPDATE", number
                )
                if found is None:
                    return
                await connection.execute("DELETE FROM everytoken.entries WHERE stream = $1", number)
                for first in range(0, tail, _SEALED):
                    records = stream.records[first : first + _SEALED]
                    await connection.execute(
                        "INSERT INTO everytoken.entries VALUES ($1, $2, $3, $4, $5)",
                        *(number, first, len(records), *packed(records)),
                    )

    # When something goes wrong

    async def _compare(self, connection: Any, streams: Sequence[Stream]) -> None:
        """Bring streams and the server's idea of their ends together: `storing` is then what the server has of it."""
        if not streams:
            return
        rows = await connection.fetch(STATES, [stream.number for stream in streams])
        there = {row["number"]: row for row in rows}
        for stream in streams:
            if stream not in self:
                continue  # that has become known meanwhile
            try:
                await self._compare_one(connection, stream, there.get(stream.number))
            except (*UNAVAILABLE, JournalUnavailableError):
                raise
            except Exception as error:
                logger.exception(
                    "stream %s cannot be compared with what PostgreSQL has of it", stream.info.id
                )
                failure = NotStorableError("what was to be stored cannot be stored")
                failure.__cause__ = error
                self.lose(stream, failure)

    async def _compare_one(self, connection: Any, stream: Stream, row: Any) -> None:
        if row is None:
            self.lose(stream, StreamNotFoundError("the stream is gone"))
        elif row["epoch"] > stream.info.epoch:
            self.fence(stream, row["epoch"])
        elif row["tail"] < stream.tail:
            await self._give_again(connection, stream, row["tail"])
            stream.keep(0, closed=False)
        elif row["tail"] - stream.tail > len(stream.storing) or (
            row["closed"] and stream.storing_result is None
        ):
            self.lose(
                stream, JournalUnavailableError("PostgreSQL holds records that this node has not written")
            )
        else:
            stream.keep(row["tail"] - stream.tail, closed=row["closed"])

    async def _give_again(self, connection: Any, stream: Stream, tail: int) -> None:
        """Store again what the server had acknowledged, and has lost."""
        logger.error("stream %s: PostgreSQL has lost its records from offset %d on", stream.info.id, tail)
        if stream.base > tail:
            self.lose(stream, JournalUnavailableError("PostgreSQL has lost records of this stream"))
            return
        records = stream.records[tail - stream.base : stream.tail - stream.base]
        entry = (stream.number, stream.info.epoch, tail, stream.tail, *packed(records), None, None)
        if not await _append(connection, [entry]):
            raise JournalUnavailableError("PostgreSQL does not take the records that it has lost")

    def look_at(self, number: int) -> None:
        """See whether another node has taken a stream over."""
        stream = self._ours.get(number)
        if stream is not None:
            self._in_background(self._look_at(stream))

    async def _look_at(self, stream: Stream) -> None:
        with contextlib.suppress(JournalUnavailableError, NotStorableError):  # its next append will tell
            rows = await self._link.fetch(
                "SELECT epoch FROM everytoken.streams WHERE number = $1", stream.number
            )
            if stream in self and rows and rows[0][0] > stream.info.epoch:
                self.fence(stream, rows[0][0])

    def fence(self, stream: Stream, epoch: int) -> None:
        """Write a stream no more: another node does, at this epoch."""
        _drop(stream)
        stream.fence(epoch)
        self._ours.pop(stream.number, None)  # not before: if that failed, the next append finds out again
        self._fenced(stream)

    def lose(self, stream: Stream, error: EverytokenError) -> None:
        """Have nobody read or write a stream any more."""
        if stream in self:
            del self._ours[stream.number]
        stream.drop_pending()
        stream.lose(error)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("the journal failed in the background", exc_info=error)


async def _append(connection: Any, entries: list[tuple[Any, ...]]) -> set[int]:
    """Return the numbers of the streams that have moved."""
    # In the order of their numbers: so no two statements ever wait for each other's rows.
    entries.sort()
    rows = await connection.fetch(APPEND, *map(list, zip(*entries, strict=True)))
    return {row[0] for row in rows}


def _drop(stream: Stream) -> None:
    """Have what waits to be stored stored by nobody, and tell those who wait for it."""
    stream.drop_pending()
    stream.give_up(FencedError(f"stream {stream.info.id} has another writer now"))
