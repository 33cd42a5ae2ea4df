"""The streams that this node writes to Redis: their group commit, and what happens when something goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.errors import (
    EverytokenError,
    FencedError,
    JournalUnavailableError,
    NotStorableError,
    StreamNotFoundError,
)
from everytoken.journal.commit import GroupCommit
from everytoken.journal.redis_commands import Commands, life_of
from everytoken.journal.redis_connection import ReplyError, pack
from everytoken.journal.redis_entries import Position, State, encode, fields_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from everytoken.journal.redis_entries import Keys
    from everytoken.journal.redis_link import RedisLink
    from everytoken.journal.redis_replicas import Pipeline, Replicas
    from everytoken.journal.stream import Stream

__all__ = ["RedisWriting"]

logger = logging.getLogger("everytoken.journal")

_IN_MEMORY = (
    4 * 1024 * 1024
)  # packed bytes of an open stream that are kept, to be given again; its oldest records go
_PROBE = 10_000  # milliseconds that what a probe writes stays
_MISPLACED = (
    "ERR The ID specified",
    "WRONGTYPE",
)  # replies that say something about one stream, not about the server


class RedisWriting:
    """`fenced` is called for a stream that another node has taken over."""

    def __init__(
        self,
        link: RedisLink,
        keys: Keys,
        node: str,
        retention: int,
        fenced: Callable[[Stream], None],
        replicas: Replicas,
    ) -> None:
        """`retention`: milliseconds that an ended stream is kept; `replicas`: those that must have what is shown."""
        self._link = link
        self._keys = keys
        self._commands = Commands(keys)
        self._node = node
        self._retention = retention
        self._fenced = fenced
        self._replicas = replicas
        self._ours: dict[Stream, _Ours] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.commit = GroupCommit(self._store, self._stored)

    def __contains__(self, stream: object) -> bool:
        return stream in self._ours

    def add(self, stream: Stream) -> None:
        """Write this stream from here on."""
        self._ours[stream] = _Ours(self._keys.stream(stream.info.id))

    async def stop(self) -> None:
        """Store what is on its way."""
        await self.commit.finish()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Group commit

    def _store(self, streams: Sequence[Stream]) -> bool:
        connection = self._link.connection
        if connection is None:
            raise JournalUnavailableError("Redis cannot be reached")
        commands: list[bytes] = []
        sent: list[tuple[Stream, bytes]] = []
        for stream in streams:
            ours = self._ours.get(stream)
            if ours is None:
                _drop(stream)
            elif stream.storing_result is not None:
                commands.append(self._end(stream))
                sent.append((stream, b"OK"))
            elif stream.storing:
                entry_id, command = ours.append(stream)
                commands.append(command)
                sent.append((stream, entry_id))
        if self.commit.storing_probes:
            commands.append(pack("SET", self._keys.probe(self._node), "1", "PX", _PROBE))
        if not commands:
            return True
        if self._replicas.count:
            commands.append(self._replicas.command)
        connection.send(b"".join(commands), len(commands), lambda replies: self._on_replies(sent, replies))
        return False

    def _on_replies(self, sent: list[tuple[Stream, bytes]], replies: list[Any] | None) -> None:
        try:
            self._acknowledged(sent, replies)
        except Exception as error:  # whatever it is, the next commit must come
            logger.exception("unexpected reply from Redis")
            self.commit.failed(JournalUnavailableError(f"Redis: {error}"))

    def _end(self, stream: Stream) -> bytes:
        info = msgspec.structs.replace(stream.info, result=stream.storing_result)
        state = State(info, stream.marks, self._node)
        after = Position(info.epoch, stream.tail + len(stream.storing), closed=True)
        fields = fields_of(stream.storing, stream.storing_result)
        return self._commands.change(state, _position(stream), after, life_of(info, self._retention), fields)

    def _acknowledged(self, sent: list[tuple[Stream, bytes]], replies: list[Any] | None) -> None:
        if replies is None:
            self.commit.failed(JournalUnavailableError("the connection to Redis was lost"))
            return
        troubled: list[Stream] = []
        missing = self._replicas.count and not self._replicas.are_enough(replies.pop())
        for reply in replies[len(sent) :]:  # a probe's
            if isinstance(reply, ReplyError):
                self.commit.failed(JournalUnavailableError(f"Redis: {reply}"))
                return
        for (stream, due), reply in zip(sent, replies, strict=False):
            if reply == due:
                continue
            if isinstance(reply, ReplyError) and not str(reply).startswith(_MISPLACED):
                self.commit.failed(JournalUnavailableError(f"Redis: {reply}"))
                return
            troubled.append(stream)
        if troubled or missing:
            self._in_background(self._resolve(troubled))
        else:
            self.commit.done()

    def _stored(self, streams: Sequence[Stream]) -> None:
        for stream in streams:
            if stream.records.nbytes > _IN_MEMORY:
                stream.trim()
            if stream.closed and self._ours.pop(stream, None) is not None:
                stream.position = _position(stream)
                if stream.base == 0 and stream.tail > 1:
                    self._in_background(self._seal(stream))

    async def _seal(self, stream: Stream) -> None:
        """Have the entries of an ended stream become one, packed: a tenth of the memory in Redis."""
        fields = (b"p", stream.records.dump(stream.tail), b"c", encode(stream.info.result))
        with contextlib.suppress(JournalUnavailableError):  # it does as it is, too
            await self._link.pipeline(self._commands.seal(stream.info.id, stream.position, fields))

    # When something goes wrong

    async def reconcile(self, connection: Pipeline) -> None:
        """Bring the server and our streams together again, on a new connection; until it is in use nothing is added."""
        self.commit.hold()
        ours = list(self._ours)
        try:
            for stream in ours:
                stream.begin()
            await self._compare_all(connection, ours)
            await self._replicas.wait(connection)
        except Exception:  # also of another kind: the link tries again, and what is begun twice would be lost
            for stream in ours:
                stream.put_back()
            self.commit.release()
            raise
        for stream in ours:
            try:
                stream.commit()
            except Exception as error:  # noqa: BLE001  # the others' turn is not over
                stream.cannot_show(error)
            if stream.waits:
                self.commit.add(stream)
        asyncio.get_running_loop().call_soon(self.commit.release)

    async def _resolve(self, streams: list[Stream]) -> None:
        """Find out why Redis refused entries: sent a second time, written by another, gone, or records are missing."""
        try:
            await self._compare_all(self._link, streams)
            await self._replicas.wait(self._link)
        except JournalUnavailableError as error:
            self.commit.failed(error)
            return
        except Exception as error:  # whatever it is, the next commit must come
            logger.exception("the journal could not compare its streams with Redis")
            self.commit.failed(JournalUnavailableError(f"Redis: {error}"))
            return
        self.commit.done()
        for stream in streams:
            if stream.waits:
                self.commit.add(stream)

    async def _compare_all(self, connection: Pipeline, streams: Sequence[Stream]) -> None:
        if streams:
            replies = await connection.pipeline(
                *(self._commands.last_entry(stream.info.id) for stream in streams)
            )
            for stream, reply in zip(streams, replies, strict=True):
                try:
                    await self._compare(connection, stream, reply)
                except JournalUnavailableError:
                    raise
                except Exception as error:
                    logger.exception("stream %s cannot be compared with what Redis has of it", stream.info.id)
                    failure = NotStorableError("what was to be stored cannot be stored")
                    failure.__cause__ = error
                    self.lose(stream, failure)

    async def _compare(self, connection: Pipeline, stream: Stream, reply: Any) -> None:
        """Bring a stream and the server's idea of its end together: `storing` is then what the server has of it."""
        if stream not in self._ours:
            return  # that has become known meanwhile
        if isinstance(reply, ReplyError):
            if not str(reply).startswith("WRONGTYPE"):
                raise JournalUnavailableError(f"Redis: {reply}")
            self.lose(stream, StreamNotFoundError("the stream is gone"))
            return
        there = Position.parse(reply[0][0]) if reply else None
        here = _position(stream)
        if there is not None and there.epoch > here.epoch:
            self.fence(stream, there.epoch)
        elif there is None or there < here:
            await self._give_again(connection, stream, there)
            stream.keep(0, closed=False)
        elif there.tail - here.tail > len(stream.storing) or (there.closed and stream.storing_result is None):
            self.lose(stream, JournalUnavailableError("Redis holds records that this node has not written"))
        else:
            stream.keep(there.tail - here.tail, closed=there.closed)

    async def _give_again(self, connection: Pipeline, stream: Stream, there: Position | None) -> None:
        """Store again what the server had acknowledged, and has lost."""
        tail = 0 if there is None else there.tail
        logger.error("stream %s: Redis has lost its records from offset %d on", stream.info.id, tail)
        if not stream.base <= tail <= stream.tail:
            self.lose(stream, JournalUnavailableError("Redis has lost records of this stream"))
            return
        fields = fields_of(stream.records[tail - stream.base : stream.tail - stream.base], None, self._node)
        state = State(stream.info, stream.marks, self._node)
        life = life_of(stream.info, None)
        if there is None:
            command = self._commands.create(state, _position(stream), life, fields)
        else:
            command = self._commands.change(state, there, _position(stream), life, fields)
        (reply,) = await connection.pipeline(command)
        if reply != b"OK":
            raise JournalUnavailableError(f"Redis: {reply!r}")

    def look_at(self, stream: Stream) -> None:
        """See whether another node has taken a stream over."""
        if stream in self._ours:
            self._in_background(self._look_at(stream))

    async def _look_at(self, stream: Stream) -> None:
        with contextlib.suppress(JournalUnavailableError):  # its next append will tell
            (reply,) = await self._link.pipeline(self._commands.last_entry(stream.info.id))
            if stream in self._ours and reply and not isinstance(reply, ReplyError):
                epoch = Position.parse(reply[0][0]).epoch
                if epoch > stream.info.epoch:
                    self.fence(stream, epoch)

    def fence(self, stream: Stream, epoch: int) -> None:
        """Write a stream no more: another node does, at this epoch."""
        stream.position = _position(stream)
        _drop(stream)
        stream.fence(epoch)
        self._ours.pop(stream, None)  # not before: if that failed, the next append finds out again
        self._fenced(stream)

    def lose(self, stream: Stream, error: EverytokenError) -> None:
        """Have nobody read or write a stream any more."""
        self._ours.pop(stream, None)
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


