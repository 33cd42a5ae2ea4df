"""A journal in Redis, shared by many nodes: any of them may die, and another one finishes the response.

What moved in one turn of the event loop goes out as one command for each stream, and is shown to readers when the server
has acknowledged it. The ids of the entries (see `redis_scripts`) make Redis itself refuse a writer that was taken for
dead, and whatever is sent a second time. What a node has written stays in its memory until the stream ends, so that a
server that has forgotten the last records, or all, is given them again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from everytoken.errors import (
    FencedError,
    JournalUnavailableError,
    NotStorableError,
    QuotaExceededError,
    StreamExistsError,
    StreamFullError,
    StreamNotFoundError,
)
from everytoken.journal import Append, Appended, Producer, StreamInfo
from everytoken.journal.quota import size_of
from everytoken.journal.redis_commands import LONGEST, life_of
from everytoken.journal.redis_connection import pack
from everytoken.journal.redis_entries import Entry, Position, State, decode_mark, fields_of
from everytoken.journal.redis_follower import show
from everytoken.journal.redis_node import PATIENCE, TRIES, RedisNode
from everytoken.journal.rules import Marks, check_producers, is_duplicate, marks_after
from everytoken.journal.stream import Stream, StreamWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.journal.commit import GroupCommit

__all__ = ["RedisJournal"]

logger = logging.getLogger("everytoken.journal")


class RedisJournal(RedisNode):
    """Streams in the Redis at `url`; each is kept for `retention` seconds after its end.

    A node that gives no sign of life for `lease` seconds has lost its streams: another may take them over. What is
    stored is as safe as the server keeps it: with `durability` `power`, one that is set to less is warned of.
    """

    durable = True

    # Streams

    async def create(
        self, info: StreamInfo, records: Sequence[bytes] = (), *, closed: bool = False
    ) -> StreamWriter:
        """Begin a stream. Raises `StreamExistsError`, `JournalUnavailableError`."""
        self._writing.commit.check()
        node = "" if info.shared or closed else self._node
        if closed:
            info.result = info.result or {}
        size = size_of(records)
        if info.shared:
            await self._check_quota(info, size)
        position = Position(info.epoch, len(records), closed)
        life = life_of(info, self._retention if closed else None)
        fields = fields_of(records, info.result, node)
        connection = self._link.connection
        try:
            reply = await self._ask(
                _command(self._commands.create, State(info, Marks(), node), position, life, fields)
            )
        except JournalUnavailableError:
            if connection is not None:
                self._doubtful.add(info.id)
            raise
        if reply != b"OK":
            raise StreamExistsError(f"stream {info.id} exists")
        try:
            await self._replicas.wait_within(connection, PATIENCE)
        except JournalUnavailableError:
            with contextlib.suppress(JournalUnavailableError):
                await self._ask(self._commands.delete(info.id, node))
            raise
        if info.shared:
            await self.quotas.release(info.owner, info.id)  # one of this name may have expired
            await self.quotas.charge(info, size)
        stream = self._stream(info, Position(info.epoch, 0))
        try:
            stream.show(records, info.result)
        except Exception as error:
            self._streams.pop(info.id, None)
            with contextlib.suppress(JournalUnavailableError):
                await self._ask(self._commands.delete(info.id, node))
            raise NotStorableError("what was to be stored cannot be stored") from error
        stream.position = position
        if node:
            self._writing.add(stream)
        return StreamWriter(self, stream)

    async def _check_quota(self, info: StreamInfo, size: int) -> None:
        try:
            await self.quotas.check(info, size, new=True)
        except (QuotaExceededError, StreamFullError) as error:
            if await self._ask(pack("TYPE", self._keys.stream(info.id))) == b"stream":
                raise StreamExistsError(f"stream {info.id} exists") from error
            raise

    async def open(self, stream_id: str, *, touch: bool = True) -> Stream:
        """Return a stream to read. Raises `StreamNotFoundError`, `JournalUnavailableError`."""
        stream = self._streams.get(stream_id)
        if stream is None or stream not in self._writing:
            state, position = await self._look_up(stream_id)
            stream = self._streams.get(stream_id)  # somebody else may have been quicker
            if stream is None or stream.lost is not None or stream.info.created != state.info.created:
                stream = self._stream(state.info, position)
            elif stream not in self._writing and stream.position < position:
                await self._catch_up(stream)
        if touch and stream.info.ttl is not None:
            life = min(stream.info.ttl * 1000, LONGEST)
            keys = (self._keys.stream(stream_id), self._keys.info(stream_id), self._keys.producers(stream_id))
            await self._link.pipeline(*(pack("PEXPIRE", key, life) for key in keys))
        return stream

    async def submit(self, stream_id: str, append: Append) -> Appended:
        """Check an append and store it, unless another one came in between: then check again."""
        lock = self._locks.setdefault(stream_id, asyncio.Lock())
        async with lock:
            for _ in range(TRIES):
                done = await self._try_to_submit(stream_id, append)
                if done is not None:
                    return done
        raise JournalUnavailableError("too many append to this stream at once")

    async def _try_to_submit(self, stream_id: str, append: Append) -> Appended | None:
        state, before = await self._look_up(stream_id)
        # Marks after the entries: they are then of these entries, or newer, and `change` refuses what is not the newest.
        marks, count = await self._marks(state, append.producer)
        duplicate = is_duplicate(marks, append, closed=before.closed)
        after = before
        if not duplicate and (append.records or (append.close and not before.closed)):
            if not state.info.shared:
                raise FencedError(f"stream {stream_id} is written by its own writer")
            if append.producer is not None:
                check_producers(append.producer.id in marks.producers, count)
            size = size_of(append.records)
            await self.quotas.check(state.info, size, new=False)
            state.marks = Marks(marks_after(marks, append).sequence, state.marks.producers)
            if append.close:
                state.info.result = append.result or {}
            after = Position(state.info.epoch, before.tail + len(append.records), append.close)
            fields = fields_of(append.records, state.info.result)
            life = life_of(state.info, self._retention if after.closed else None)
            command = _command(
                self._commands.change, state, before, after, life, fields, producer=append.producer
            )
            connection = self._link.connection
            if await self._ask(command) != b"OK":
                return None  # look again
            await self._replicas.wait_within(connection, PATIENCE)
            await self.quotas.charge(state.info, size)
            stream = self._streams.get(stream_id)
            if stream is not None and stream.position == before:
                show(stream, Entry((after.entry_id, fields)))
        seq = None
        if append.producer is not None:
            seq = marks.producers[append.producer.id][1] if duplicate else append.producer.seq
        return Appended(after.tail, after.closed, duplicate=duplicate, seq=seq)

    async def _marks(self, state: State, producer: Producer | None) -> tuple[Marks, int]:
        """Return what a stream remembers of `producer`, and how many producers it knows."""
        if producer is None:
            return state.marks, 0
        key = self._keys.producers(state.info.id)
        mark, count = await self._link.ask(pack("HGET", key, producer.id), pack("HLEN", key))
        earlier = state.marks.producers
        known = {producer.id: decode_mark(mark)} if mark else {}
        return Marks(state.marks.sequence, {**earlier, **known}), count + len(earlier)

    async def is_read_elsewhere(self, stream_id: str) -> bool:
        """Whether a stream has readers on other nodes. Raises `JournalUnavailableError`."""
        return bool(await self._ask(pack("EXISTS", self._keys.read(stream_id))))

    async def delete(self, stream_id: str) -> None:
        """Forget a stream. Raises `StreamNotFoundError`, `JournalUnavailableError`."""
        state, _ = await self._look_up(stream_id)
        reply = await self._ask(self._commands.delete(stream_id, state.node))
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._follower.leave(stream)
            self._writing.lose(stream, StreamNotFoundError("the stream is gone"))
        if reply != b"OK":
            raise self.missing(stream_id)
        if state.info.shared:
            await self.quotas.release(state.info.owner, stream_id)

    async def probe(self) -> None:
        """Have something stored. Raises `JournalUnavailableError`."""
        await self.commits.probe()

    @property
    def commits(self) -> GroupCommit:
        """The group commit, for the watchdog."""
        return self._writing.commit


def _command(make: Callable[..., bytes], *arguments: object, **more: object) -> bytes:
    """Return a command. Raises `NotStorableError` for what it cannot hold."""
    try:
        return make(*arguments, **more)
    except Exception as error:
        raise NotStorableError("what was to be stored cannot be stored") from error
