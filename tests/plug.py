"""Pull the plug: many responses in flight, gateways killed in the middle, readers that come back by offset.

Used by the tests for a few seconds and by `make soak` (`python tests/plug.py`) for minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import re
import signal
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from everytoken.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

EVERYTOKEN = str(Path(sys.executable).with_name("everytoken"))
READY = 20.0  # seconds a gateway may take to start
BACK_OFF = 0.05  # seconds between a reader's tries
PATIENCE = 60.0  # seconds a reader may take in all


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
                    length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE).group(1))
                    body = json.loads(await reader.readexactly(length))
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

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


@dataclass
class Reading:
    """What one reader got."""

    prompt: str
    text: str = ""
    offset: int = 0
    connections: int = 0
    ends: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


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


async def read(urls: Callable[[], list[str]], prompt: str, rng: random.Random, progress: Progress) -> Reading:
    """Ask, and read to the end; after a break come back by offset, to any of the nodes."""
    reading = Reading(prompt)
    key, location = f"plug-{prompt}", ""
    body = {"model": "plug", "stream": True, "messages": [{"role": "user", "content": prompt}]}
    async with asyncio.timeout(PATIENCE):
        while not reading.ends:
            nodes = urls()
            url = rng.choice(nodes)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, OSError):
                if location:
                    headers = {"last-event-id": f"{reading.offset:016d}"}
                    events = request(url, "GET", f"{location}/events", headers, None)
                else:
                    events = request(url, "POST", "/v1/chat/completions", {"idempotency-key": key}, body)
                async for part in events:
                    if isinstance(part, dict):
                        status = int(part[":status"])
                        location = part.get("location", location)
                        if status == 503 or (status == 404 and location):
                            break  # the journal or the new node is not there yet
                        if status == 204:  # it had everything but the word that this was all
                            reading.ends.append("done")
                            break
                        if status != 200:
                            reading.ends.append(f"status {status}")
                            break
                    else:
                        _take(reading, *part)
                        progress.add()
                        if reading.ends:
                            break
            reading.connections += 1
            await asyncio.sleep(BACK_OFF * rng.random())
    return reading


def _take(reading: Reading, data: str, offset: str) -> None:
    if data == "[DONE]":
        reading.ends.append("done")
        return
    value = json.loads(data)
    if int(offset) != reading.offset + 1:
        reading.faults.append(f"record {offset} after {reading.offset}")
    reading.offset = int(offset)
    if "error" in value:
        reading.ends.append(f"error {value['error']['code']}")
        return
    for choice in value["choices"]:
        reading.text += choice["delta"].get("content") or ""


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


async def run(
    upstream: Upstream,
    *,
    responses: int,
    chunks: int,
    seed: int,
    kills: int,
    kill: Callable[[random.Random], Awaitable[None]],
    alive: Callable[[], list[Node]],
) -> list[str]:
    """Have `responses` read while `kill` strikes `kills` times, whenever a random share of all records has been read.

    Returns everything that is wrong.
    """
    rng, progress = random.Random(seed), Progress()
    readers = [
        asyncio.create_task(
            read(
                lambda: [node.url for node in alive()],
                f"{seed}-{number}",
                random.Random(rng.random()),
                progress,
            )
        )
        for number in range(responses)
    ]

    async def strike() -> None:
        for share in sorted(rng.uniform(0.02, 0.95) for _ in range(kills)):
            await progress.reach(share * responses * chunks)
            await kill(rng)

    striking = asyncio.create_task(strike())
    try:
        results = await asyncio.gather(*readers, return_exceptions=True)
        await striking
    finally:
        striking.cancel()
    return [problem for result in results for problem in _problems(result, upstream)]


def _problems(result: Reading | BaseException, upstream: Upstream) -> list[str]:
    if isinstance(result, BaseException):
        return [f"{type(result).__name__}: {result}"]
    problems = [f"{result.prompt}: {fault}" for fault in result.faults]
    if result.ends != ["done"]:
        problems.append(f"{result.prompt}: ended {result.ends}")
    elif result.text != upstream.text(result.prompt):
        problems.append(f"{result.prompt}: {len(result.text)} characters, not the text")
    return problems


async def sqlite_round(
    directory: Path, *, responses: int, chunks: int, pace: float, kills: int, seed: int
) -> list[str]:
    """One gateway over SQLite, killed `kills` times at random moments and started again."""
    async with Upstream(chunks, pace) as upstream:
        node = Node("--upstream", upstream.url, "--journal", f"sqlite:///{directory}/{seed}.sqlite")

        async def kill(_: random.Random) -> None:
            await node.kill()
            await node.start()

        try:
            await node.start()
            return await run(
                upstream,
                responses=responses,
                chunks=chunks,
                seed=seed,
                kills=kills,
                kill=kill,
                alive=lambda: [node],
            )
        finally:
            await node.kill()


async def redis_round(
    url: str, directory: Path, *, responses: int, chunks: int, pace: float, seed: int
) -> list[str]:
    """Two gateways over one Redis; one is killed at a random moment and stays dead."""
    config = directory / "everytoken.toml"
    config.write_text("lease = 2.0\n", encoding="utf-8")
    async with Upstream(chunks, pace) as upstream:
        options = ("--upstream", upstream.url, "--journal", url, "--config", str(config))
        nodes = [Node(*options) for _ in range(2)]
        living = list(nodes)

        async def kill(rng: random.Random) -> None:
            dead = rng.choice(nodes)
            living.remove(dead)
            await dead.kill()

        try:
            await asyncio.gather(*(node.start() for node in nodes))
            return await run(
                upstream,
                responses=responses,
                chunks=chunks,
                seed=seed,
                kills=1,
                kill=kill,
                alive=lambda: living,
            )
        finally:
            await asyncio.gather(*(node.kill() for node in nodes))


async def sleeping_round(
    url: str, directory: Path, *, responses: int, chunks: int, pace: float, seed: int
) -> list[str]:
    """Two gateways over one Redis; one is stopped in the middle, for longer than its lease, and wakes up again.

    Readers of the other one see every response to its end meanwhile; then those that have stayed with the sleeper do.
    """
    config = directory / "everytoken.toml"
    config.write_text("lease = 1.0\n", encoding="utf-8")
    async with Upstream(chunks, pace) as upstream:
        options = ("--upstream", upstream.url, "--journal", url, "--config", str(config))
        sleeper, other = Node(*options), Node(*options)
        progress, rng = Progress(), random.Random(seed)

        def reading(node: Node) -> list[asyncio.Task[Reading]]:
            prompts = [f"{seed}-{number}" for number in range(responses)]
            return [
                asyncio.create_task(read(lambda: [node.url], prompt, random.Random(seed), progress))
                for prompt in prompts
            ]

        try:
            await asyncio.gather(sleeper.start(), other.start())
            stayed = reading(sleeper)
            await progress.reach(rng.uniform(0.1, 0.6) * responses * chunks)
            await sleeper.signal(signal.SIGSTOP)
            left = await asyncio.gather(*reading(other), return_exceptions=True)
            # What the upstream has sent meanwhile waits in the sleeper's sockets, and it would write it now.
            await sleeper.signal(signal.SIGCONT)
            woken = await asyncio.gather(*stayed, return_exceptions=True)
            again = await asyncio.gather(*reading(sleeper), return_exceptions=True)
        finally:
            await asyncio.gather(sleeper.kill(), other.kill())
        problems = [problem for result in (*left, *woken, *again) for problem in _problems(result, upstream)]
        if upstream.answers != 2 * responses:
            problems.append(f"{upstream.answers} requests to the upstream for {responses} responses")
        return problems


def main() -> None:
    parser = argparse.ArgumentParser(description="Pull the plug again and again.")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--responses", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--redis", help="redis://HOST:PORT/DB: two nodes, one of which dies")
    options = parser.parse_args()

    async def soak() -> int:
        loop = asyncio.get_running_loop()
        end = loop.time() + options.seconds
        with tempfile.TemporaryDirectory(prefix="plug-") as directory:
            for seed in itertools.count(options.seed):
                if loop.time() >= end:
                    return 0
                shape = {"responses": options.responses, "chunks": 80, "pace": 0.05, "seed": seed}
                if options.redis:
                    problems = await redis_round(options.redis, Path(directory), **shape)
                else:
                    problems = await sqlite_round(Path(directory), kills=4, **shape)
                print(f"seed {seed}: {'; '.join(problems[:5]) or 'exact'}", flush=True)  # noqa: T201
                if problems:
                    return 1
        return 0

    sys.exit(asyncio.run(soak()))


if __name__ == "__main__":
    main()
