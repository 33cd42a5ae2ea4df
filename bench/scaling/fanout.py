"""One response and many readers. Run as a process of its own: URL, readers, chunks, ms between two chunks.

Prints `{"wrong": N}`: how many readers have not got every chunk, in order, and the end.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import cast
from urllib.parse import urlsplit

import uvloop

from bench.chunks import DONE, KEY, STAMP, Order, request_body

_LOCATION = re.compile(rb"\r\nlocation: ([^\r]+)", re.IGNORECASE)


class Reader(asyncio.Protocol):
    """Reads one body, and remembers the numbers of the chunks that came."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._data = bytearray()
        self.location = asyncio.get_running_loop().create_future()
        self.over = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self.location.done() and b"\r\n\r\n" in self._data:
            found = _LOCATION.search(self._data)
            self.location.set_result(found[1].decode() if found else "")
        if data.endswith((b"0\r\n\r\n",)):
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # what came is looked at
        self.over.set()

    def has(self, chunks: int) -> bool:
        """Whether everything has come, once and in order."""
        numbers = [int(match[2]) for match in STAMP.finditer(self._data)]
        return numbers == list(range(chunks)) and DONE.strip() in self._data


async def read(url: str, readers: int, chunks: int, interval: int) -> int:
    """Return how many readers have not got all."""
    target = urlsplit(url)
    loop = asyncio.get_running_loop()
    common = f"Host: {target.netloc}\r\nAuthorization: Bearer {KEY}\r\n"
    body = request_body(Order(0, chunks, interval, hold=False))
    first = (
        f"POST /v1/chat/completions HTTP/1.1\r\n{common}Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    requests = [first.encode() + body]
    found: list[Reader] = []
    async with asyncio.timeout(90):
        for number in range(readers):
            if number == 1:
                location = await found[0].location
                requests.append(f"GET {location}/events HTTP/1.1\r\n{common}\r\n".encode())
            _, reader = await loop.create_connection(
                lambda: Reader(requests[-1]), str(target.hostname), target.port or 80
            )
            found.append(reader)
        for reader in found:
            await reader.over.wait()
    return sum(not reader.has(chunks) for reader in found)


if __name__ == "__main__":
    given = sys.argv[1], *map(int, sys.argv[2:5])
    json.dump({"wrong": uvloop.run(read(*given))}, sys.stdout)
