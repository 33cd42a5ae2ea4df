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
import secrets
import time
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import msgspec

from everytoken.errors import (
    FencedError,
    JournalUnavailableError,
    NotStorableError,
    QuotaExceededError,
    StreamClosedError,
    StreamExistsError,
    StreamFullError,
    StreamNotFoundError,
)
from everytoken.journal import Append, Appended, Producer, StreamInfo
from everytoken.journal.ids import missing
from everytoken.journal.quota import Quota, size_of
from everytoken.journal.redis_commands import LONGEST, change, create, delete, last_entry, life_of
from everytoken.journal.redis_connection import Address, RedisConnection, ReplyError, pack
from everytoken.journal.redis_entries import (
    ALIVE,
    NODES,
    TAKEN,
    Entry,
    Position,
    State,
    decode_mark,
    decode_state,
    fields_of,
    info_key,
    open_key,
    producers_key,
    read_key,
    stream_key,
)
from everytoken.journal.redis_follower import RedisFollower, show
from everytoken.journal.redis_link import RedisLink
from everytoken.journal.redis_quota import RedisQuota
from everytoken.journal.redis_reading import RedisReading
from everytoken.journal.redis_settings import look_at_server
from everytoken.journal.redis_writing import RedisWriting
from everytoken.journal.rules import Marks, check_producers, is_duplicate, marks_after
from everytoken.journal.stream import Stream, StreamWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.journal.commit import GroupCommit

__all__ = ["RedisJournal"]

logger = logging.getLogger("everytoken.journal")

_PATIENCE = 3.0  # seconds without a reply after which a connection counts as dead
_TRIES = 20  # times to submit or claim when others do so at the same moment


