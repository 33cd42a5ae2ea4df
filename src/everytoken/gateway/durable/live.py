"""Follow a stream as events (protocol section 5.8)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from everytoken.gateway.chat import stream_headers
from everytoken.gateway.durable import headers
from everytoken.gateway.durable.answers import respond
from everytoken.gateway.durable.reads import piece
from everytoken.gateway.follow import KEEP_ALIVE, ReaderConnection
from everytoken.gateway.http import start
from everytoken.wire import durable

if TYPE_CHECKING:
    from everytoken.gateway.durable.headers import Position
    from everytoken.gateway.http import Request
    from everytoken.journal import Log

__all__ = ["events"]

_PIECE = 16 * 1024  # bytes taken from the log at once: what a reader that has stopped costs


async def events(request: Request, log: Log, at: Position) -> None:
    """Send a stream from an offset on, to its end.

    The connection is not rotated, as the protocol suggests for the sake of caches: several clients take a clean end for
    the stream's. 204 for a `Last-Event-ID` at the end of a closed stream, which tells an EventSource to stop.
    """
    if at.given == "last-event-id" and log.closed and at.offset == log.tail:
        await respond(request, 204, headers.state(at.offset, up_to_date=True, closed=True))
        return
    follower = _Follower(request, log, at.offset)
    head = [
        (b"content-type", b"text/event-stream"),
        *stream_headers(request, log.info.id, at.offset),
        *headers.COMMON[1:],
    ]
    if follower.encoding == "base64":
        head.append((b"stream-sse-data-encoding", b"base64"))
    log.subscribe(follower.moved)
    try:
        await start(request, 200, head)
        await follower.run()
    finally:
        log.unsubscribe(follower.moved)
        follower.client.close()


class _Follower:
    """Writes records as pairs of a data and a control event, each pair in one piece."""

    def __init__(self, request: Request, log: Log, offset: int) -> None:
        self.client = ReaderConnection(request)
        self.encoding = durable.encoding_of(log.info.content_type)
        self._log = log
        self._offset = offset
        self._cursor = headers.next_cursor(request, time.time())
        self._stale = False  # whether the log has moved since it was looked at

    def moved(self) -> None:
        """Take note that the log has moved."""
        self._stale = True
        self.client.wake()

    async def run(self) -> None:
        """Write until the stream has ended or the client has gone; a stream that goes is broken off."""
        loop, log, client = asyncio.get_running_loop(), self._log, self.client
        quiet_since = loop.time()
        told = False
        while not client.gone:
            if log.deleted:
                await client.abort()
                return
            self._stale = False
            data = await self._next()
            stuck = not data
            ended = log.closed and self._offset == log.tail
            if data or ended or not told:
                await client.send(data + self._control())
                quiet_since, told, data = loop.time(), True, b""  # not to be held while it is waited
                await client.drain()
            if ended:
                await client.finish()
                return
            if not self._stale and (stuck or self._offset == log.tail):
                quiet_since = await self._rest(quiet_since)

    async def _next(self) -> bytes:
        """Return what comes next as a data event; nothing if it has to be waited for."""
        log = self._log
        if self._offset == log.tail:
            return b""
        records = await piece(log, self._offset, _PIECE)
        if self.encoding == "text" and not (log.closed and self._offset + len(records) == log.tail):
            # A long record that ends in half a character needs the next one beside it.
            records = records[: durable.whole(records)] or await self._more()
        if not records:
            return b""
        self._offset += len(records)
        return durable.data_event(records, self._offset, self.encoding)

    async def _more(self) -> list[bytes]:
        records = await piece(self._log, self._offset)
        return records[: durable.whole(records)]

    def _control(self) -> bytes:
        at_tail = self._offset == self._log.tail
        return durable.control_event(
            self._offset,
            max(self._cursor, headers.interval_at(time.time())),
            up_to_date=at_tail,
            closed=at_tail and self._log.closed,
        )

    async def _rest(self, quiet_since: float) -> float:
        """Wait for the log to move, or until a sign of life is due; return since when nothing has been sent."""
        await self.client.wait(quiet_since + KEEP_ALIVE)
        now = asyncio.get_running_loop().time()
        if now - quiet_since < KEEP_ALIVE or self.client.gone:
            return quiet_since
        await self.client.send(durable.KEEP_ALIVE)
        return now
