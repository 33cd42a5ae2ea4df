"""Many readers of one response in one process, to be stopped and woken; run as a program.

`stopped_readers.py URL COUNT EXPECTED` prints `reading` when every reader has got something, and in the end what was
not as it is in the file EXPECTED, which is written while the readers are stopped. One in ten reads to the end.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

END = b"\r\n"
ENOUGH = 1024 * 1024  # bytes that nine of ten readers are content with
PATIENCE = 60.0  # seconds for all of it


class Readers:
    """All readers of this process."""

    def __init__(self, count: int, expected: Path) -> None:
        self._count = count
        self._file = expected
        self._began = 0
        self._body: memoryview | None = None
        self._ended = 0
        self.wrong: list[str] = []
        self.over = asyncio.Event()

    @property
    def expected(self) -> memoryview | None:
        if self._body is None and self._file.exists():
            self._body = memoryview(self._file.read_bytes())
        return self._body

    def began(self) -> None:
        self._began += 1
        if self._began == self._count:
            say("reading")

    def ended(self, problem: str | None) -> None:
        self._ended += 1
        if problem is not None:
            self.wrong.append(problem)
        if self._ended == self._count:
            self.over.set()


class Reader(asyncio.Protocol):
    """Compares what comes with what is expected, byte for byte."""

    def __init__(self, readers: Readers, request: bytes, enough: int | None) -> None:
        self._readers = readers
        self._enough = enough  # bytes after which it leaves; None: it reads to the end
        self._request = request
        self._rest = b""
        self._in_body = False
        self._early = bytearray()  # what came before it was known what to expect
        self._chunk = 0  # bytes of the present chunk, its end included, that have not come yet
        self._position = 0
        self._over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        self._rest = b""
        at = 0
        if not self._in_body:
            head = data.find(END * 2)
            if head < 0:
                self._rest = data
                return
            if not data.startswith(b"HTTP/1.1 200 "):
                self._end(f"{data[:200]!r}")
                return
            self._in_body, at = True, head + 4
        view = memoryview(data)
        while at < len(data) and not self._over:
            if not self._chunk:
                line = data.find(END, at)
                if line < 0:
                    self._rest = data[at:]
                    return
                size, at = int(data[at:line], 16), line + 2
                if not size:
                    self._finish()
                    return
                self._chunk = size + 2
            # The chunk's own two last bytes are not the body's.
            self._take(view[at : at + max(0, min(self._chunk - 2, len(data) - at))])
            step = min(self._chunk, len(data) - at)
            self._chunk -= step
            at += step

    def _take(self, body: memoryview) -> None:
        if not body:
            return
        expected = self._readers.expected
        if expected is None:
            if not self._early:
                self._readers.began()
            self._early += body
            return
        if self._early:
            early, self._early = self._early, bytearray()
            self._compare(expected, memoryview(early))
        self._compare(expected, body)

    def _compare(self, expected: memoryview, body: memoryview) -> None:
        until = self._position + len(body)
        if bytes(expected[self._position : until]) != bytes(body):
            self._end(f"not the expected bytes between {self._position} and {until}")
            return
        self._position = until
        if self._enough is not None and until >= self._enough:
            self._end(None)

    def _finish(self) -> None:
        expected = self._readers.expected
        complete = expected is not None and self._position == len(expected)
        self._end(None if complete else f"ended at {self._position}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"broken off at {self._position}: {exc}")

    def _end(self, problem: str | None) -> None:
        if not self._over:
            self._over = True
            self._readers.ended(problem)
            self._transport.close()


def say(what: str) -> None:
    print(what, flush=True)  # noqa: T201


async def read(url: str, count: int, expected: Path) -> None:
    loop = asyncio.get_running_loop()
    target = urlsplit(url)
    request = f"GET {target.path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    readers = Readers(count, expected)
    async with asyncio.timeout(PATIENCE):
        for number in range(count):
            reader = Reader(readers, request, None if number % 10 == 0 else ENOUGH)
            await loop.create_connection(lambda reader=reader: reader, target.hostname, target.port)
        await readers.over.wait()
    say("; ".join(readers.wrong[:3]) or "exact")


if __name__ == "__main__":
    gc.disable()
    uvloop.run(read(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
