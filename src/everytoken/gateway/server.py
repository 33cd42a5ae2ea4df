"""uvicorn, with a short cut from a plain call to the client's transport.

ASGI's `send` is a coroutine, so a chunk that arrives has to wake a task before it can go out. Served by the protocol
below, the application finds `everytoken.direct` among the scope's extensions and may write without that; under any
other ASGI server it does without.
"""

from __future__ import annotations

import fcntl
import re
import socket
import sys
import termios
from typing import TYPE_CHECKING, Any, Protocol

from everytoken.gateway.light import Flag, Queue
from everytoken.gateway.listener import GuardedProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from everytoken.journal import Log


__all__ = ["BUFFER", "EXTENSION", "Direct", "DirectProtocol", "direct_of", "release_direct"]

EXTENSION = "everytoken.direct"
# Bytes that may wait in a connection before its answer has to; the kernel's buffer comes on top. A reader that has
# stopped costs this and what was taken from the log at once, and there may be thousands.
BUFFER = 4 * 1024
_CHUNKED = (b"transfer-encoding", b"chunked")
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
_UNFIT = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # in a line of a head, whose names are ours or were parsed
_SO_NWRITE = 0x1024  # sys/socket.h of macOS; Python does not name it


class _Request(Protocol):
    scope: Any
    send: Any


class Direct:
    """The client's side of one request: write now, learn that it has gone, break the connection off."""

    __slots__ = ("_cycle", "flow", "gone", "log", "write_raw")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self.flow = cycle.flow
        self.write_raw = cycle.transport.write  # bytes of the connection, as they are
        self.gone: Callable[[], None] | None = None
        self.log: Log | None = None  # what is followed

    def serves(self, send: object) -> bool:
        """Whether `send` leads straight to this connection, with nothing in between that wants to see what is sent."""
        return send == self._cycle.send

    @property
    def is_over(self) -> bool:
        """Whether the answer has been sent in full."""
        return self._cycle.response_complete

    @property
    def is_chunked(self) -> bool:
        """Whether the body is sent in chunks (RFC 9112 section 7.1): `write` takes it."""
        return bool(self._cycle.chunked_encoding)

    @property
    def is_streaming(self) -> bool:
        """Whether a body without a known length has begun and not ended."""
        cycle = self._cycle
        return cycle.response_started and not cycle.response_complete and bool(cycle.chunked_encoding)

    def lose(self) -> None:
        """Record that the connection is gone."""
        # uvicorn tells only the newest request of a connection, which of pipelined ones is not the one being answered.
        if not self._cycle.response_complete:
            self._cycle.disconnected = True
        self._cycle.message_event.set()
        if self.gone is not None:
            self.gone()

    @property
    def is_gone(self) -> bool:
        """Whether the client has disconnected."""
        return self._cycle.disconnected or self._cycle.transport.is_closing()

    @property
    def untaken(self) -> int:
        """How many bytes of what was written the client's host has not acknowledged; 0 where the system does not tell."""
        transport = self._cycle.transport
        return transport.get_write_buffer_size() + _unacknowledged(transport.get_extra_info("socket"))

    def leave(self) -> None:
        """Have uvicorn know that the client has gone: the transport may be closing before it is told."""
        self._cycle.disconnected = True

    async def drain(self) -> None:
        """Wait until the client can be written to, or has gone."""
        if self.flow.write_paused:
            await self.flow.drain()

    def begin(self, head: Sequence[tuple[bytes, bytes]]) -> bool:
        """Write the head of a 200 whose body has no known length; False, with nothing written, where uvicorn has to.

        uvicorn searches each name and each value for what must not be in a head: 22 searches, where one does.
        """
        cycle = self._cycle
        if (
            self.flow.write_paused
            or cycle.disconnected
            or cycle.response_started
            or cycle.access_log
            or cycle.chunked_encoding is not None
            or not cycle.keep_alive
            or cycle.scope["method"] == "HEAD"
            or not _FRAMING.isdisjoint([name for name, _ in head])
        ):
            return False
        lines = [b"%b: %b" % line for line in (*cycle.default_headers, *head, _CHUNKED)]
        if _UNFIT.search(b"".join(lines)):
            return False
        cycle.response_started = cycle.chunked_encoding = True
        cycle.waiting_for_100_continue = False
        self.write_raw(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % b"\r\n".join(lines))
        return True

    def write(self, body: bytes) -> bool:
        """Write a part of a chunked body; False, with nothing written, when the client has to be waited for."""
        cycle = self._cycle
        if self.flow.write_paused or cycle.disconnected or not cycle.chunked_encoding:
            return False
        self.write_raw(b"%x\r\n%b\r\n" % (len(body), body))
        return True

    def abort(self) -> None:
        """Close the connection after what has been written, without ending the body: the client sees a break."""
        # To uvicorn it looks as if the client had gone, so it does not complain about a response without an end.
        self._cycle.disconnected = True
        self._cycle.transport.close()


