"""One node at a Redis: its connections and signs of life, the streams it has, and taking over those of others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

import msgspec

from everytoken.errors import (
    FencedError,
    JournalUnavailableError,
    StreamClosedError,
    StreamNotFoundError,
)
from everytoken.journal.ids import missing
from everytoken.journal.quota import Quota
from everytoken.journal.redis_commands import Commands, life_of
from everytoken.journal.redis_connection import RedisConnection, ReplyError, pack
from everytoken.journal.redis_entries import Keys, Position, State, decode_state, fields_of
from everytoken.journal.redis_follower import RedisFollower, show
from everytoken.journal.redis_ledger import RedisLedger
from everytoken.journal.redis_link import RedisLink
from everytoken.journal.redis_orphans import RedisOrphans
from everytoken.journal.redis_places import place_at
from everytoken.journal.redis_quota import RedisQuota
from everytoken.journal.redis_reading import RedisReading
from everytoken.journal.redis_replicas import Replicas
from everytoken.journal.redis_settings import look_at_server, settings_of
from everytoken.journal.redis_writing import RedisWriting
from everytoken.journal.stream import Stream, StreamWriter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from everytoken.journal import StreamInfo
    from everytoken.journal.redis_places import Place
    from everytoken.journal.redis_quota import Quotas

__all__ = ["PATIENCE", "TRIES", "Part", "RedisNode"]

logger = logging.getLogger("everytoken.journal")

PATIENCE = 3.0  # seconds without a reply after which a connection counts as dead
TRIES = 20  # times to submit or claim when others do so at the same moment


class Part(NamedTuple):
    """Which part of a cluster a journal has: the master of a slot, all of whose keys have this tag.

    All parts of one process have the same name. `looks`: it is the one that says how safe the servers are.
    """

    place: Place
    tag: str
    node: str
    looks: bool


class RedisNode:
    """What a node keeps and does by itself; `RedisJournal` is what it offers."""

    def __init__(
        self,
        url: str,
        *,
        retention: float = 86_400.0,
        lease: float = 10.0,
        durability: str = "process",
        quota: Quota | None = None,
        part: Part | None = None,
    ) -> None:
        """`part`: which one of a cluster this is; None for a whole. Raises `ConfigurationError` for a URL that is none."""
        self._durability = durability
        self._part = part
        self._place = part.place if part is not None else place_at(url)
        self._keys = Keys(part.tag if part is not None else "")
        self._commands = Commands(self._keys)
        self._retention = int(retention * 1000)
        self._lease = lease
        self._node = part.node if part is not None else secrets.token_hex(8)
        self.node = self._node
        keys, node = self._keys, self._node
        self._replicas = Replicas.named_in(url, durability, keys.probe(self._node))
        self._link = RedisLink(self._place, self._greet, PATIENCE)
        self._follower = RedisFollower(self._place, self._link, keys, PATIENCE, self._taken)
        self._limits = quota or Quota()
        self.quotas = self.quotas_of(self.gone)
        self._reading = RedisReading(self._link, keys, self.missing, lease)
        self._writing = RedisWriting(self._link, keys, node, self._retention, self._follow, self._replicas)
        self._streams: WeakValueDictionary[str, Stream] = WeakValueDictionary()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._doubtful: set[str] = set()  # streams that may have been made, without our knowing
        self._orphans = RedisOrphans(self._link, keys, node, self._writes)
        self._beating: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect. Raises `JournalUnavailableError`, `ConfigurationError`."""
        await self._link.start()
        try:
            if (part := self._part) is None or part.looks:
                await look_at_server(self._link, self._place, self._durability, is_part=part is not None)
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
            await self._ask(pack("DEL", self._keys.alive(self._node.encode())))
        await self._follower.stop()
        await self._link.stop()

    async def bury(self, node: str) -> None:
        """Record that a node is known to be gone. Raises `JournalUnavailableError`."""
        await self._orphans.bury(node)

    def quotas_of(self, gone: Callable[[list[str]], Awaitable[list[str]]]) -> Quotas:
        """Return what counts the streams of callers here; `gone` tells which streams are there no more."""
        return RedisQuota(self._link, self._keys, self._limits, gone)

    async def gone(self, names: list[str]) -> list[str]:
        """Return which of some streams are there no more. Raises `JournalUnavailableError`."""
        types = await self._link.ask(*(pack("TYPE", self._keys.stream(name)) for name in names))
        return [name for name, kind in zip(names, types, strict=True) if kind != b"stream"]

    async def settings(self) -> dict[str, str]:
        """Return what the server is set to, as far as it tells. Raises `JournalUnavailableError`."""
        return await settings_of(self._link)

    async def _greet(self, connection: RedisConnection) -> None:
        """Bring the server and our own streams together again, before anything is added."""
        self._orphans.connected(self._lease)
        await connection.pipeline(*self._beat())
        for stream_id in list(self._doubtful):
            await connection.pipeline(self._commands.delete(stream_id, self._node))
            self._doubtful.discard(stream_id)
        await self._writing.reconcile(connection)

    def _beat(self) -> tuple[bytes, bytes]:
        node = self._node.encode()
        return pack("SET", self._keys.alive(node), "1", "PX", int(self._lease * 1000)), pack(
            "SADD", self._keys.nodes, node
        )

    async def _beat_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._lease / 3)
            try:
                await self._link.pipeline(*self._beat())
            except JournalUnavailableError:
                pass
            except Exception:  # one failure must not end it for good
                logger.exception("the journal could not give a sign of life")

    def ledger(self) -> RedisLedger:
        """Return counters that all nodes share."""
        return RedisLedger(self._ask, self._keys)

    async def _ask(self, command: bytes) -> Any:
        (reply,) = await self._link.ask(command)
        return reply

    async def _look_up(self, stream_id: str) -> tuple[State, Position]:
        found, last = await self._link.pipeline(
            pack("GET", self._keys.info(stream_id)), self._commands.last_entry(stream_id)
        )
        if isinstance(last, ReplyError) and not str(last).startswith("WRONGTYPE"):
            raise JournalUnavailableError(f"Redis: {last}")
        if not found or not last or isinstance(last, ReplyError):
            raise self.missing(stream_id)
        try:
            return decode_state(found), Position.parse(last[0][0])
        except (msgspec.MsgspecError, ValueError) as error:
            raise JournalUnavailableError(f"stream {stream_id} is damaged: {error}") from error

    def _stream(self, info: StreamInfo, position: Position) -> Stream:
        stream = Stream(info, self._reading.fetch, tail=position.tail, watch=self._follow)
        stream.created = True
        stream.position = position
        stream.closed = stream.closing = position.closed
        self._streams[info.id] = stream
        return stream

    def missing(self, stream_id: str) -> StreamNotFoundError:
        """Return what is to be said of a stream that is not there: what is older than `retention` is Redis's to remove."""
        return missing(stream_id, removed=time.time() - self._retention / 1000)

    def moved(self, stream: Stream) -> None:
        """Have a stream stored with the next group commit."""
        self._writing.commit.add(stream)

    async def orphans(self) -> list[str]:
        """Return the open streams of nodes that are known to be gone, or give no sign of life, oldest first."""
        return [name for _, name in sorted(await self._orphans.by_age())]

    async def orphans_by_age(self) -> list[tuple[float, str]]:
        """Return the same, each with when it was made."""
        return await self._orphans.by_age()

    async def claim(self, stream_id: str) -> StreamWriter:
        """Become the writer at the next epoch.

        Raises `StreamNotFoundError`, `StreamClosedError`, `FencedError` if another node was quicker.
        """
        # One at a time: two of one node would share the stream.
        async with self._locks.setdefault(stream_id, asyncio.Lock()):
            try:
                writer = await self._claim(stream_id)
            except (JournalUnavailableError, asyncio.CancelledError):
                self._orphans.unsure.add(stream_id)
                raise
            self._orphans.unsure.discard(stream_id)
            return writer

    async def _claim(self, stream_id: str) -> StreamWriter:
        stream = self._streams.get(stream_id)
        if stream is not None and stream.waits:
            stored = stream.wait()
            self.moved(stream)
            with contextlib.suppress(FencedError):  # by one whose turn is over as well, perhaps
                await stored
        seen: int | None = None
        writers = {self._node, self._orphans.left_by(stream_id)}
        for _ in range(TRIES):
            state, before = await self._look_up(stream_id)
            if before.closed:
                raise StreamClosedError(f"stream {stream_id} has ended")
            if seen not in (None, state.info.epoch) or not {None, state.node} & writers:
                raise FencedError(f"stream {stream_id} has another writer now")
            seen = state.info.epoch
            if (
                stream is not None
            ):  # what its writer here still wanted to append would come behind the takeover
                stream.closing = True
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
        connection = self._link.connection
        reply, *_ = await self._link.pipeline(
            self._commands.change(state, before, after, life_of(state.info, None), fields, left=left),
            # A writer that is only slow, and silent, hears of it now; its next append would tell it in any case.
            pack("XADD", self._keys.taken, "MAXLEN", "~", 1000, "*", "id", state.info.id),
        )
        if isinstance(reply, ReplyError):
            raise JournalUnavailableError(f"Redis: {reply}")
        await self._replicas.wait_within(connection, PATIENCE)
        return bool(reply == b"OK")

    async def _taken_over(self, state: State, before: Position) -> StreamWriter:
        stream = self._streams.get(state.info.id)
        if stream is None or stream.lost is not None:
            stream = self._stream(state.info, before)
        if stream not in self._writing and stream.position < before:
            await self._catch_up(stream)
        # Not before: a reader that comes meanwhile has it followed again. What is written here is shown by its commit,
        # and once more if it were followed, too.
        self._follower.leave(stream)
        # Readers who have followed it here continue with the same one.
        stream.fence(state.info.epoch)
        stream.position = Position(state.info.epoch, stream.tail)
        self._writing.add(stream)
        return StreamWriter(self, stream)

    def _writes(self, stream_id: str) -> bool:
        return self._streams.get(stream_id) in self._writing

    def _taken(self, stream_id: str) -> None:
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._writing.look_at(stream)

    def _follow(self, stream: Stream) -> None:
        if stream.watched and stream not in self._writing:
            self._follower.follow(stream)

    async def _catch_up(self, stream: Stream) -> None:
        """Show the readers of a stream what there is behind its tail."""
        async for entry in self._reading.entries(stream.info.id, stream.tail):
            if stream not in self._writing:  # it may be by now
                show(stream, entry)
        if stream.lost is not None:
            raise stream.lost
