"""One connection of the scripted upstream: reads requests and plays scripts."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import httptools

from everytoken.testing.steps import (
    CleanEnd,
    Close,
    Head,
    Repeat,
    Reset,
    Send,
    SendRaw,
    Stall,
    Status,
    Step,
    Wait,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

__all__ = ["Connection", "ReceivedRequest"]

_REASONS = {int(status): status.phrase for status in HTTPStatus}


@dataclass(eq=False)
class ReceivedRequest:
    """One request as received, and what happened to it."""

    method: str
    path: str
    """The request target, with the query."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    json: Any
    """The parsed body, or None if it is not JSON."""
    attempt: int | None = None
    """Number of the attempt, from 0; None if the request is not one."""
    text: str = ""
    """The complete text of the answer that this attempt would give."""
    fault: str | None = None
    """Name of its fault."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the script has ended."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the connection is gone, whichever side closed it."""


class Server(Protocol):
    """What a connection needs of its server."""

    sleep: Callable[[float], Awaitable[None]]

    def connected(self, connection: Connection) -> None:
        """Record a new connection."""

    def disconnected(self, connection: Connection) -> None:
        """Forget a lost connection."""

    def script_for(self, request: ReceivedRequest) -> Sequence[Step]:
        """Return the steps that answer `request`."""


class _RequestReader:
    """Collects what httptools parses into requests."""

    def __init__(self, received: Callable[[ReceivedRequest], None]) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self._received = received
        self.on_message_begin()

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", dict[str, str](), bytearray()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body = bytes(self._body)
        method, path = self.parser.get_method().decode(), self._url.decode("latin-1")
        self._received(ReceivedRequest(method, path, self._headers, body, _parsed(body)))


class Connection(asyncio.Protocol):
    """Reads requests and plays the script of each, one after the other."""

    task: asyncio.Task[None]

    def __init__(self, server: Server) -> None:
        self._server = server
        self._queue: asyncio.Queue[ReceivedRequest] = asyncio.Queue()
        self._requests: list[ReceivedRequest] = []
        self._reader = _RequestReader(self._received)
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the task that answers."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # Nothing is buffered in user space: when a Send is done, its bytes are in the kernel, and a Reset loses none of them.
        transport.set_write_buffer_limits(0)
        self.task = asyncio.get_running_loop().create_task(self._serve())
        self._server.connected(self)

    def data_received(self, data: bytes) -> None:
        """Continue reading the request; anything that is not HTTP gets a 400."""
        try:
            self._reader.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return
        except httptools.HttpParserError:
            self._transport.write(
                b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            )
            self._transport.close()

    def pause_writing(self) -> None:
        """Pause: the client does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Continue: everything has been written."""
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # the signature is asyncio's
        """Stop the task and wake whatever waits for the end."""
        for request in self._requests:
            request.closed.set()
        self.task.cancel()
        self._server.disconnected(self)

    @property
    def closing(self) -> bool:
        """Whether the connection is closed or about to be."""
        return self._transport.is_closing()

    def abort(self) -> None:
        """Drop the connection now."""
        self._transport.abort()

    def _received(self, request: ReceivedRequest) -> None:
        self._requests.append(request)
        self._queue.put_nowait(request)

    async def _serve(self) -> None:
        try:
            while not self._transport.is_closing():
                request = await self._queue.get()
                player = _Player(self, self._server.sleep)
                await player.play(self._server.script_for(request))
                request.answered.set()
                if not player.complete or request.headers.get("connection", "").lower() == "close":
                    break
        finally:
            self._transport.close()

    async def write(self, data: bytes) -> None:
        """Send bytes; return when they are written and the loop has run once, so that one write is one read."""
        self._transport.write(data)
        await self._writable.wait()
        await asyncio.sleep(0)

    def close(self, *, reset: bool = False) -> None:
        """Close the connection with a FIN, or with an RST."""
        if not reset:
            self._transport.close()
            return
        sock: socket.socket = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


class _Player:
    """Plays one script; `complete` tells whether the response was ended as its framing asks."""

    def __init__(self, connection: Connection, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._connection = connection
        self._sleep = sleep
        self._head: Head | None = None
        self._sent = 0
        self.complete = False

    async def play(self, steps: Iterable[Step]) -> None:
        for step in steps:
            if self._connection.closing:
                return
            await self._do(step)

    async def _do(self, step: Step) -> None:
        connection = self._connection
        match step:
            case Head():
                self._head = step
                await connection.write(_head_bytes(step))
            case Send(data):
                await self._send(data)
            case SendRaw(data):
                await connection.write(data)
            case Wait(seconds):
                await self._sleep(seconds)
            case Stall():
                await asyncio.get_running_loop().create_future()
            case Reset():
                connection.close(reset=True)
            case Close():
                connection.close()
            case CleanEnd():
                await self._end()
            case Status():
                await self.play(_status_steps(step))
            case Repeat(steps):
                while not connection.closing:
                    await self.play(steps)

    async def _send(self, data: bytes) -> None:
        if self._head is None:
            await self._do(Head())
        if self._head is not None and self._head.framing == "chunked" and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        else:
            self._sent += len(data)
        await self._connection.write(data)

    async def _end(self) -> None:
        head = self._head
        if head is None:
            await self._do(Head())
            await self._end()
        elif head.framing == "chunked":
            await self._connection.write(b"0\r\n\r\n")
            self.complete = True
        else:
            self.complete = head.framing == "length" and self._sent == head.length


def _head_bytes(head: Head) -> bytes:
    reason = _REASONS.get(head.status, "")  # some, such as Anthropic's 529, have none
    fields = [("Content-Type", head.content_type), *head.headers]
    if head.framing == "chunked":
        fields.append(("Transfer-Encoding", "chunked"))
    elif head.framing == "length":
        fields.append(("Content-Length", str(head.length)))
    else:
        fields.append(("Connection", "close"))
    lines = [f"HTTP/{head.version} {head.status} {reason}", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _status_steps(status: Status) -> list[Step]:
    headers = status.headers
    if status.retry_after is not None:
        headers = (*headers, ("Retry-After", str(status.retry_after)))
    head = Head(status.code, status.content_type, headers, "length", len(status.body))
    return [head, Send(status.body), CleanEnd()]