def _unacknowledged(sock: socket.socket | None) -> int:
    """Return what the kernel still holds of what a TCP connection was given (Linux: SIOCOUTQ, macOS: SO_NWRITE)."""
    if sock is None or sock.fileno() < 0:
        return 0
    try:
        if sys.platform == "darwin":
            return sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE)
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0


class _UnknownLength(int):
    """How much of a body uvicorn is to expect when nobody knows: whatever comes is neither too much nor too little."""

    def __lt__(self, _other: int) -> bool:
        return False

    def __ne__(self, _other: object) -> bool:
        return False

    def __sub__(self, _other: int) -> _UnknownLength:
        return self

    __hash__ = int.__hash__


class DirectProtocol(GuardedProtocol):
    """uvicorn's own HTTP protocol, which offers `Direct` to the application."""

    __slots__ = ("directs",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """`args` and `kwargs` are uvicorn's."""
        super().__init__(*args, **kwargs)
        self.pipeline: Any = Queue()
        # Of the requests not answered yet: more than one where they are pipelined.
        self.directs: tuple[Direct, ...] = ()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin a connection, with a small buffer."""
        super().connection_made(transport)
        flow: Any = self.flow
        flow._is_writable_event = Flag(is_set=not flow.write_paused)  # noqa: SLF001  # uvicorn's, which is larger
        transport.set_write_buffer_limits(high=BUFFER)

    def on_headers_complete(self) -> None:
        """Begin a request, as uvicorn does; its task has not run yet."""
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is before:
            return  # refused, or continued after an upgrade that was ignored
        cycle: Any = self.cycle
        cycle.message_event = Flag()  # its task has not run yet
        direct = Direct(self.cycle)
        self.directs = (*(other for other in self.directs if not other.is_over), direct)
        scope: Any = self.scope
        scope["extensions"] = {EXTENSION: direct}
        if self.scope["http_version"] == "1.0":
            # uvicorn would send chunks, which HTTP/1.0 does not have (RFC 9112 section 6.1): the body of unknown length
            # ends with the connection, which uvicorn closes anyway.
            self.cycle.chunked_encoding = False
            self.cycle.expected_content_length = _UnknownLength()

    def break_off_streams(self) -> None:
        """Break off the answers that have begun and have no end: their readers come back elsewhere.

        What follows a log that has ended is about to end too.
        """
        for direct in self.directs:
            if direct.is_streaming and not (direct.log is not None and direct.log.closed):
                direct.abort()

    def told_gone(self) -> None:
        """Tell the application that the connection is gone."""
        for direct in self.directs:
            direct.lose()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the application at once."""
        super().connection_lost(exc)
        directs, self.directs = self.directs, ()
        for direct in directs:
            direct.lose()


def release_direct(request: _Request) -> None:
    """Take the direct path out of the scope of a request that has been served.

    Through it the scope refers to itself, so that all of the request would wait for the garbage collector.
    """
    extensions = request.scope.get("extensions")
    if extensions:
        extensions.pop(EXTENSION, None)


def direct_of(request: _Request) -> Direct | None:
    """Return the direct path to the client; None under another server, or with middleware in between."""
    direct: Direct | None = (request.scope.get("extensions") or {}).get(EXTENSION)
    return direct if direct is not None and direct.serves(request.send) else None
