"""The path of one chunk: from the upstream's connection to the reader's transport, all calls in our own code."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import everytoken
from everytoken.gateway import UpstreamConfig
from everytoken.native import parts
from gateway_serving import HELLO, Wire, event, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import FrameType

ROOT = Path(everytoken.__file__).parent
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Upstream:
    """A server that takes one request and sends what the test says."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.writer: asyncio.StreamWriter = None  # type: ignore[assignment]  # until it is asked

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        self.writer = writer
        self.asked.set()

    def send(self, data: bytes) -> None:
        """Send `data` as one HTTP chunk in one write, which the gateway has in one read."""
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            self.writer.close()
            server.close()
            await server.wait_closed()


def ours(frame: FrameType) -> str:
    """Return the file of a frame in our package, from there; else ""."""
    path = Path(frame.f_code.co_filename)
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""


def outermost(frame: FrameType) -> str:
    """Return the file of the first call that was made of our package."""
    found = ours(frame)
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        found = ours(frame) or found
    return found


class Calls:
    """The calls of functions in `src/everytoken`, of all threads, while it is entered; each with what it began with."""

    def __init__(self) -> None:
        self.made: list[tuple[str, tuple[str, str]]] = []

    def _note(self, frame: FrameType, what: str, _: Any) -> None:
        if what == "call" and (path := ours(frame)):
            self.made.append((outermost(frame), (path, frame.f_code.co_qualname)))

    def __enter__(self) -> Self:
        self._before = sys.getprofile()
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)
        threading.setprofile(None)  # type: ignore[arg-type]  # typeshed does not know that it can be taken back


async def calls_of_one_chunk(journal: Any, *, short: bool = False) -> list[tuple[str, str]]:
    """Return the calls that a chunk in the middle of a response costs, with this one open and one reader.

    `short`: with the parts in C, which calls of Python do not show.
    """
    before = parts.short_path is not None
    parts.use(wanted=short)
    try:
        return await _calls_of_one_chunk(journal)
    finally:
        parts.use(wanted=before)


async def _calls_of_one_chunk(journal: Any) -> list[tuple[str, str]]:
    upstream = Upstream()
    async with (
        upstream.listening() as url,
        serving(UpstreamConfig(name="local", url=url), kept_in=journal) as gateway,
        Wire.to(gateway.port) as wire,
    ):
        wire.send("POST", "/v1/chat/completions", HELLO)
        await upstream.asked.wait()
        upstream.send(event("Hello"))
        await wire.head()
        await wire.frame()
        counted = []
        for number in range(20):
            calls = Calls()
            with calls:
                upstream.send(event(f" word {number}"))
                frame = await wire.frame()
                for _ in range(5):  # what follows the write is a part of it
                    await asyncio.sleep(0)
            assert frame is not None
            assert (
                json.loads(frame[6:].partition(b"\n")[0])["choices"][0]["delta"]["content"]
                == f" word {number}"
            )
            counted.append(calls.made)
        upstream.send(event(finish="stop") + b"data: [DONE]\n\n")
        while await wire.frame() is not None:
            pass
    steady = counted[5:]  # the first few find out what the records have in common
    # What does not begin with every chunk runs by the clock, or is still on its way up: on a busy machine it may come
    # between.
    of_each = set.intersection(*({beginning for beginning, _ in made} for made in steady))
    paths = [[call for beginning, call in made if beginning in of_each] for made in steady]
    # The same function may begin for another reason, too: in some chunk a timer's commit comes between. Most have none.
    path, times = Counter(map(tuple, paths)).most_common(1)[0]
    assert times > len(paths) / 2, paths
    return list(path)
