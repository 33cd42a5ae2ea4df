"""Follows streams that other nodes write: one blocking read for all of them that anybody here reads."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from everytoken.errors import JournalUnavailableError, OffsetInvalidError, StreamNotFoundError
from everytoken.journal.packed import PackedRecords
from everytoken.journal.redis_connection import RedisConnection, ReplyError, pack
from everytoken.journal.redis_entries import Entry, Keys
from everytoken.journal.redis_link import RedisLink

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.journal.redis_places import Place
    from everytoken.journal.stream import Stream

__all__ = ["RedisFollower", "show"]

logger = logging.getLogger("everytoken.journal")

_BLOCK = 1000  # milliseconds a read waits at most; a stream that joins in between wakes it
_PACE = 0.002  # seconds between two reads that bring something: while much moves, they bring more at once
_COUNT = 16  # entries of one stream read at once: each can be a megabyte, and the next read follows soon
_IN_MEMORY = 4 * 1024 * 1024  # packed bytes of a followed stream kept in memory
_READING = 5.0  # seconds from one look at the followed streams to the next
_SAYS = 15  # seconds for which a node says each time that it reads a stream of another


class RedisFollower:
    """`taken` is told of every takeover: the stream's id."""

    def __init__(
        self,
        place: Place,
        link: RedisLink,
        keys: Keys,
        patience: float,
        taken: Callable[[str], None],
    ) -> None:
        """`link` is for what must not wait behind a blocking read."""
        self._link = link
        self._keys = keys
        self._own = RedisLink(place, self._greet, patience + _BLOCK / 1000)
        self._taken = taken
        self._client_id = 0
        self._last_taken = b"$"
        self._followed: dict[Stream, None] = {}
        self._missing: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Connect. Raises `JournalUnavailableError`."""
        await self._own.start()
        self._tasks = [asyncio.create_task(self._read_for_ever()), asyncio.create_task(self._look_for_ever())]

    async def stop(self) -> None:
        """Follow no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._own.stop()

    async def _greet(self, connection: RedisConnection) -> None:
        try:
            self._client_id = await connection.call("CLIENT", "ID")
            if self._last_taken == b"$":
                newest = await connection.call("XREVRANGE", self._keys.taken, "+", "-", "COUNT", 1)
                self._last_taken = newest[0][0] if newest else b"0-0"
        except ReplyError as error:
            raise JournalUnavailableError(f"Redis: {error}") from error

    def follow(self, stream: Stream) -> None:
        """Follow a stream, from where it is, as long as anybody reads it."""
        if stream.closed or stream.lost is not None or stream in self._followed:
            return
        self._followed[stream] = None
        if self._link.connection is not None:
            commands = (
                pack("SET", self._keys.read(stream.info.id), "1", "EX", _SAYS),
                pack("CLIENT", "UNBLOCK", self._client_id),
            )
            self._link.connection.send(b"".join(commands), 2, lambda _: None)

    def leave(self, stream: Stream) -> None:
        """Follow a stream no more."""
        self._followed.pop(stream, None)

    # Reading

    async def _read_for_ever(self) -> None:
        while True:
            connection = self._own.connection
            if connection is None:
                await asyncio.sleep(0.05)
                continue
            try:
                moved = await self._read(connection)
            except JournalUnavailableError:
                continue  # the link says so itself, and comes back
            except ReplyError as error:
                logger.debug("following streams: %s", error)
                await self._try_to_look()
                moved = True
            except Exception:  # one failure must not end it for good
                logger.exception("following streams in Redis failed")
                moved = True
            if moved:
                await asyncio.sleep(_PACE)

    async def _read(self, connection: RedisConnection) -> bool:
        for stream in [stream for stream in self._followed if not stream.watched]:
            del self._followed[stream]
        followed = list(self._followed)
        reply = await connection.call(
            *("XREAD", "COUNT", _COUNT, "BLOCK", _BLOCK, "STREAMS", self._keys.taken),
            *(self._keys.stream(stream.info.id) for stream in followed),
            self._last_taken,
            *(stream.position.entry_id for stream in followed),
        )
        for key, entries in reply or ():
            if key == self._keys.taken:
                self._take_note(entries)
                continue
            for stream in followed:
                if self._keys.stream(stream.info.id) == key:
                    self._show_all(stream, entries)
        return bool(reply)

    def _show_all(self, stream: Stream, entries: list[Any]) -> None:
        try:
            self._show(stream, [Entry(raw) for raw in entries])
        except Exception as error:
            logger.exception("stream %s: its data in Redis cannot be read", stream.info.id)
            self.leave(stream)
            failure = JournalUnavailableError("the data of this stream in Redis cannot be read")
            failure.__cause__ = error
            stream.lose(failure)

    def _show(self, stream: Stream, entries: list[Entry]) -> None:
        for entry in entries:
            if stream in self._followed:  # meanwhile it may have been taken over by this node, or deleted
                show(stream, entry)
        if stream.closed or stream.lost is not None:
            self.leave(stream)

    def _take_note(self, entries: list[Any]) -> None:
        for entry_id, fields in entries:
            self._last_taken = entry_id
            self._taken(fields[1].decode())

    # Looking after them

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_READING)
            await self._try_to_look()

    async def _try_to_look(self) -> None:
        try:
            await self._look()
        except JournalUnavailableError:
            pass
        except Exception:  # one failure must not end the loops for good
            logger.exception("checking the followed streams failed")

    async def _look(self) -> None:
        """See whether streams are still there, and say that they are read here."""
        followed = list(self._followed)
        if not followed:
            return
        marks = [pack("SET", self._keys.read(stream.info.id), "1", "EX", _SAYS) for stream in followed]
        types = [pack("TYPE", self._keys.stream(stream.info.id)) for stream in followed]
        replies = await self._link.pipeline(*marks, *types)
        missing = set()
        for number, stream in enumerate(followed):
            kind = replies[len(followed) + number]
            if kind == b"none":
                missing.add(stream.info.id)  # its writer may be about to store it again
            if kind == b"string" or (kind == b"none" and stream.info.id in self._missing):
                self.leave(stream)
                stream.lose(StreamNotFoundError("the stream is gone"))
        self._missing = missing


def show(stream: Stream, entry: Entry) -> None:
    """Show the readers of a stream what an entry adds to it; nothing if it is known already."""
    position, before = entry.position, stream.position
    if position <= before:
        return
    went_back = position.tail < stream.tail or (
        position.epoch > before.epoch and not entry.packed and entry.first < stream.tail
    )
    if went_back or entry.first > stream.tail:
        # After a failover of Redis: what was shown here is not there any more, and something else may take its place.
        stream.lose(
            OffsetInvalidError("the stream is shorter than before: Redis has lost records", param="offset")
        )
        return
    stream.position = position
    if position.epoch > stream.info.epoch:
        stream.fence(position.epoch)
    stream.show(entry.records[stream.tail - entry.first :], entry.result)
    if stream.records.nbytes > _IN_MEMORY:
        stream.forget(PackedRecords())
