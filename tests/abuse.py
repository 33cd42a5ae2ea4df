"""Mixed abuse of one gateway process on SQLite, beside honest readers that must notice nothing.

Used by the tests for seconds and by `make soak` (`python tests/abuse.py`) for minutes. In a long run a warm-up of the same
kind comes first; the gateway's memory is measured when it is idle after that, and when it is idle in the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import plug
from everytoken.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

GROWTH = 1.2  # how much larger the gateway may be in the end
WARM = 120.0  # seconds until its caches are full, and what is old is removed; a shorter run does not measure memory
BOUND = 60.0  # seconds an honest answer may take beyond its own pace, on a machine that is busy
FLOOD = 4 * 1024 * 1024  # bytes of comments or empty events that an upstream sends at most
PULSE = 10.0  # seconds between two chunks of a response that stays open
BEGUN = 250  # open streams that are begun in a second
OTHER_FILES = 2000  # descriptors that are not for open streams
TELL = 10.0  # seconds between two lines of progress
LOOK = 0.25  # seconds between two looks at /readyz
GAP = 1.0  # seconds between two pieces of abuse by the same hand: the load is odd, not high
CONFIG = """
grace = 1
drain = 1
retention = 30
max_journal = 268435456

[policy]
content_gap = 60
attempts = 1
"""
Ended = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError)


class Upstream(plug.Upstream):
    """A model server that answers exactly, floods, or never comes to an end, as the prompt says."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            asyncio.CancelledError
        ):  # it is stopped; what is open sleeps, and sees no end
            await super()._serve(reader, writer)

    async def _answer(self, writer: asyncio.StreamWriter, prompt: str) -> None:
        kind = prompt.partition("-")[0]
        if kind == "honest":
            await super()._answer(writer, prompt)
            return
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        self._write(writer, self._chunk({"content": "begun"}, None))
        if kind == "open":
            for _ in itertools.count():
                pause = PULSE * random.uniform(0.5, 1)
                await asyncio.sleep(pause)
                self._write(writer, self._chunk({"content": " on"}, None))
                await writer.drain()
        data = {"comments": b": \n" * 8192, "empty": self._chunk({}, None) * 128, "blank": b"\n" * 32768}[
            kind
        ]
        for _ in range(FLOOD // len(data)):
            self._write(writer, data)
            await writer.drain()
        self._write(writer, self._chunk({}, "stop") + b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()


class Gateway(plug.Node):
    """The gateway that is abused."""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    @property
    def memory(self) -> int:
        """How many bytes of memory it has (Linux)."""
        assert self._process is not None
        pages = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * resource.getpagesize()


@dataclass
class Shape:
    """How much of everything there is, in seconds and connections."""

    seconds: float = 600.0
    readers: int = 50
    streams: int = 5000
    slow: int = 50
    hands: int = 2  # that do each other kind of abuse


def head(method: str, path: str, port: int, length: int = 0, more: str = "") -> bytes:
    lines = f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n{more}"
    return f"{lines}content-length: {length}\r\n\r\n".encode()


def question(prompt: str) -> bytes:
    return json.dumps(
        {"model": "plug", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    ).encode()


class Soak:
    """One run. `problems` says what is wrong; the run ends with the first."""

    def __init__(self, gateway: Gateway, upstream: Upstream, shape: Shape) -> None:
        self._gateway = gateway
        self._upstream = upstream
        self._shape = shape
        self._numbers = itertools.count()
        self._failed = asyncio.Event()
        self.problems: list[str] = []
        self.done: Counter[str] = Counter()
        self.open = 0

    def _wrong(self, what: str) -> None:
        self.problems.append(what)
        self._failed.set()

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._gateway.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def _whole(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send a request and read the whole answer. Raises when it breaks off."""
        async with self._connected() as (reader, writer):
            writer.write(request)
            return await self._answer(reader)

    @staticmethod
    async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if "content-length" in fields:
            return int(first.split()[1]), fields, await reader.readexactly(int(fields["content-length"]))
        pieces = []
        while fields.get("transfer-encoding") == "chunked":
            size = int(await reader.readuntil(b"\r\n"), 16)
            pieces.append((await reader.readexactly(size + 2))[:-2])
            if not size:
                break
        return int(first.split()[1]), fields, b"".join(pieces)

    # Those that must notice nothing.

    async def _honest(self) -> None:
        """Ask, and get the exact text with its end; now and then read it again from the journal."""
        prompt = f"honest-{next(self._numbers)}"
        body = question(prompt)
        try:
            async with asyncio.timeout(BOUND):
                request = head("POST", "/v1/chat/completions", self._gateway.port, len(body)) + body
                status, fields, whole = await self._whole(request)
                if status != 200:
                    self._wrong(f"{prompt}: status {status}: {whole[:200]!r}")
                    return
                self._compare(prompt, whole)
                if random.random() < 0.2:
                    path = f"{fields['location']}/events?offset=-1"
                    status, _, again = await self._whole(head("GET", path, self._gateway.port))
                    if (status, again) != (200, whole):
                        self._wrong(f"{prompt}: read again it is another: {status}")
        except Ended as error:
            self._wrong(f"{prompt}: {type(error).__name__}: {error}")
        self.done["exact"] += 1

    def _compare(self, prompt: str, body: bytes) -> None:
        events = [event for event in SSEDecoder().receive_data(body) if event.data]
        text, ids = "", []
        for event in events[:-1]:
            ids.append(int(event.id))
            text += json.loads(event.data)["choices"][0]["delta"].get("content") or ""
        if not events or events[-1].data != "[DONE]":
            self._wrong(f"{prompt}: it ends in {body[-200:]!r}")
        elif text != self._upstream.text(prompt) or ids != list(range(1, len(ids) + 1)):
            self._wrong(f"{prompt}: {len(text)} characters in {len(ids)} records, not the text")

    async def _ready(self) -> None:
        status, _, body = 0, {}, b""
        with contextlib.suppress(*Ended):
            async with asyncio.timeout(BOUND):
                status, _, body = await self._whole(head("GET", "/readyz", self._gateway.port))
        if status != 200:
            self._wrong(f"/readyz: {status or 'no answer'} {body[:200]!r}")
        await asyncio.sleep(LOOK)

    async def _stay(self, wait: float) -> None:
        """Hold a response open; it must not end."""
        await asyncio.sleep(wait)
        body = question(f"open-{next(self._numbers)}")
        with contextlib.suppress(*Ended):
            async with self._connected() as (reader, writer):
                writer.write(head("POST", "/v1/chat/completions", self._gateway.port, len(body)) + body)
                if b" 200 " in await reader.readuntil(b"\r\n\r\n"):
                    self.open += 1
                    try:
                        while await reader.read(65536):
                            pass
                    finally:
                        self.open -= 1
        self._wrong("a response that stays open has ended")

    # Those that do all of this on purpose.

    async def _slow_head(self) -> None:
        async with self._connected() as (reader, writer):
            closed = asyncio.ensure_future(reader.read())
            try:
                for byte in head("GET", "/healthz", self._gateway.port, more="x-slow: 1\r\n" * 20):
                    writer.write(bytes([byte]))
                    await asyncio.wait([closed], timeout=LOOK)
                    if closed.done():
                        break
            finally:
                closed.cancel()
                await asyncio.gather(closed, return_exceptions=True)

    async def _endless_headers(self) -> None:
        async with self._connected() as (_, writer):
            writer.write(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n")
            for _ in range(512):  # 8 MiB
                writer.write(b"x-more: 0123456789abcdef0123456789abcdef0123456789abcdef\r\n" * 256)
                async with asyncio.timeout(BOUND):
                    await writer.drain()

    async def _requests(self) -> None:
        """Many requests at once on one connection, none of which can be served."""
        kinds = [head("GET", "/nothing", self._gateway.port)]
        kinds += [head("POST", "/v1/chat/completions", self._gateway.port, 1) + b"{"]
        kinds += [head("GET", "/v1/stream/nothing/events", self._gateway.port)]
        async with self._connected() as (reader, writer), asyncio.timeout(BOUND):
            writer.write(b"".join(kinds * 16))
            for _ in range(len(kinds) * 16):
                await self._answer(reader)

    async def _abort(self) -> None:
        """Leave in the middle of the head, of the body, or of the answer."""
        body = question(f"honest-{next(self._numbers)}")
        request = head("POST", "/v1/chat/completions", self._gateway.port, len(body)) + body
        end = random.choice([20, len(request) - 20, len(request)])
        async with self._connected() as (reader, writer):
            writer.write(request[:end])
            await writer.drain()
            async with asyncio.timeout(BOUND):
                if end == len(request):
                    await reader.readuntil(b"id: ")

    async def _odd_json(self) -> None:
        bodies: list[Callable[[], bytes]] = [
            lambda: b'{"messages": "%b"}' % (b"x" * 4 * 1024 * 1024),
            lambda: b'{"messages": [%b 1]}' % (b"[]," * 256 * 1024),
            lambda: b'{"messages": %b%b}' % (b"[" * 100_000, b"]" * 100_000),
            lambda: question("honest-odd")[:-1] + b', "max_tokens": 1180591620717411303424}',
            lambda: question("honest-odd")[:-1] + b', "metadata": %b%b}' % (b"[" * 981, b"]" * 981),
        ]
        body = random.choice(bodies)()
        async with asyncio.timeout(BOUND):
            await self._whole(head("POST", "/v1/chat/completions", self._gateway.port, len(body)) + body)

    async def _flood(self) -> None:
        """Ask for a response that is a flood."""
        body = question(f"{random.choice(['comments', 'empty', 'blank'])}-{next(self._numbers)}")
        async with asyncio.timeout(2 * BOUND):
            await self._whole(head("POST", "/v1/chat/completions", self._gateway.port, len(body)) + body)

    async def _own_stream(self) -> None:
        path, data = f"/v1/stream/own-{next(self._numbers)}", json.dumps(["x" * 1024] * 1024).encode()
        async with asyncio.timeout(BOUND):
            await self._whole(head("PUT", path, self._gateway.port, len(data)) + data)
            await self._whole(head("DELETE", path, self._gateway.port))

    # The run.

    async def _again(self, doing: Callable[[], Awaitable[None]], pause: float) -> None:
        name = getattr(doing, "__name__", "").strip("_")
        while True:
            with contextlib.suppress(*Ended):
                await doing()
            self.done[name] += 1
            await asyncio.sleep(pause)

    async def _all_of_it(self, seconds: float) -> None:
        shape = self._shape
        tasks = [self._again(self._honest, 0) for _ in range(shape.readers)]
        tasks += [self._again(self._ready, 0)]
        tasks += [self._stay(number / BEGUN) for number in range(shape.streams)]
        tasks += [self._again(self._slow_head, GAP) for _ in range(shape.slow)]
        for abuse in (self._endless_headers, self._requests, self._abort, self._odd_json, self._own_stream):
            tasks += [self._again(abuse, GAP) for _ in range(shape.hands)]
        tasks += [self._again(self._flood, GAP) for _ in range(2)]
        running = [asyncio.ensure_future(task) for task in tasks]
        failed = asyncio.ensure_future(self._failed.wait())
        try:
            done, _ = await asyncio.wait(
                [failed, *running], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in (failed, *running):
                task.cancel()
            ended = await asyncio.gather(*running, return_exceptions=True)
        if done:
            faults = [e for e in ended if e is not None and not isinstance(e, asyncio.CancelledError)]
            self.problems += [f"the test itself: {fault!r}" for fault in faults]

    async def _idle(self) -> int:
        """Wait until no response is being written; returns the gateway's memory."""
        async with asyncio.timeout(2 * BOUND):
            while True:
                _, _, body = await self._whole(head("GET", "/healthz", self._gateway.port))
                if json.loads(body)["responses"] == 0:
                    return self._gateway.memory
                await asyncio.sleep(LOOK)

    async def _tell(self, say: Callable[[str], None]) -> None:
        begin = time.monotonic()
        while True:
            await asyncio.sleep(TELL)
            counts = ", ".join(f"{name} {count:,}" for name, count in sorted(self.done.items()))
            memory = self._gateway.memory / 1024**2
            say(f"{time.monotonic() - begin:.0f} s: {self.open:,} open, {memory:.0f} MiB, {counts}")

    async def run(self, say: Callable[[str], None]) -> Self:
        telling = asyncio.ensure_future(self._tell(say))
        seconds, before = self._shape.seconds, 0
        measured = seconds > 2 * WARM
        try:
            if measured:
                await self._all_of_it(WARM)
                if not self.problems:
                    before = await self._idle()
                    say(f"warm: {before / 1024**2:.0f} MiB when idle")
            if not self.problems:
                await self._all_of_it(seconds - WARM if measured else seconds)
            if not self.problems:
                after = await self._idle()
                say(f"{after / 1024**2:.0f} MiB when idle")
                if measured and after > GROWTH * before:
                    self.problems.append(f"grown from {before:,} to {after:,} bytes")
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
        return self


def allowed(streams: int) -> int:
    """Raise this process's limit of descriptors; returns how many streams fit, each with two in each process."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 2 * streams + OTHER_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(0, min(streams, (hard - OTHER_FILES) // 2))


async def abuse(directory: Path, shape: Shape, say: Callable[[str], None]) -> Soak:
    """Start a gateway and its upstream, and abuse it. Whatever is started is stopped, also on Ctrl-C."""
    config = directory / "everytoken.toml"
    config.write_text(CONFIG, encoding="utf-8")
    async with Upstream(chunks=40, pace=0.05) as upstream:
        journal = f"sqlite:///{directory}/journal.sqlite"
        gateway = Gateway("--config", str(config), "--upstream", upstream.url, "--journal", journal)
        try:
            await gateway.start()
            return await Soak(gateway, upstream, shape).run(say)
        finally:
            await gateway.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description="Abuse a gateway beside honest readers.")
    parser.add_argument(
        "--seconds", type=float, default=float(os.environ.get("EVERYTOKEN_SOAK_SECONDS", "600"))
    )
    parser.add_argument("--streams", type=int, default=5000)
    options = parser.parse_args()
    shape = Shape(seconds=options.seconds, streams=allowed(options.streams))

    def say(line: str) -> None:
        print(f"abuse: {line}", flush=True)  # noqa: T201

    with tempfile.TemporaryDirectory(prefix="abuse-") as directory:
        try:
            soak = asyncio.run(abuse(Path(directory), shape, say))
        except KeyboardInterrupt:
            sys.exit(130)
    say("; ".join(soak.problems[:5]) or f"{soak.done['exact']:,} honest answers, all exact")
    sys.exit(bool(soak.problems))


if __name__ == "__main__":
    main()
