"""Much content through one gateway process: every byte arrives, and the memory of the gateway stays as it was."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from command_line import gateway, wait_for
from everytoken.sse import SSEDecoder
from redis_server import RedisServer
from sampling import SOAK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured with /proc")

MIB = 1024 * 1024
SENT = (1024 if SOAK else 80) * MIB
STREAMS = 40 if SOAK else 8  # of callers, 16 MiB each
GROWTH = 64 * MIB  # that the gateway may take for it, at its peak
WARM = 8 * MIB  # sent before the measurement, so that everything is loaded that is loaded once
SIZES = (1, 40, 400, 4_000, 30_000)  # characters of a chunk


class Upstream:
    """Sends so many bytes of text as its model's name says; `digests` are those of what it has sent."""

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        return f"http://{host}:{port}/v1"

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET "):  # what models there are
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            writer.close()
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        size = json.loads(await reader.readexactly(length))["messages"][0]["content"]
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        rng = random.Random(1)
        digest = hashlib.sha256()
        left = int(size)
        while left > 0:
            text = rng.choice("abcdefgh") * rng.choice(SIZES)
            digest.update(text.encode())
            writer.write(_event({"content": text}))
            left -= len(text)
            await writer.drain()
        self.digests[size] = digest.hexdigest()
        writer.write(_event({}, "stop") + b"data: [DONE]\n\n")
        await writer.drain()
        writer.close()


def _event(delta: dict[str, str], finish: str | None = None) -> bytes:
    chunk = {
        "id": "c",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    return b"data: %b\n\n" % json.dumps(chunk).encode()


class Reading:
    """One reader's connection: what it has read, as a digest."""

    def __init__(self, base: str) -> None:
        parts = urlsplit(base)
        self._at = (parts.hostname, parts.port)
        self.location = ""
        self.received = 0
        self._digest = hashlib.sha256()

    async def read(self, request: bytes, told: Callable[[int], None] = lambda _: None) -> str:
        """Read an answer to its end; return the digest of its text, or what was wrong with it."""
        reader, writer = await asyncio.open_connection(*self._at)
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("HTTP/1.1 200"), head
        self.location = head.partition("location: ")[2].partition("\r\n")[0]
        decoder, done = SSEDecoder(), False
        while (line := await reader.readuntil(b"\r\n")) != b"0\r\n":
            data = (await reader.readexactly(int(line, 16) + 2))[:-2]
            for event in decoder.receive_data(data):
                if event.data == "[DONE]":
                    done = True
                    continue
                chunk = json.loads(event.data)
                if "error" in chunk:
                    return event.data
                for choice in chunk["choices"]:
                    text = choice["delta"].get("content", "").encode()
                    self._digest.update(text)
                    self.received += len(text)
            told(self.received)
        writer.close()
        return self._digest.hexdigest() if done else "no [DONE]"


def _post(size: int) -> bytes:
    body = json.dumps({"stream": True, "messages": [{"role": "user", "content": str(size)}]}).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _resident(pid: int, field: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) * 1024


@pytest.fixture(params=["sqlite", "redis"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/journal.db"
        return
    server = RedisServer(tmp_path, persistent=False)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


@pytest.mark.timeout(900)
async def test_memory_does_not_grow_with_a_response(journal: str) -> None:
    upstream = Upstream()
    async with asyncio.timeout(800), upstream as url:
        with gateway(*("--journal", journal, "--upstream", url), EVERYTOKEN_MAX_RESPONSE=str(4 * SENT)) as (
            process,
            base,
        ):
            assert await Reading(base).read(_post(WARM)) == upstream.digests[str(WARM)]
            before = _resident(process.pid, "VmRSS")
            _forget_peak(process.pid)

            live, late = Reading(base), Reading(base)
            half = asyncio.Event()
            reading = asyncio.ensure_future(
                live.read(_post(SENT), lambda received: half.set() if received > SENT // 2 else None)
            )
            await half.wait()
            events = b"GET %b/events HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n" % live.location.encode()
            assert await late.read(events) == await reading == upstream.digests[str(SENT)]
            grown = _resident(process.pid, "VmHWM") - before
            assert grown < GROWTH, f"{grown / MIB:.0f} MiB more than {before // MIB}, for {SENT // MIB} MiB"


@pytest.mark.timeout(300)
async def test_large_streams_of_callers_do_not_stay_in_memory(journal: str) -> None:
    with gateway("--journal", journal, "--upstream", "http://127.0.0.1:9/v1") as (process, base):

        async def put(name: str, size: int) -> None:
            parts = urlsplit(base)
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            head = f"PUT /v1/stream/{name} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {size}\r\n\r\n"
            writer.write(head.encode() + random.randbytes(size))
            assert (await reader.readline()).split()[1] == b"201"
            writer.close()

        await put("warm", MIB)
        before = _resident(process.pid, "VmRSS")
        for n in range(STREAMS):
            await put(f"s{n}", 16 * MIB)
        # The last one is put away after it has been acknowledged.
        wait_for(lambda: _resident(process.pid, "VmRSS") - before < GROWTH)
