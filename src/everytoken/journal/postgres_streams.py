"""The streams of a node as they are in PostgreSQL: found, read, and followed or written."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from everytoken.errors import (
    ConfigurationError,
    JournalUnavailableError,
    NotStorableError,
    StreamNotFoundError,
)
from everytoken.journal.postgres_entries import Entry
from everytoken.journal.postgres_following import PostgresFollower
from everytoken.journal.postgres_node import PostgresNode
from everytoken.journal.postgres_schema import ENTRIES, FOUND, ORPHANS, STATES
from everytoken.journal.postgres_writing import PostgresWriting
from everytoken.journal.quota import Quota
from everytoken.journal.stream import Stream, some_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.journal import StreamInfo
    from everytoken.journal.commit import GroupCommit

__all__ = ["PostgresStreams"]

_AHEAD: Final = 64 * 1024  # bytes read at once
_PAUSE: Final = 0.1  # seconds between two tries to read what is not there at the moment


class PostgresStreams(PostgresNode):
    """What `PostgresJournal` does with them."""

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
        super().__init__(url, retention=retention, lease=lease, durable=durability != "process")
        self._durability = durability
        self._quota = quota or Quota()
        self._streams: WeakValueDictionary[str, Stream] = WeakValueDictionary()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._writing = PostgresWriting(self._link, self.node, retention, self._follow, durable=self._durable)
        self._follower = PostgresFollower(
            self._link, self._writing.__contains__, taken=self._taken, gone=self._gone
        )

    async def start(self) -> None:
        """Connect. Raises `JournalUnavailableError`, `ConfigurationError`."""
        await self._link.start()
        try:
            await self._look_at_server()
            await self._writing.start()
            await self._follower.start()
            await self._begin_chores()
        except BaseException:
            await self.stop()
            raise

    async def _look_at_server(self) -> None:
        settings = await self.settings()
        if self._durability == "replicated" and not settings["synchronous_standby_names"]:
            raise ConfigurationError(
                "durability is 'replicated', but PostgreSQL waits for no replica: set synchronous_standby_names there"
            )
        self._say_how_durable(settings)

    async def stop(self) -> None:
        """Store what is on its way, and leave one's streams to the others."""
        await self._writing.stop()
        await self._end_chores()
        await self._follower.stop()
        await self._link.stop()

    def _lose(self, stream: Stream) -> None:
        self._follower.leave(stream)
        self._writing.lose(stream, StreamNotFoundError("the stream is gone"))

    async def orphans(self) -> list[str]:
        """Return the open streams of nodes that are known to be gone, or give no sign of life, oldest first."""
        quiet = asyncio.get_running_loop().time() < self._quiet_until
        self._unsure = {name for name in self._unsure if self._streams.get(name) not in self._writing}
        rows = await self._link.fetch(ORPHANS, self.node, list(self._buried), not quiet, list(self._unsure))
        self._left_by = {row["id"]: row["node"] for row in rows}
        self._buried &= set(self._left_by.values())
        return list(self._left_by)

    def _taken(self, number: int) -> None:
        self._writing.look_at(number)

    def _gone(self, number: int) -> None:
        for stream in [stream for stream in self._streams.values() if stream.number == number]:
            self._lose(stream)

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

    async def _look_up(self, stream_id: str) -> Any:
        try:
            rows = await self._link.fetch(FOUND, stream_id)
        except NotStorableError as error:  # a name that no stream can have
            raise self.missing(stream_id) from error
        if not rows:
            raise self.missing(stream_id)
        return rows[0]

    def _stream(self, info: StreamInfo, row: Any = None) -> Stream:
        """Return a stream that is stored: where `row` has it, or new."""
        stream = Stream(info, self._fetch, tail=0 if row is None else row["tail"], watch=self._follow)
        stream.created = True
        if row is not None:
            stream.number = row["number"]
            info.epoch = row["epoch"]
            stream.closed = stream.closing = row["closed"]
        self._streams[info.id] = stream
        return stream

    def _follow(self, stream: Stream) -> None:
        if stream.watched and stream not in self._writing:
            self._follower.follow(stream)

    async def _fetch(self, stream: Stream, offset: int, limit: int) -> Sequence[bytes]:
        """Return records from `offset` on, about `limit` bytes. Raises `JournalUnavailableError`, `StreamNotFoundError`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._lease
        while True:
            with contextlib.suppress(JournalUnavailableError):
                rows = await self._link.fetch(ENTRIES, [stream.number], [offset], _AHEAD)
                if taken := _taken(rows, offset, stream.tail, limit):
                    return taken
                if not await self._link.fetch(STATES, [stream.number]):
                    raise self.missing(stream.info.id)
            # The server is away, or has lost what it had, and its writer is about to give it again.
            if loop.time() > deadline:
                raise JournalUnavailableError(
                    "PostgreSQL cannot be reached, or has lost records of this stream"
                )
            await asyncio.sleep(_PAUSE)


def _taken(rows: Sequence[Any], offset: int, tail: int, limit: int) -> list[bytes]:
    """Return the records of entries from `offset` on, up to the tail, about `limit` bytes of them."""
    taken: list[bytes] = []
    size = 0
    for row in rows:
        first, records = Entry.of(row)
        start = offset + len(taken) - first
        if size >= limit or start < 0:
            break
        some = some_of(records, start, min(len(records), tail - first), limit - size)
        taken += some
        size += sum(map(len, some))
        if start + len(some) < len(records):
            break
    return taken