class _Ours:
    """What is needed to append to a stream quickly."""

    __slots__ = ("_head", "_key")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._head = b"*6\r\n$4\r\nXADD\r\n$%d\r\n%b\r\n$10\r\nNOMKSTREAM\r\n$" % (len(key), key)

    def append(self, stream: Stream) -> tuple[bytes, bytes]:
        """Return the entry's id and the command that adds what the stream is storing."""
        records = stream.storing
        entry_id = b"%d-%d" % (stream.info.epoch + 1, 2 * (stream.tail + len(records)))
        if len(records) == 1:
            record = records[0]
            # By hand: this is done for every chunk.
            return entry_id, b"%b%d\r\n%b\r\n$1\r\nr\r\n$%d\r\n%b\r\n" % (
                self._head,
                len(entry_id),
                entry_id,
                len(record),
                record,
            )
        return entry_id, pack("XADD", self._key, "NOMKSTREAM", entry_id, *fields_of(records))


def _drop(stream: Stream) -> None:
    """Have what waits to be stored stored by nobody, and tell those who wait for it."""
    stream.drop_pending()
    stream.give_up(FencedError(f"stream {stream.info.id} has another writer now"))


def _position(stream: Stream) -> Position:
    """Return where a stream that is written here is."""
    return Position(stream.info.epoch, stream.tail, stream.closed)
