"""Send a stream's records to one client in any output format, as they are committed: the reader's half of the hot path.

A reader pulls: it costs an offset, not memory. When the client does not keep up, nothing is taken from the log until
it does.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

from everytoken.errors import StreamNotFoundError
from everytoken.formats import anthropic, openai
from everytoken.gateway.http import break_off
from everytoken.gateway.server import direct_of
from everytoken.native import parts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from everytoken.formats.output import OutputFormat
    from everytoken.gateway.http import Request
    from everytoken.gateway.server import Direct
    from everytoken.journal import Log

__all__ = ["KEEP_ALIVE", "Follower", "ReaderConnection", "follow"]

KEEP_ALIVE = 15.0  # seconds; proxies commonly give up on a silent connection after 60
_TAKEN = 15.0  # seconds in which a host acknowledges, on the slowest of links that still lives
# The formats that are written in C, too: whether they have ids, and names.
_KNOWN: dict[Callable[[Sequence[bytes], int], bytes], tuple[bool, bool]] = {
    openai.encode: (True, False),
    openai.encode_without_ids: (False, False),
    anthropic.encode: (True, True),
    anthropic.encode_without_ids: (False, True),
}
_FIRST_LOOK = 0.005  # seconds from one look to the next, doubled each time


class ReaderConnection:
    """A connected reader: detects disconnects, and can be woken.

    Under our own server its leaving is a callback; under another one a task waits for ASGI's message.
    """

    __slots__ = ("_loop", "_request", "_wake", "_watch", "direct", "gone")

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

    async def finish(self, last: bytes = b"") -> None:
        """End the body properly, with these bytes of it."""
        await self._request.emit({"type": "http.response.body", "body": last})

    async def abort(self) -> None:
        """Break the body off, so that nobody takes it for whole."""
        await break_off(self._request)

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.cancel()
        if self.direct is not None:
            self.direct.gone = None


class Follower:
    """Writes a log's records to one reader in an output format.

    A task waits, and sends what the reader has to be waited for. While it waits, what is committed goes straight from
    the commit to the transport.
    """

    __slots__ = (
        "_begun",
        "_client",
        "_failure",
        "_format",
        "_live",
        "_log",
        "_now",
        "_push",
        "_quiet_since",
        "_until",
        "offset",
    )

    def __init__(self, client: ReaderConnection, log: Log, output: OutputFormat, offset: int = 0) -> None:
        self._client = client
        self._log = log
        self._format = output
        self._push = output.push
        self._live: Direct | None = None  # where to write while the task waits
        self._until = inf  # when the task looks again, in the loop's time
        self._failure: Exception | None = None  # of the short path, for the task to raise
        self._begun = False
        self._now = asyncio.get_running_loop().time
        self._quiet_since = self._now()
        self.offset = offset

    def moved(self) -> None:
        """Take what was committed straight to the transport if it will have it; otherwise wake the task."""
        live = self._live
        if live is not None and not (live.flow.write_paused or self._client.gone):
            log, offset, output = self._log, self.offset, self._format
            try:
                records = log.take(offset, output.batch)
                if records:
                    body = self._push(records, offset)
                    self.offset = offset = offset + len(records)
                    if (due := output.due) is not None:
                        body += output.tick(self._now())
                        due = output.due
                    if body:
                        # As `Direct.write` does, without its frame: this is for every chunk.
                        live.write_raw(b"%x\r\n%b\r\n" % (len(body), body))
                        self._quiet_since = self._now()
                    if offset == log.tail and not log.closed and (due is None or due >= self._until):
                        return
            except Exception as error:  # noqa: BLE001  # it is the task's to raise: the journal must not see it
                self._live, self._failure = None, error
        self._client.wake()

    async def run(self) -> bool:
        """Write until the log has ended or the client has gone; return whether the log's end was reached.

        Raises `StreamNotFoundError` when the stream is deleted, `JournalUnavailableError`, and whatever the format does.
        """
        moved = self._mover()
        if self._client.direct is not None:
            self._client.direct.log = self._log
        client, log, output = self._client, self._log, self._format
        log.subscribe(moved)
        try:
            while True:
                # Before anything is taken: of a reader that has stopped only what its transport holds is in memory.
                await client.drain()
                if client.gone:
                    return False
                body = await self._next()
                if body is not None:
                    await self._send(body)
                    continue
                if self.offset < log.tail:
                    continue  # it has moved while it was read
                if log.closed:
                    return True
                if log.deleted:
                    raise StreamNotFoundError("the stream was deleted")
                if not self._begun:
                    self._begun = True
                    await self._send(output.begin())
                    continue
                # Until the task is needed, or a tick or a sign of life is due; here, for the frame of a call would be there
                # for as long as the response.
                await client.wait(self._waits())
                self._live = None
                quiet = self._now() - self._quiet_since
                if output.keep_alive and quiet >= KEEP_ALIVE and not client.gone:
                    await self._send(output.keep_alive)
        finally:
            log.unsubscribe(moved)

    def _mover(self) -> Callable[[], None]:
        """Return what does as `moved`: in C, where that knows the format."""
        known = _KNOWN.get(self._push)
        mover = parts.mover(self, *known) if parts.mover is not None and known is not None else None
        return mover or self.moved

    async def _next(self) -> bytes | None:
        """Return what comes next, which may be nothing to send; None when there is nothing to do."""
        if self._failure is not None:
            raise self._failure
        output = self._format
        if self._is_due():
            body = output.tick(self._now())
            if self._is_due():
                await asyncio.sleep(0)  # the others' turn
            return body
        records = self._log.take(self.offset, output.batch)
        if records is None:
            records = await self._log.fetch(self.offset, output.batch)
        if not records:
            return None
        before, self.offset = self.offset, self.offset + len(records)
        return self._push(records, before)

    def _is_due(self) -> bool:
        due = self._format.due
        return due is not None and due <= self._now()

    async def _send(self, body: bytes) -> None:
        if body:
            self._begun = True
            await self._client.send(body)
            self._quiet_since = self._now()

    def _waits(self) -> float | None:
        """Let what is committed go straight to the transport, and return until when to wait; None without a limit."""
        output = self._format
        self._until = inf if output.due is None else output.due
        if output.keep_alive:
            self._until = min(self._until, self._quiet_since + KEEP_ALIVE)
        direct = self._client.direct
        self._live = direct if direct is not None and direct.is_chunked else None
        return None if self._until == inf else self._until


async def follow(
    client: ReaderConnection,
    log: Log,
    output: OutputFormat,
    offset: int = 0,
    *,
    delivered: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Write a log from `offset` on in an output format, to its end, and end the body.

    `delivered` is awaited once the client's host has acknowledged all but the format's last bytes. Raises as
    `Follower.run` does.
    """
    if not await Follower(client, log, output, offset).run():
        return
    ending = output.end(log.info.result or {})
    for write in filter(None, ending.writes):
        await client.send(write)
    if delivered is not None and await client.taken():
        await delivered()
    if ending.clean:
        await client.finish(ending.last)
        return
    if ending.last:
        await client.send(ending.last)
    await client.abort()
