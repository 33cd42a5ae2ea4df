"""What pulling the plug takes: a model server, gateways that can be killed, a moment to do it, and a plain HTTP client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from everytoken.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

T = TypeVar("T")

EVERYTOKEN = str(Path(sys.executable).with_name("everytoken"))
READY = 20.0  # seconds a gateway may take to start


class Upstream:
    """A model server whose answer follows from the prompt alone, one chunk every `pace` seconds."""

    def __init__(self, chunks: int, pace: float) -> None:
        self._chunks = chunks
        self._pace = pace
        self.answers = 0
        self.url = ""
        self._serving: set[asyncio.Task[None]] = set()

    def pieces(self, prompt: str) -> list[str]:
        words = random.Random(prompt)
        return [
            f" {words.choice(['é', '流', 'token', '👍🏽', 'ha'])}{number}" for number in range(self._chunks)
        ]

    def text(self, prompt: str) -> str:
        return "".join(self.pieces(prompt))

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await asyncio.sleep(0)  # for the transports to close

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                    if length is None:  # a question for its models
                        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                        continue
                    body = json.loads(await reader.readexactly(int(length.group(1))))
                    self.answers += 1
                    await self._answer(writer, body["messages"][-1]["content"])
        finally:
            writer.transport.abort()

    async def _answer(self, writer: asyncio.StreamWriter, prompt: str) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for number, piece in enumerate(self.pieces(prompt)):
            self._write(writer, self._chunk({"content": piece}, None))
            await writer.drain()
            await self.pause(number)
        self._write(writer, self._chunk({}, "stop"))
        self._write(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def pause(self, _number: int) -> None:
        """Wait after chunk `number`."""
        await asyncio.sleep(self._pace)

    @staticmethod
    def _chunk(delta: dict[str, str], reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk = {
            "id": "chatcmpl-plug",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "plug",
            "choices": [choice],
        }
        return b"data: %b\n\n" % json.dumps(chunk).encode()

    @staticmethod
    def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that have not ended."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if listed.exists():
        found = listed.read_text(encoding="ascii").split()
    else:
        done = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
        found = done.stdout.split()
    return [int(child) for child in found if is_running(int(child))]


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it has not ended; nobody may have asked for its status yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return state.rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        asked = ["ps", "-o", "stat=", "-p", str(pid)]
        told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        return bool(told) and not told.startswith("Z")


class Node:
    """One gateway process, always on the same port."""

    def __init__(self, *options: str, before: Sequence[str] = ()) -> None:
        """`before`: a command that becomes the gateway, elsewhere."""
        self._options = options
        self._before = before
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._before,
            EVERYTOKEN,
            "serve",
            "--port",
            str(self._port),
            "--log-level",
            "error",
            *self._options,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(READY):
            line = (await self._process.stdout.readline()).decode()
        found = re.search(r"http://\S+", line)
        assert found is not None, f"the gateway did not start: {line!r}"
        self.url = found.group()
        self._port = urlsplit(self.url).port or 0

    async def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGKILL:
            await self._process.wait()

    @property
    def workers(self) -> list[int]:
        """The process ids of its workers, if it is started with several."""
        assert self._process is not None
        return children(self._process.pid)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


class Progress:
    """How many records all readers together have got; who waits for a number is woken by it."""

    def __init__(self) -> None:
        self._records = 0
        self._moved = asyncio.Event()

    def add(self) -> None:
        self._records += 1
        self._moved.set()

    async def reach(self, records: float) -> None:
        while self._records < records:
            self._moved.clear()
            await self._moved.wait()


async def request(
    url: str, method: str, path: str, headers: dict[str, str], body: object
) -> AsyncGenerator[dict[str, str] | tuple[str, str], None]:
    """Yield the head of the answer, then its events. Raises when it breaks off."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        data = json.dumps(body).encode() if body is not None else b""
        lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data)
        status, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        head = {
            name.lower(): value.strip()
            for name, _, value in (field.partition(":") for field in fields)
            if value
        }
        yield {":status": status.split()[1], **head}
        decoder = SSEDecoder()
        while True:
            size = int(await reader.readuntil(b"\r\n"), 16)
            piece = await reader.readexactly(size + 2)
            for event in decoder.receive_data(piece[:-2]):
                yield event.data, event.id
            if not size:
                return
    finally:
        writer.close()
        with contextlib.suppress(OSError):  # how it ended is known
            await writer.wait_closed()


class Plug(NamedTuple):
    """Gateways and the way in which one of them dies."""

    alive: Callable[[], list[str]]
    """The URLs of those that can be asked now."""
    kill: Callable[[random.Random], Awaitable[None]]


@asynccontextmanager
async def one_started_again(*options: str) -> AsyncIterator[Plug]:
    """Run one gateway, which is started again after it has been killed."""
    node = Node(*options)

    async def kill(_: random.Random) -> None:
        await node.kill()
        await node.start()

    try:
        await node.start()
        yield Plug(lambda: [node.url], kill)
    finally:
        await node.kill()


@asynccontextmanager
async def two_of_which_one_dies(*options: str) -> AsyncIterator[Plug]:
    """Run two gateways over one journal; the one that is killed stays dead."""
    nodes = [Node(*options) for _ in range(2)]
    living = list(nodes)

    async def kill(rng: random.Random) -> None:
        dead = rng.choice(nodes)
        living.remove(dead)
        await dead.kill()

    try:
        await asyncio.gather(*(node.start() for node in nodes))
        yield Plug(lambda: [node.url for node in living], kill)
    finally:
        await asyncio.gather(*(node.kill() for node in nodes))


@asynccontextmanager
async def workers_that_die(count: int, *options: str) -> AsyncIterator[Plug]:
    """Run one gateway of several workers; one that is killed is started again by the gateway itself."""
    node = Node("--workers", str(count), *options)

    async def kill(rng: random.Random) -> None:
        os.kill(rng.choice(node.workers), signal.SIGKILL)

    try:
        await node.start()
        yield Plug(lambda: [node.url], kill)
    finally:
        await node.kill()


async def struck(
    readers: Sequence[asyncio.Task[T]],
    progress: Progress,
    records: float,
    *,
    kills: int,
    kill: Callable[[random.Random], Awaitable[None]],
    rng: random.Random,
) -> list[T | BaseException]:
    """Let `kill` strike `kills` times, whenever a random share of all `records` has been read. Return what was read."""

    async def strike() -> None:
        for share in sorted(rng.uniform(0.02, 0.95) for _ in range(kills)):
            await progress.reach(share * records)
            await kill(rng)

    striking = asyncio.create_task(strike())
    try:
        results = await asyncio.gather(*readers, return_exceptions=True)
        await striking
    finally:
        striking.cancel()
    return results
