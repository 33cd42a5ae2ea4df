"""A journal in Redis, shared by many nodes: any of them may die, and another one finishes the response.

Everything that moved in one turn of the event loop goes to the server in one script call, and is shown to readers when
that is acknowledged. The script checks the writer's epoch and where its records belong, so a writer that was taken for
dead cannot add a byte, and a call that is repeated after a broken connection adds nothing twice. Readers of streams that
are written elsewhere follow them with a blocking read; the end of a stream is stored, so no lost message can hang them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, cast

import hiredis
import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from everytoken.errors import (
    ConfigurationError,
    FencedError,
    JournalUnavailableError,
    OffsetInvalidError,
    StreamClosedError,
    StreamExistsError,
    StreamNotFoundError,
)
from everytoken.journal import Append, Appended, StreamInfo
from everytoken.journal import redis_scripts as scripts
from everytoken.journal.commit import GroupCommit
from everytoken.journal.rules import Marks, is_duplicate, marks_after
from everytoken.journal.stream import Stream, StreamWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RedisJournal"]

logger = logging.getLogger("everytoken.journal")

_OPEN = b"et:open"
_TAKEN = (
    b"et:taken"  # a Redis Stream of what was taken over: tells a writer at once, its next append in any case
)
_LEASE = 10.0  # seconds without a sign of life after which a node counts as dead
_FOLLOW = (
    100  # milliseconds a read for records of other nodes blocks: how soon a new stream is followed, at most
)
_READING = 15.0  # seconds for which a node says that it reads a stream of another
_FOLLOWED = 60.0  # seconds a stream that nobody reads any more is still followed
_CACHED = 1024  # ended streams kept in memory
_BATCH = 512  # entries read at once

_encode = msgspec.msgpack.Encoder().encode
_records = msgspec.msgpack.Decoder(list[bytes]).decode
_info = msgspec.msgpack.Decoder(StreamInfo).decode
_marks = msgspec.msgpack.Decoder(Marks).decode
_result = msgspec.msgpack.Decoder(dict[str, Any]).decode


def _keys(stream_id: str) -> tuple[bytes, bytes]:
    return b"et:%b" % stream_id.encode(), b"et:%b:log" % stream_id.encode()


class RedisJournal:
    """Streams in the Redis at `url`; each is kept for `retention` seconds after its end. `lease` is in seconds."""

    durable = True

    def __init__(self, url: str, *, retention: float = 86_400.0, lease: float = _LEASE) -> None:
        try:
            self._redis: Any = Redis.from_url(  # its own types know of no bytes
                url, socket_connect_timeout=2.0, socket_timeout=5.0, health_check_interval=0
            )
        except ValueError as error:
            raise ConfigurationError(f"{url.partition('@')[2] or url!r} is no Redis URL: {error}") from error
        self._node = secrets.token_hex(8)
        self._kept = int(retention * 1000)
        self._lease = lease
        self._streams: dict[str, Stream] = {}
        self._ours: set[str] = set()  # ids of the streams that this node writes
        self._followed: dict[str, float] = {}  # ids of those it reads only -> since when nobody wants them
        self._commit = GroupCommit(self._store, self._stored)
        self._hashes: dict[str, str] = {}
        self._connection: Any = None
        self._taken = b"0-0"
        self._told = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._background: list[asyncio.Task[None]] = []

    # Life

    async def start(self) -> None:
        """Connect, and say what the server's own persistence is. Raises `JournalUnavailableError`."""
        try:
            await self._load_scripts()
            await self._beat()
            newest = await self._redis.xrevrange(_TAKEN, count=1)
            self._taken = newest[0][0] if newest else b"0-0"
        except (RedisError, OSError) as error:
            raise JournalUnavailableError(f"Redis cannot be reached: {error}") from error
        with contextlib.suppress(RedisError):
            kept = await self._redis.config_get("appendonly", "save", "appendfsync")
            logger.info(
                "journal in Redis: appendonly %s (appendfsync %s), save %r",
                kept.get("appendonly"),
                kept.get("appendfsync"),
                kept.get("save"),
            )
        self._background = [asyncio.create_task(self._stay_alive()), asyncio.create_task(self._follow())]

    async def stop(self) -> None:
        """Store what is on its way, and leave one's streams to the others."""
        await self._commit.finish()
        for task in (*self._background, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._background, *self._tasks, return_exceptions=True)
        with contextlib.suppress(RedisError, OSError):
            await self._redis.delete(self._alive(self._node))
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)
        await self._redis.aclose()

    async def _load_scripts(self) -> None:
        for name in scripts.__all__:
            self._hashes[name] = await self._redis.script_load(getattr(scripts, name))

    @staticmethod
    def _alive(node: str) -> str:
        return f"et:node:{node}"

    async def _beat(self) -> None:
        await self._redis.set(self._alive(self._node), b"1", px=int(self._lease * 1000))

    async def _stay_alive(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            with contextlib.suppress(RedisError, OSError):
                await self._beat()

    async def _run(self, name: str, keys: Sequence[bytes], *arguments: Any) -> Any:
        """Run a script. Raises `JournalUnavailableError`."""
        try:
            try:
                return await self._redis.evalsha(self._hashes[name], len(keys), *keys, *arguments)
            except NoScriptError:  # a server that was started again has forgotten them
                await self._load_scripts()
                return await self._redis.evalsha(self._hashes[name], len(keys), *keys, *arguments)
        except (RedisError, OSError) as error:
            raise JournalUnavailableError(f"Redis: {error}") from error

    # Streams

    async def create(
        self, info: StreamInfo, records: Sequence[bytes] = (), *, closed: bool = False
    ) -> StreamWriter:
        """Begin a stream. Raises `StreamExistsError`, `JournalUnavailableError`."""
        self._commit.check()
        log_keys = _keys(info.id)
        result = (info.result or {}) if closed else None
        answer = await self._run(
            "CREATE",
            (*log_keys, _OPEN),
            _encode(info),
            info.epoch,
            "" if info.shared else self._node,
            len(records),
            _encode(list(records)),
            b"" if result is None else _encode(result),
            self._life(info),
            info.id,
        )
        if answer != b"ok":
            raise StreamExistsError(f"stream {info.id} exists")
        stream = self._stream(info, 0, Marks())
        _show(stream, records, result)
        self._keep(stream, ours=not info.shared)
        return StreamWriter(self, stream)

    async def open(self, stream_id: str, *, touch: bool = True) -> Stream:
        """Return a stream to read. Raises `StreamNotFoundError`, `JournalUnavailableError`."""
        stream = self._streams.get(stream_id)
        if stream is not None and stream_id in self._ours and not stream.closed:
            return stream
        state = await self._state(stream_id)
        info: StreamInfo = state["info"]
        if stream is None or stream.lost is not None or stream.info.created != info.created:
            stream = self._stream(info, state["tail"], state["marks"])
            if state["closed"]:
                stream.closed = stream.closing = True
                stream.info.result = state["result"]
            self._keep(stream, ours=False)
        elif not stream.closed:
            async for last, fields in self._entries(stream_id, stream.tail, state["tail"]):
                self._take(stream, last, fields)
            if state["closed"] and not stream.closed:
                _show(stream, (), state["result"])
        if touch and info.ttl is not None:
            with contextlib.suppress(RedisError, OSError):
                for key in _keys(stream_id):
                    await self._redis.pexpire(key, self._life(info))
        return stream

    async def _state(self, stream_id: str) -> dict[str, Any]:
        try:
            found = cast("dict[bytes, bytes]", await self._redis.hgetall(_keys(stream_id)[0].decode()))
        except (RedisError, OSError) as error:
            raise JournalUnavailableError(f"Redis: {error}") from error
        if not found:
            raise StreamNotFoundError("there is no such stream")
        info = _info(found[b"info"])
        info.epoch = int(found[b"epoch"])
        return {
            "info": info,
            "tail": int(found[b"tail"]),
            "marks": _marks(found[b"marks"]) if found[b"marks"] else Marks(),
            "raw_marks": found[b"marks"],
            "closed": found[b"closed"] == b"1",
            "result": _result(found[b"result"]) if found.get(b"result") else {},
        }

    async def submit(self, stream_id: str, append: Append) -> Appended:
        """Check an append and store it, unless another one came in between: then check again."""
        while True:
            state = await self._state(stream_id)
            marks, tail = state["marks"], state["tail"]
            duplicate = is_duplicate(marks, append, closed=state["closed"])
            if duplicate or (state["closed"] and not append.records):
                seq = None if append.producer is None else marks.producers[append.producer.id][1]
                return Appended(tail, state["closed"], duplicate=duplicate, seq=seq)
            after = marks_after(marks, append)
            answer = await self._run(
                "SUBMIT",
                _keys(stream_id),
                tail,
                state["raw_marks"],
                len(append.records),
                _encode(append.records),
                _encode(after),
                _encode(append.result or {}) if append.close else b"",
            )
            if answer == b"missing":
                raise StreamNotFoundError("there is no such stream")
            if answer == b"ok":
                seq = None if append.producer is None else append.producer.seq
                return Appended(tail + len(append.records), append.close, seq=seq)

    async def claim(self, stream_id: str) -> StreamWriter:
        """Become the writer at the next epoch. Raises `StreamClosedError`, `FencedError` if another was quicker."""
        state = await self._state(stream_id)
        info: StreamInfo = state["info"]
        answer = await self._run("CLAIM", (_keys(stream_id)[0], _OPEN), stream_id, info.epoch, self._node)
        if answer == b"closed":
            raise StreamClosedError(f"stream {stream_id} has ended")
        if answer != b"ok":
            raise FencedError(f"stream {stream_id} has another writer now")
        with contextlib.suppress(RedisError, OSError):
            await self._redis.xadd(_TAKEN, {b"id": stream_id, b"node": self._node}, maxlen=1000)
        # Whoever wrote it can add nothing from here on: what is there now is all there is.
        state = await self._state(stream_id)
        stream = self._streams.get(stream_id)
        if stream is None or stream.lost is not None:
            stream = self._stream(state["info"], 0, state["marks"])
        # Readers who have followed it here go on with the same one.
        self._keep(stream, ours=True)
        stream.fence(state["info"].epoch)
        async for last, fields in self._entries(stream_id, stream.tail, state["tail"]):
            self._take(stream, last, fields)
        return StreamWriter(self, stream)

    async def orphans(self) -> list[str]:
        """Return the open streams whose node gives no sign of life."""
        try:
            owners = cast("dict[bytes, bytes]", await self._redis.hgetall(_OPEN.decode()))
            nodes = {
                node: await self._redis.exists(self._alive(node.decode())) for node in set(owners.values())
            }
        except (RedisError, OSError) as error:
            raise JournalUnavailableError(f"Redis: {error}") from error
        return [stream_id.decode() for stream_id, node in owners.items() if not nodes[node]]

    async def is_read_elsewhere(self, stream_id: str) -> bool:
        """Whether a stream has readers on other nodes. Raises `JournalUnavailableError`."""
        try:
            return bool(await self._redis.exists(_keys(stream_id)[0] + b":read"))
        except (RedisError, OSError) as error:
            raise JournalUnavailableError(f"Redis: {error}") from error

    async def delete(self, stream_id: str) -> None:
        """Forget a stream. Raises `StreamNotFoundError`, `JournalUnavailableError`."""
        if not await self._run("DELETE", (*_keys(stream_id), _OPEN), stream_id):
            raise StreamNotFoundError("there is no such stream")
        stream = self._drop(stream_id)
        if stream is not None:
            stream.lose(StreamNotFoundError("the stream is gone"))

    def moved(self, stream: Stream) -> None:
        """Have a stream stored with the next group commit."""
        self._commit.add(stream)

    # What this process keeps of them

    def _stream(self, info: StreamInfo, tail: int, marks: Marks) -> Stream:
        stream = Stream(info, self._fetch, tail=tail)
        stream.created = True
        stream.marks = stream.due_marks = marks
        return stream

    def _keep(self, stream: Stream, *, ours: bool) -> None:
        stream_id = stream.info.id
        self._streams.pop(stream_id, None)
        self._streams[stream_id] = stream
        self._ours.discard(stream_id)
        self._followed.pop(stream_id, None)
        if ours and not stream.closed:
            self._ours.add(stream_id)
        elif not stream.closed:
            self._followed[stream_id] = time.monotonic()
        if len(self._streams) > _CACHED:
            for name in [name for name, kept in self._streams.items() if kept.closed and not kept.watched][
                :64
            ]:
                del self._streams[name]

    def _drop(self, stream_id: str) -> Stream | None:
        self._ours.discard(stream_id)
        self._followed.pop(stream_id, None)
        return self._streams.pop(stream_id, None)

    def _life(self, info: StreamInfo) -> int:
        """Return for how many milliseconds a stream is kept when it is not used."""
        life = self._kept if info.ttl is None else info.ttl * 1000
        return life if info.expires is None else max(1, min(life, int((info.expires - time.time()) * 1000)))

    # Group commit

    def _store(self, streams: Sequence[Stream]) -> bool:
        task = asyncio.get_running_loop().create_task(self._send(streams))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return False

    async def _send(self, streams: Sequence[Stream]) -> None:
        try:
            replies = await self._append(streams)
        except NoScriptError:
            await self._fail(JournalUnavailableError("Redis was started again"))
        except (RedisError, OSError) as error:
            await self._fail(JournalUnavailableError(f"Redis: {error}"))
        else:
            for stream, reply in zip(streams, replies, strict=True):
                if reply != b"ok":
                    self._refused(stream, reply)
            self._commit.done()

    async def _append(self, streams: Sequence[Stream]) -> list[bytes]:
        """Send one script call, packed by hand: redis-py's pipelines cost three times as much."""
        keys: list[bytes] = [_OPEN]
        arguments: list[Any] = [self._kept]
        for stream in streams:
            result = stream.storing_result
            keys += _keys(stream.info.id)
            arguments += (
                stream.info.id,
                stream.info.epoch,
                stream.tail,
                stream.tail + len(stream.storing),
                _encode(stream.storing),
                b"" if result is None else _encode(result),
            )
        command = hiredis.pack_command(("EVALSHA", self._hashes["APPEND"], len(keys), *keys, *arguments))
        connection = self._connection
        if connection is None:
            connection = self._connection = self._redis.connection_pool.make_connection()
            await connection.connect()
        await connection.send_packed_command([command], check_health=False)
        return cast("list[bytes]", await connection.read_response())

    async def _fail(self, error: JournalUnavailableError) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)
        with contextlib.suppress(RedisError, OSError):
            await self._load_scripts()
        self._commit.failed(error)

    def _refused(self, stream: Stream, reply: bytes) -> None:
        """Take back what was not stored: the stream has another writer, or is gone."""
        stream.put_back()
        stream.pending, stream.pending_bytes, stream.pending_result = [], 0, None
        stream.closing = stream.closed
        self._ours.discard(stream.info.id)
        if reply == b"fenced":
            self._fence(stream)
            return
        if reply.startswith(b"gap:"):
            logger.error("stream %s: Redis has lost records (%s)", stream.info.id, reply.decode())
        stream.lose(StreamNotFoundError("the stream is gone"))

    def _fence(self, stream: Stream) -> None:
        """Another node writes the stream from here on; its readers here follow that one."""
        self._ours.discard(stream.info.id)
        self._followed[stream.info.id] = time.monotonic()
        stream.fence(stream.info.epoch + 1)

    def _stored(self, streams: Sequence[Stream]) -> None:
        for stream in streams:
            if stream.closed:
                self._ours.discard(stream.info.id)

    # Reading

    async def _fetch(self, stream: Stream, offset: int, limit: int) -> Sequence[bytes]:
        if offset > stream.tail:
            raise OffsetInvalidError("this offset is past the end of the stream", param="offset")
        taken: list[bytes] = []
        size = 0
        async for last, fields in self._entries(stream.info.id, offset, stream.tail):
            records = _records(fields[b"r"])
            records = records[max(0, offset - (last - len(records))) :]
            taken += records
            size += sum(map(len, records))
            if size >= limit:
                break
        return taken[: stream.tail - offset]

    async def _entries(self, stream_id: str, offset: int, tail: int) -> Any:
        """Yield (offset behind it, fields) of the entries that hold records from `offset` to `tail`."""
        log = _keys(stream_id)[1].decode()
        while offset < tail:
            try:
                found = await self._redis.xrange(log, min=f"({offset}-1", count=_BATCH)
            except (RedisError, OSError) as error:
                raise JournalUnavailableError(f"Redis: {error}") from error
            if not found:
                raise StreamNotFoundError("the stream is gone")
            for name, fields in found:
                if b"r" in fields:
                    offset = int(name.partition(b"-")[0])
                    yield offset, fields
                else:
                    return

    async def _follow(self) -> None:
        """Read on in every stream that is written elsewhere and wanted here, for ever."""
        while True:
            try:
                await self._follow_once()
            except (RedisError, OSError) as error:
                logger.debug("following streams of other nodes: %s", error)
                await asyncio.sleep(0.1)

    async def _follow_once(self) -> None:
        now = time.monotonic()
        positions: dict[Any, Any] = {_TAKEN: self._taken}
        reading: list[bytes] = []
        for stream_id, since in list(self._followed.items()):
            stream = self._streams.get(stream_id)
            if stream is None or stream.closed or stream.lost is not None:
                del self._followed[stream_id]
            elif stream.watched:
                self._followed[stream_id] = now
                positions[_keys(stream_id)[1]] = f"{stream.tail}-0"
                reading.append(_keys(stream_id)[0])
            elif now - since > _FOLLOWED:
                self._drop(stream_id)
        if reading and now - self._told > _READING / 3:
            self._told = now
            for key in reading:
                await self._redis.set(key + b":read", b"1", px=int(_READING * 1000))
        for key, entries in await self._redis.xread(positions, count=_BATCH, block=_FOLLOW) or ():
            if key == _TAKEN:
                for name, fields in entries:
                    self._taken = name
                    if fields[b"node"] != self._node.encode() and fields[b"id"].decode() in self._ours:
                        self._fence(self._streams[fields[b"id"].decode()])
                continue
            stream = self._streams.get(key.decode()[3:-4])
            if stream is not None and stream.info.id in self._followed:
                for name, fields in entries:
                    self._take(stream, int(name.partition(b"-")[0]), fields)

    @staticmethod
    def _take(stream: Stream, last: int, fields: dict[bytes, bytes]) -> None:
        if b"r" in fields:
            records = _records(fields[b"r"])
            _show(stream, records[max(0, stream.tail - (last - len(records))) :], None)
        else:
            _show(stream, (), _result(fields[b"c"]))


def _show(stream: Stream, records: Sequence[bytes], result: dict[str, Any] | None) -> None:
    """Show readers what is stored already."""
    stream.pending = list(records)
    stream.pending_result = result
    stream.closing = stream.closing or result is not None
    stream.begin()
    stream.commit()