class RedisJournal:
    """Streams in the Redis at `url`; each is kept for `retention` seconds after its end.

    A node that gives no sign of life for `lease` seconds has lost its streams: another may take them over. What is
    stored is as safe as the server keeps it: with `durability` `power`, one that is set to less is warned of.
    """

    durable = True

    def __init__(
        self,
        url: str,
        *,
        retention: float = 86_400.0,
        lease: float = 10.0,
        durability: str = "process",
        quota: Quota | None = None,
    ) -> None:
        """Raises `ConfigurationError` for a URL that is none."""
        self._durability = durability
        self._address = Address.parse(url)
        self._retention = int(retention * 1000)
        self._lease = lease
        self._node = secrets.token_hex(8)
        self._link = RedisLink(self._address, self._greet, _PATIENCE)
        self._follower = RedisFollower(self._address, self._link, _PATIENCE, self._taken)
        self._quota = RedisQuota(self._link, quota or Quota())
        self._reading = RedisReading(self._link, self.missing, lease)
        self._writing = RedisWriting(self._link, self._node, self._retention, self._follow)
        self._streams: WeakValueDictionary[str, Stream] = WeakValueDictionary()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._doubtful: set[str] = set()  # streams that may have been made, without our knowing
        self._quiet_until: float | None = None
        self._beating: asyncio.Task[None] | None = None

    # Life

    async def start(self) -> None:
        """Connect. Raises `JournalUnavailableError`, `ConfigurationError`."""
        await self._link.start()
        try:
            await look_at_server(self._link, self._address, self._durability)
            await self._follower.start()
        except BaseException:
            await self._link.stop()
            raise
        self._beating = asyncio.create_task(self._beat_for_ever())

    async def stop(self) -> None:
        """Store what is on its way, and leave one's streams to the others."""
        await self._writing.stop()
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        with contextlib.suppress(JournalUnavailableError):
            await self._ask(pack("DEL", ALIVE % self._node.encode()))
        await self._follower.stop()
        await self._link.stop()

    async def _greet(self, connection: RedisConnection) -> None:
        """Bring the server and our own streams together again, before anything is added."""
        loop = asyncio.get_running_loop()
        # While the server was away no node could give a sign of life: that does not make them dead.
        self._quiet_until = 0.0 if self._quiet_until is None else loop.time() + self._lease
        await connection.pipeline(*self._beat())
        for stream_id in list(self._doubtful):
            await connection.pipeline(delete(stream_id, self._node))
            self._doubtful.discard(stream_id)
        await self._writing.reconcile(connection)

    def _beat(self) -> tuple[bytes, bytes]:
        node = self._node.encode()
        return pack("SET", ALIVE % node, "1", "PX", int(self._lease * 1000)), pack("SADD", NODES, node)

    async def _beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await self._link.pipeline(*self._beat())
            except JournalUnavailableError:
                pass
            except Exception:  # one failure must not end it for good
                logger.exception("the journal could not give a sign of life")

    async def _ask(self, command: bytes) -> Any:
        (reply,) = await self._link.ask(command)
        return reply

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
        connected = self._link.connection is not None
        try:
            reply = await self._ask(_command(create, State(info, Marks(), node), position, life, fields))
        except JournalUnavailableError:
            if connected:
                self._doubtful.add(info.id)
            raise
        if reply != b"OK":
            raise StreamExistsError(f"stream {info.id} exists")
        if info.shared:
            await self._quota.release(info.owner, info.id)  # one of this name may have expired
            await self._quota.charge(info, size)
        stream = self._stream(info, Position(info.epoch, 0))
        try:
            stream.show(records, info.result)
        except Exception as error:
            self._streams.pop(info.id, None)
            with contextlib.suppress(JournalUnavailableError):
                await self._ask(delete(info.id, node))
            raise NotStorableError("what was to be stored cannot be stored") from error
        stream.position = position
        if node:
            self._writing.add(stream)
        return StreamWriter(self, stream)

    async def _check_quota(self, info: StreamInfo, size: int) -> None:
        try:
            await self._quota.check(info, size, new=True)
        except (QuotaExceededError, StreamFullError) as error:
            if await self._ask(pack("TYPE", stream_key(info.id))) == b"stream":
                raise StreamExistsError(f"stream {info.id} exists") from error
            raise

    def _stream(self, info: StreamInfo, position: Position) -> Stream:
        stream = Stream(info, self._reading.fetch, tail=position.tail, watch=self._follow)
        stream.created = True
        stream.position = position
        stream.closed = stream.closing = position.closed
        self._streams[info.id] = stream
        return stream

    async def _look_up(self, stream_id: str) -> tuple[State, Position]:
        found, last = await self._link.pipeline(pack("GET", info_key(stream_id)), last_entry(stream_id))
        if isinstance(last, ReplyError) and not str(last).startswith("WRONGTYPE"):
            raise JournalUnavailableError(f"Redis: {last}")
        if not found or not last or isinstance(last, ReplyError):
            raise self.missing(stream_id)
        try:
            return decode_state(found), Position.parse(last[0][0])
        except (msgspec.MsgspecError, ValueError) as error:
            raise JournalUnavailableError(f"stream {stream_id} is damaged: {error}") from error

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
            keys = (stream_key(stream_id), info_key(stream_id), producers_key(stream_id))
            await self._link.pipeline(*(pack("PEXPIRE", key, life) for key in keys))
        return stream

    async def submit(self, stream_id: str, append: Append) -> Appended:
        """Check an append and store it, unless another one came in between: then check again."""
        lock = self._locks.setdefault(stream_id, asyncio.Lock())
        async with lock:
            for _ in range(_TRIES):
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
            await self._quota.check(state.info, size, new=False)
            state.marks = Marks(marks_after(marks, append).sequence, state.marks.producers)
            if append.close:
                state.info.result = append.result or {}
            after = Position(state.info.epoch, before.tail + len(append.records), append.close)
            fields = fields_of(append.records, state.info.result)
            life = life_of(state.info, self._retention if after.closed else None)
            command = _command(change, state, before, after, life, fields, producer=append.producer)
            if await self._ask(command) != b"OK":
                return None  # look again
            await self._quota.charge(state.info, size)
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
        key = producers_key(state.info.id)
        mark, count = await self._link.ask(pack("HGET", key, producer.id), pack("HLEN", key))
        earlier = state.marks.producers
        known = {producer.id: decode_mark(mark)} if mark else {}
        return Marks(state.marks.sequence, {**earlier, **known}), count + len(earlier)

    async def orphans(self) -> list[str]:
        """Return the open streams of nodes that give no sign of life, oldest first."""
        if asyncio.get_running_loop().time() < (self._quiet_until or 0.0):
            return []
        nodes = [node for node in await self._ask(pack("SMEMBERS", NODES)) if node != self._node.encode()]
        alive = await self._link.pipeline(*(pack("EXISTS", ALIVE % node) for node in nodes)) if nodes else []
        found: list[tuple[float, str]] = []
        for node in (node for node, lives in zip(nodes, alive, strict=True) if lives == 0):
            members = await self._ask(pack("ZRANGE", open_key(node.decode()), 0, -1, "WITHSCORES"))
            if not members:
                await self._ask(pack("SREM", NODES, node))
            found += [(float(score), name.decode()) for name, score in zip(*[iter(members)] * 2, strict=True)]
        return [name for _, name in sorted(found)]

    async def is_read_elsewhere(self, stream_id: str) -> bool:
        """Whether a stream has readers on other nodes. Raises `JournalUnavailableError`."""
        return bool(await self._ask(pack("EXISTS", read_key(stream_id))))

    async def delete(self, stream_id: str) -> None:
        """Forget a stream. Raises `StreamNotFoundError`, `JournalUnavailableError`."""
        state, _ = await self._look_up(stream_id)
        reply = await self._ask(delete(stream_id, state.node))
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._follower.leave(stream)
            self._writing.lose(stream, StreamNotFoundError("the stream is gone"))
        if reply != b"OK":
            raise self.missing(stream_id)
        if state.info.shared:
            await self._quota.release(state.info.owner, stream_id)

    def missing(self, stream_id: str) -> StreamNotFoundError:
        """Return what is to be said of a stream that is not there: what is older than `retention` is Redis's to remove."""
        return missing(stream_id, removed=time.time() - self._retention / 1000)

    async def probe(self) -> None:
        """Have something stored. Raises `JournalUnavailableError`."""
        await self.commits.probe()

    @property
    def commits(self) -> GroupCommit:
        """The group commit, for the watchdog."""
        return self._writing.commit

    def moved(self, stream: Stream) -> None:
        """Have a stream stored with the next group commit."""
        self._writing.commit.add(stream)

    # Taking over

    async def claim(self, stream_id: str) -> StreamWriter:
        """Become the writer at the next epoch.

        Raises `StreamNotFoundError`, `StreamClosedError`, `FencedError` if another node was quicker.
        """
        stream = self._streams.get(stream_id)
        if stream is not None and stream.waits:
            stored = stream.wait()
            self.moved(stream)
            with contextlib.suppress(FencedError):  # by one whose turn is over as well, perhaps
                await stored
        seen: int | None = None
        for _ in range(_TRIES):
            state, before = await self._look_up(stream_id)
            if before.closed:
                raise StreamClosedError(f"stream {stream_id} has ended")
            if seen is not None and state.info.epoch != seen:
                raise FencedError(f"stream {stream_id} has another writer now")
            seen = state.info.epoch
            if stream is not None:
                stream.closing = (
                    True  # what its writer here still wanted to append would come behind the takeover
                )
            try:
                taken = await self._take(state, before)
            finally:
                if stream is not None:
                    stream.closing = stream.closed
            if taken:
                return await self._taken_over(state, before)
        raise JournalUnavailableError(f"stream {stream_id} is still being written")

    async def _take(self, state: State, before: Position) -> bool:
        left, state.node = state.node, self._node
        state.info.epoch += 1
        after = Position(state.info.epoch, before.tail)
        fields = fields_of((), None, self._node)
        reply, *_ = await self._link.pipeline(
            change(state, before, after, life_of(state.info, None), fields, left=left),
            # A writer that is only slow, and silent, hears of it now; its next append would tell it in any case.
            pack("XADD", TAKEN, "MAXLEN", "~", 1000, "*", "id", state.info.id),
        )
        if isinstance(reply, ReplyError):
            raise JournalUnavailableError(f"Redis: {reply}")
        return bool(reply == b"OK")

    async def _taken_over(self, state: State, before: Position) -> StreamWriter:
        stream = self._streams.get(state.info.id)
        if stream is None or stream.lost is not None:
            stream = self._stream(state.info, before)
        self._follower.leave(stream)
        if stream not in self._writing and stream.position < before:
            await self._catch_up(stream)
        # Readers who have followed it here continue with the same one.
        stream.fence(state.info.epoch)
        stream.position = Position(state.info.epoch, stream.tail)
        self._writing.add(stream)
        return StreamWriter(self, stream)

    def _taken(self, stream_id: str) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._writing.look_at(stream)

    # Reading

    def _follow(self, stream: Stream) -> None:
        if stream.watched and stream not in self._writing:
            self._follower.follow(stream)

    async def _catch_up(self, stream: Stream) -> None:
        """Show the readers of a stream what there is behind its tail."""
        async for entry in self._reading.entries(stream.info.id, stream.tail):
            show(stream, entry)
        if stream.lost is not None:
            raise stream.lost


def _command(make: Callable[..., bytes], *arguments: object, **more: object) -> bytes:
    """Return a command. Raises `NotStorableError` for what it cannot hold."""
    try:
        return make(*arguments, **more)
    except Exception as error:
        raise NotStorableError("what was to be stored cannot be stored") from error
