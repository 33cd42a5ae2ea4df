"""Readers that stop reading: they cost an offset, not memory, and nobody else anything."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from everytoken.formats.output import BATCH
from everytoken.formats.text import PlainText
from everytoken.gateway import follow
from everytoken.gateway.server import DirectProtocol
from everytoken.recovery import Policy
from gateway_serving import HELLO, ManualUpstream, Wire, serving

CHAT = "/v1/chat/completions"
PIECE = "x" * 1000


async def never_read(port: int, path: str, body: bytes, method: str = "POST") -> socket.socket:
    """Send a request and read nothing, ever."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    await loop.sock_sendall(client, head.encode() + body)
    return client


def buffered(client: socket.socket, taken: list) -> int:
    """Return how many bytes the server holds in user space for `client`."""
    address = client.getsockname()
    [transport] = [one for one in taken if one.get_extra_info("peername") == address]
    return transport.get_write_buffer_size()


@pytest.fixture
def transports(monkeypatch):
    """Every transport of the server."""
    taken: list[asyncio.Transport] = []
    made = DirectProtocol.connection_made

    def connection_made(self, transport):
        taken.append(transport)
        made(self, transport)

    monkeypatch.setattr(DirectProtocol, "connection_made", connection_made)
    return taken


@pytest.mark.parametrize(("path", "body"), [(CHAT, HELLO), ("/api/chat", {"prompt": "Hi"})])
async def test_a_reader_that_never_reads_holds_nothing_up(path, body, transports):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as other:
        client = await never_read(gateway.port, path, json.dumps(body).encode())
        attempt = await upstream.attempt()
        attempt.accept()
        [stream_id] = gateway.gateway.relays._relays
        other.send("GET", f"/v1/stream/{stream_id}/events")
        head = await other.head()
        for _ in range(2000):
            attempt.send(PIECE + " ")
            await other.frame()
        attempt.finish()
        answer = await other.rest(head)
        assert answer.events[-1][0] == "[DONE]"
        await gateway.until_idle()
        assert buffered(client, transports) < 4 * BATCH, "of 2 MB and more"
        client.close()


async def test_a_reader_that_reads_again_gets_all_of_it():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway:
        client = await never_read(gateway.port, CHAT, json.dumps(HELLO).encode())
        attempt = await upstream.attempt()
        attempt.accept()
        for number in range(3000):
            attempt.send(f"{number} {PIECE}")
            if number % 100 == 0:
                await asyncio.sleep(0)
        attempt.finish()
        await gateway.until_idle()
        reader, writer = await asyncio.open_connection(sock=client)
        wire = Wire(reader, writer)
        answer = await wire.answer()
        writer.close()
    assert answer.text == "".join(f"{number} {PIECE}" for number in range(3000))
    assert [offset for _, offset in answer.events[:-1]] == [f"{number:016d}" for number in range(1, 3002)]
    assert answer.complete


async def test_a_stopped_reader_that_is_reset_is_forgotten():
    upstream = ManualUpstream()
    async with serving(upstream, grace=0.0) as gateway:
        client = await never_read(gateway.port, CHAT, json.dumps(HELLO).encode())
        attempt = await upstream.attempt()
        attempt.accept()
        for _ in range(1000):
            attempt.send(PIECE)
        await asyncio.sleep(0)
        client.close()  # with bytes unread: a reset
        async with asyncio.timeout(10):
            await attempt.released.wait()
        await gateway.until_idle()


@pytest.mark.every_loop
async def test_a_reader_that_joins_late_is_never_behind_a_hole():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as first:
        first.send("POST", CHAT, HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        url = (await first.head()).headers["location"]
        late = []
        for number in range(60):
            attempt.send(f"{number} ")
            if number % 6 == 0:
                late.append(asyncio.create_task(gateway.ask("GET", f"{url}/events")))
            if number % 4 == 0:
                await asyncio.sleep(0)
        attempt.finish()
        answers = await asyncio.gather(*late)
    expected = "".join(f"{number} " for number in range(60))
    assert [answer.text for answer in answers] == [expected] * 10


async def test_an_event_of_5_mb_passes_and_one_above_the_limit_is_an_error():
    upstream = ManualUpstream()
    async with serving(upstream, policy=Policy(attempts=1)) as gateway, Wire.to(gateway.port) as wire:
        large = "ä" * 2_500_000
        wire.send("POST", CHAT, HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send(large)
        attempt.finish()
        assert (await wire.answer()).text == large
        wire.send("POST", "/api/chat", {"prompt": "Hi"})
        attempt = await upstream.attempt(1)
        attempt.accept()
        attempt.send(large[:250_000])
        attempt.finish()
        answer = await wire.answer()
        assert answer.body.decode() == large[:250_000]
        assert max(map(len, answer.frames)) <= 16_384
        wire.send("POST", CHAT, HELLO)
        attempt = await upstream.attempt(2)
        attempt.accept()
        attempt.send("first")
        half = b"data: " + b"x" * 1024 * 1024
        for _ in range(17):
            attempt.sink.on_data(half)
            if attempt.released.is_set():
                break
            half = half[6:]
        assert attempt.released.is_set()
        answer = await wire.answer()
        assert answer.text == "first"
        assert json.loads(answer.events[-1][0])["error"]["code"] == "event-too-large"


def test_the_constants_that_the_wire_promises():
    assert follow.KEEP_ALIVE == 15
    assert PlainText.batch <= BATCH
