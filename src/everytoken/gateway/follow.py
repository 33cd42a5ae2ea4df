"""Send a stream's records to one client, as they are committed: the reader's half of the hot path.

A reader pulls: it costs an offset, not memory. When the client does not keep up, nothing is taken from the log until
it does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from everytoken.gateway.http import break_off
from everytoken.gateway.server import direct_of
from everytoken.wire import openai

if TYPE_CHECKING:
    from everytoken.gateway.http import Request
    from everytoken.gateway.server import Direct
    from everytoken.journal import Log

__all__ = ["ReaderConnection", "follow_events", "greet"]

KEEP_ALIVE = 15.0  # seconds; proxies commonly give up on a silent connection after 60
_TAKEN = 15.0  # seconds in which a host acknowledges, on the slowest of links that still lives
_FIRST_LOOK = 0.005  # seconds from one look to the next, doubled each time
_BATCH = 16 * 1024  # bytes taken from the log at once


class ReaderConnection:
    """A connected reader: detects disconnects, and can be woken.

    Under our own server its leaving is a callback; under another one a task waits for ASGI's message.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._wake: asyncio.Future[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self.direct = direct_of(request)
        self.gone = False
        if self.direct is None:
            self._watch = self._loop.create_task(self._watch_for_leaving())
        else:
            self.direct.gone = self._has_gone
            self.gone = self.direct.is_gone

    async def _watch_for_leaving(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._has_gone()

    def _has_gone(self) -> None:
        self.gone = True
        self.wake()

    def wake(self) -> None:
        """Let `wait` return."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def wait(self, deadline: float | None = None) -> None:
        """Wait to be woken, until `deadline` (the loop's time) at most."""
        if self.gone:
            return
        wake = self._wake = self._loop.create_future()
        timer = None if deadline is None else self._loop.call_at(deadline, self.wake)
        try:
            await wake
        finally:
            self._wake = None
            if timer is not None:
                timer.cancel()

    async def drain(self) -> None:
        """Wait until the client has taken what was sent, or nearly."""
        if self.direct is not None:
            await self.direct.drain()

    async def send(self, body: bytes) -> None:
        """Send a part of the body, waiting for the client where it is slow."""
        if self.direct is None or not self.direct.write(body):
            try:
                await self._request.send({"type": "http.response.body", "body": body, "more_body": True})
            except OSError:
                # ASGI 2.4: so a server says that the client has gone.
                self._has_gone()

    async def taken(self) -> bool:
        """Wait until the client's host has acknowledged all that was sent; return False if it does not, or has gone.

        A network may be gone long before anybody is told. Behind a proxy it is the proxy that acknowledges.
        """
        deadline, pause = self._loop.time() + _TAKEN, _FIRST_LOOK
        while self.direct is not None and self.direct.untaken:
            if self.gone or self._loop.time() >= deadline:
                return False
            await self.wait(self._loop.time() + pause)
            pause = min(pause * 2, 1.0)
        return not self.gone

    async def finish(self) -> None:
        """End the body properly."""
        await self._request.emit({"type": "http.response.body", "body": b""})

    async def abort(self) -> None:
        """Break the body off, so that nobody takes it for whole."""
        await break_off(self._request)

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()
        if self.direct is not None:
            self.direct.gone = None


class _EventFollower:
    """Writes a log's records as OpenAI events."""

    __slots__ = ("_client", "_live", "_log", "_now", "_quiet_since", "offset")

    def __init__(self, client: ReaderConnection, log: Log, offset: int) -> None:
        self._client = client
        self._log = log
        self._live: Direct | None = None  # where to write while the task waits
        self._now = asyncio.get_running_loop().time
        self._quiet_since = self._now()
        self.offset = offset

    def moved(self) -> None:
        """Take what was committed straight to the transport if it will have it; otherwise wake the task."""
        live = self._live
        if live is not None:
            log, offset = self._log, self.offset
            records = log.take(offset, _BATCH)
            if records and live.write(openai.encode(records, offset)):
                self.offset = offset = offset + len(records)
                self._quiet_since = self._now()
                if offset == log.tail and not log.closed:
                    return
        self._client.wake()

    async def run(self) -> bool:
        """Write until the log has ended or the client has gone; return whether the log's end was reached."""
        client, log = self._client, self._log
        while True:
            # Before anything is taken: of a reader that has stopped only what its transport holds is in memory.
            await client.drain()
            if client.gone:
                return False
            if body := await self._next():
                await client.send(body)
                self._quiet_since = self._now()
                continue
            if self.offset < log.tail:
                continue  # it has moved while it was read
            if log.closed:
                return True
            self._live = client.direct
            await client.wait(self._quiet_since + KEEP_ALIVE)
            self._live = None
            if self._now() - self._quiet_since >= KEEP_ALIVE:
                await client.send(openai.KEEP_ALIVE)
                self._quiet_since = self._now()

    async def _next(self) -> bytes:
        """Return the next records as events, or nothing if there are none yet."""
        records = self._log.take(self.offset, _BATCH)
        if records is None:
            records = await self._log.fetch(self.offset, _BATCH)
        if not records:
            return b""
        before, self.offset = self.offset, self.offset + len(records)
        return openai.encode(records, before)


async def greet(client: ReaderConnection, log: Log, offset: int) -> None:
    """Send a keep-alive as the first byte of an event stream that has nothing to send yet.

    Proxies such as Next.js's hold the head back until there is one, and the reader would know neither that it is
    connected nor, behind a POST, the stream's id.
    """
    if offset == log.tail and not log.closed:
        await client.send(openai.KEEP_ALIVE)


async def follow_events(client: ReaderConnection, log: Log, offset: int) -> None:
    """Write a log from `offset` on as OpenAI events, to its end; `[DONE]` if it was completed, and only then.

    The records of a response that did not complete end in its error, so nothing has to be added for it.
    """
    follower = _EventFollower(client, log, offset)
    log.subscribe(follower.moved)
    try:
        ended = await follower.run()
        if ended:
            if (log.info.result or {}).get("outcome") == "completed":
                await client.send(openai.DONE)
            await client.finish()
    finally:
        log.unsubscribe(follower.moved)
