"""A journal in PostgreSQL, shared by many nodes: for those who have one, and no Redis.

What moved in one turn of the event loop goes out as one statement, and is shown to readers when the server has committed
it (`postgres_writing`). Nodes that read what another one writes are told by `NOTIFY` (`postgres_following`). What a node
has written stays in its memory until the stream ends, so that a server that has crashed and lost the last moment is given
it again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

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
from everytoken.journal.postgres_entries import decode_info, encode, kept_for, packed
from everytoken.journal.postgres_schema import CREATE, FOUND, LIVE
from everytoken.journal.postgres_streams import PostgresStreams
from everytoken.journal.postgres_submitting import submitted, used
from everytoken.journal.quota import size_of
from everytoken.journal.stream import Stream, StreamWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.journal import Append, Appended, StreamInfo

__all__ = ["PostgresJournal"]


class PostgresJournal(PostgresStreams):
    """Streams in the PostgreSQL at `url`; each is kept for `retention` seconds after its end.

    A node that gives no sign of life for `lease` seconds has lost its streams: another may take them over. With
    `durability` `process` a crash of the server can take what was appended in the last moment, which living nodes give
    again; with `power` it takes nothing, and with `replicated` that of a primary takes nothing either.
    """

    durable = True

    async def create(
        self, info: StreamInfo, records: Sequence[bytes] = (), *, closed: bool = False
    ) -> StreamWriter:
        """Begin a stream. Raises `StreamExistsError`, `JournalUnavailableError`, `NotStorableError`."""
        self._writing.commit.check()
        if info.id in self._doubtful:
            await self._remove_doubtful(info.id)
        if closed:
            info.result = info.result or {}
        node = "" if info.shared or closed else self.node
        size = size_of(records) if info.shared else 0
        if info.shared:
            await self._check_quota(info, size)
        number = await self._insert(info, node, records, size, closed=closed)
        if number is None:
            raise StreamExistsError(f"stream {info.id} exists")
        stream = self._stream(info)
        stream.number = number
        try:
            stream.show(records, info.result if closed else None)
        except Exception as error:
            self._streams.pop(info.id, None)
            self._doubtful.add(info.id)
            raise NotStorableError("what was to be stored cannot be stored") from error
        if node:
            self._writing.add(stream)
        return StreamWriter(self, stream)

    async def _insert(
        self, info: StreamInfo, node: str, records: Sequence[bytes], size: int, *, closed: bool
    ) -> int | None:
        kept = kept_for(info, self._retention if closed else None)
        try:
            data = packed(records) if records else (0, b"")
            known = (info.id, node, info.owner, info.shared, info.created, info.epoch)
            values = (*known, len(records), closed, size, encode(info), kept, *data)
        except Exception as error:
            raise NotStorableError("what was to be stored cannot be stored") from error
        for _ in range(2):
            sent: list[bool] = []
            try:
                rows = await self._link.fetch(CREATE, *values, sent=lambda: sent.append(True))  # noqa: B023
            except (JournalUnavailableError, asyncio.CancelledError):
                if sent:
                    self._doubtful.add(info.id)
                raise
            if rows:
                number: int = rows[0][0]
                return number
            if not await self._remove(info.id, "expires <= now()"):
                break
        return None

    async def open(self, stream_id: str, *, touch: bool = True) -> Stream:
        """Return a stream to read. Raises `StreamNotFoundError`, `JournalUnavailableError`."""
        stream = self._streams.get(stream_id)
        if stream is None or stream not in self._writing:
            row = await self._look_up(stream_id)
            stream = self._streams.get(stream_id)  # somebody else may have been quicker
            if stream is None or stream.lost is not None or stream.number != row["number"]:
                stream = self._stream(decode_info(row["info"]), row)
            elif stream not in self._writing and (stream.tail < row["tail"] or row["closed"]):
                await self._follower.catch_up(stream, row)
        if touch and stream.info.ttl is not None:
            await self._link.fetch(
                "UPDATE everytoken.streams SET expires = now() + make_interval(secs => $2) WHERE number = $1",
                stream.number,
                kept_for(stream.info, None),
            )
        return stream

    async def submit(self, stream_id: str, append: Append) -> Appended:
        """Check an append and store it, in one transaction."""
        async with self._locks.setdefault(stream_id, asyncio.Lock()):
            async with self._link.transaction() as connection:
                row = await connection.fetchrow(f"{FOUND} FOR UPDATE", stream_id)
                if row is None:
                    raise self.missing(stream_id)
                done = await submitted(connection, row, append, self._quota, self._retention)
            stream = self._streams.get(stream_id)
            if (
                stream is not None
                and (stream.number, stream.tail) == (row["number"], row["tail"])
                and not (row["closed"] or stream.closed or done.duplicate)
            ):
                stream.show(append.records, (append.result or {}) if done.closed else None)
            return done

    async def claim(self, stream_id: str) -> StreamWriter:
        """Become the writer at the next epoch.

        Raises `StreamNotFoundError`, `StreamClosedError`, `FencedError` if another node was quicker.
        """
        async with self._locks.setdefault(stream_id, asyncio.Lock()):
            try:
                writer = await self._claim(stream_id)
            except (JournalUnavailableError, asyncio.CancelledError):
                self._unsure.add(stream_id)
                raise
            self._unsure.discard(stream_id)
            return writer

    async def _claim(self, stream_id: str) -> StreamWriter:
        stream = self._streams.get(stream_id)
        if stream is not None and stream.waits:
            stored = stream.wait()
            self.moved(stream)
            with contextlib.suppress(FencedError):  # by one whose turn is over as well, perhaps
                await stored
        seen = await self._look_up(stream_id)
        left = self._left_by.pop(stream_id, seen["node"])
        if stream is not None:  # what its writer here still wanted to append would come behind the takeover
            stream.closing = True
        try:
            row = await self._take(stream_id, seen["epoch"], left)
        finally:
            if stream is not None:
                stream.closing = stream.closed
        return await self._taken_over(stream_id, row)

    async def _take(self, stream_id: str, epoch: int, left: str) -> Any:
        """Take it over from the writer that was seen: at this epoch, on the node that `left` it."""
        async with self._link.transaction() as connection:
            row = await connection.fetchrow(f"{FOUND} FOR UPDATE", stream_id)
            if row is None:
                raise self.missing(stream_id)
            if row["closed"]:
                raise StreamClosedError(f"stream {stream_id} has ended")
            if row["epoch"] != epoch or row["node"] not in (left, self.node):
                raise FencedError(f"stream {stream_id} has another writer now")
            return await connection.fetchrow(
                "UPDATE everytoken.streams SET epoch = epoch + 1, begun = begun || tail, node = $2 "
                "WHERE number = $1 RETURNING *, pg_notify('everytoken', 't' || number)",
                row["number"],
                self.node,
            )

    async def _taken_over(self, stream_id: str, row: Any) -> StreamWriter:
        stream = self._streams.get(stream_id)
        if stream is None or stream.lost is not None or stream.number != row["number"]:
            stream = self._stream(decode_info(row["info"]), row)
        if stream not in self._writing:
            await self._follower.catch_up(stream, row)
        # Not before: a reader that comes meanwhile has it followed again. What is written here is shown by its commit,
        # and once more if it were followed, too.
        self._follower.leave(stream)
        if stream.info.epoch < row["epoch"]:  # readers who have followed it here continue with the same one
            stream.fence(row["epoch"])
        self._writing.add(stream)
        return StreamWriter(self, stream)

    async def is_read_elsewhere(self, stream_id: str) -> bool:
        """Whether a stream has readers on other nodes. Raises `JournalUnavailableError`."""
        rows = await self._link.fetch(
            "SELECT 1 FROM everytoken.streams WHERE id = $1 AND read_until > now()", stream_id
        )
        return bool(rows)

    async def delete(self, stream_id: str) -> None:
        """Forget a stream. Raises `StreamNotFoundError`, `JournalUnavailableError`."""
        if not await self._remove(stream_id, LIVE):
            raise self.missing(stream_id)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._lose(stream)

    async def _check_quota(self, info: StreamInfo, size: int) -> None:
        try:
            async with self._link.transaction() as connection:
                self._quota.check(info, None, size, await used(connection, info.owner, self._quota))
        except (QuotaExceededError, StreamFullError) as error:
            with contextlib.suppress(StreamNotFoundError):
                await self._look_up(info.id)
                raise StreamExistsError(f"stream {info.id} exists") from error
            raise
