"""The line between a worker and the process that has started it: messages as JSON, one a line, over a pair of sockets.

Each end may tell the other something, or ask and wait for the answer. When a process dies its end is closed, however it
died, so that the other one knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

__all__ = ["Peer", "PeerGoneError"]

logger = logging.getLogger("everytoken.serve")

_LONGEST = 64 * 1024 * 1024  # bytes of a message: an entry for each of thousands of responses


class PeerGoneError(Exception):
    """The other end is gone."""


class _Message(msgspec.Struct, omit_defaults=True):
    """A question or an answer, if it has a number; otherwise something that is told."""

    kind: str = ""
    value: Any = None
    number: int = 0
    failed: bool = False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Message).decode


class Peer:
    """One end. `handle(kind, value)` is awaited with what the other end tells or asks; what it returns is the answer."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handle: Callable[[str, Any], Awaitable[Any]],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handle = handle
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def over(cls, sock: socket.socket, handle: Callable[[str, Any], Awaitable[Any]]) -> Peer:
        """Return the end that has this socket."""
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=_LONGEST)
        return cls(reader, writer, handle)

    def tell(self, kind: str, value: Any = None) -> None:
        """Tell the other end something; if it is gone nobody listens."""
        self._send(_Message(kind, value))

    async def ask(self, kind: str, value: Any = None) -> Any:
        """Return what the other end answers. Raises `PeerGoneError`, also if it could not."""
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._send(_Message(kind, value, number))
            return await answer
        finally:
            self._asked.pop(number, None)

    async def serve(self) -> None:
        """Handle what comes, until the other end is gone."""
        try:
            while line := await self._read():
                self._take(_decode(line))
        except Exception:  # a line that cannot be read ends; whose line it is goes on
            logger.exception("a worker's messages cannot be read")
        finally:
            for answer in self._asked.values():
                if not answer.done():
                    answer.set_exception(PeerGoneError)
            self.close()

    def close(self) -> None:
        """Hang up."""
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(OSError):
            self._writer.close()

    async def _read(self) -> bytes:
        try:
            return await self._reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""  # what was not written to its end is no message

    def _take(self, message: _Message) -> None:
        if message.number and not message.kind:
            answer = self._asked.get(message.number)
            if answer is not None and not answer.done():
                if message.failed:
                    answer.set_exception(PeerGoneError)
                else:
                    answer.set_result(message.value)
            return
        task = asyncio.get_running_loop().create_task(self._serve(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, message: _Message) -> None:
        reply = _Message(number=message.number)
        try:
            reply.value = await self._handle(message.kind, message.value)
        except Exception:  # one message must not end the line
            logger.exception("a worker's message cannot be handled: %s", message.kind[:100])
            reply.failed = True
        if message.number:
            self._send(reply)

    def _send(self, message: _Message) -> None:
        if not self._writer.is_closing():
            self._writer.write(_encode(message) + b"\n")
