"""A TCP proxy that cuts the way back to a client after so many bytes, properly or by a reset, or when it is told to.

What to do stands in the query of a request: `cut=HOW-AT-NTH-NUMBER`, where HOW is `fin` or `rst`, AT the bytes of the
answer, its head included, that still get through, and NUMBER makes it unique: only the NTH request with it, counted from
0, is cut, so that a reader may come back under the same URL.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CLOSE = b"connection: close\r\n"
_CUT = re.compile(rb"cut=(fin|rst)-(\d+)-(\d+)-[\w-]+")
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, no time
# Readers wait seconds before they come back, unless they are told otherwise: a chunk of its own, before the first.
_AT_ONCE = b"b\r\nretry: 10\n\n\r\n"


class CuttingProxy:
    """Between clients and one port."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.port = 0
        self._seen: Counter[bytes] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def cut(self, how: str) -> None:
        """End every answer that is under way: `rst`, or `fin`, after which its HTTP is in perfect order."""
        for task, writer in self._open.items():
            if how == "rst":
                _will_reset(writer)
            else:
                writer.write(b"0\r\n\r\n")
            task.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._open[task] = writer
        try:
            await self._exchange(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # nobody waits for this task, and the streams of 3.11 complain of one that was cancelled
        finally:
            del self._open[task]
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else b""
        found = _CUT.search(head)
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            # One answer for each connection, so that what is cut is what was asked for.
            back.write(
                re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)[:-2] + b"Connection: close\r\n\r\n" + body
            )
            # Node takes an answer with `Connection: close` for whole wherever it ends: that is what a proper end is here.
            answer = _answer(
                there, reader=head.startswith(b"GET"), keep=found is not None and found[1] == b"fin"
            )
            left = float("inf")
            if found is not None:
                self._seen[found[0]] += 1
                if self._seen[found[0]] == int(found[3]) + 1:
                    left = int(found[2])
            async for piece in answer:
                writer.write(piece[: int(min(left, len(piece)))])
                await writer.drain()
                left -= len(piece)
                if left <= 0:
                    break
            if left <= 0 and found is not None and found[1] == b"rst":
                _will_reset(writer)
            else:
                writer.close()
                await writer.wait_closed()
        finally:
            back.transport.abort()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _will_reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


async def _answer(there: asyncio.StreamReader, *, reader: bool, keep: bool) -> AsyncIterator[bytes]:
    head = await there.readuntil(b"\r\n\r\n")
    yield head if keep else head.replace(CLOSE, b"")
    if reader and b"event-stream" in head:
        yield _AT_ONCE
    while piece := await there.read(1 << 16):
        yield piece


@asynccontextmanager
async def cutting(port: int) -> AsyncIterator[CuttingProxy]:
    """Start a proxy in front of a port."""
    proxy = CuttingProxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=1 << 20)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()
        await server.wait_closed()
