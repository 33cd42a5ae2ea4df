"""Limits on everything a connection sends before anybody has looked at it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource

import pytest

from everytoken.gateway.server import EXTENSION
from gateway_serving import HELLO, ManualUpstream, Wire, limit, over, served, serving

BODY = b'{"messages": []}'  # a 400 of the application: the request was read
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
WHOLE = POST + b"Content-Length: %d\r\n" % len(BODY)
GET = b"GET /healthz HTTP/1.1\r\nHost: test\r\n"

SECOND = 1  # of virtual time

CASES: dict[str, tuple[bytes, int]] = {
    "a request": (GET + b"\r\n", 200),
    "a hundred headers": (GET + b"a: b\r\n" * 99 + b"\r\n", 200),
    "more than a hundred": (GET + b"a: b\r\n" * 100 + b"\r\n", 431),
    "headers without end": (GET + b"a: b\r\n" * 5000, 431),
    "a header without end": (GET + b"a: " + b"b" * 200_000, 431),
    "a header's name without end": (GET + b"a" * 200_000, 431),
    "a long header": (GET + b"a: " + b"b" * 60_000 + b"\r\n\r\n", 200),
    "a URL that is too long": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: test\r\n\r\n", 414),
    "a URL without end": (b"GET /" + b"a" * 100_000, 414),
    "a method without end": (b"A" * 100_000, 400),
    "blank lines without end": (b"\r\n" * 100_000, 431),
    "no Host": (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (GET + b"Host: test\r\n\r\n", 400),
    "a Host that is none": (b"GET /healthz HTTP/1.1\r\nHost: a b/c\r\n\r\n", 400),
    "HTTP/1.0 without a Host": (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
    "another coding": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "identity": (POST + b"Transfer-Encoding: identity\r\n\r\n", 501),
    "chunked twice": (
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a length and chunks": (WHOLE + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two lengths": (WHOLE + b"Content-Length: 1\r\n\r\n" + BODY, 400),
    "a length that is none": (POST + b"Content-Length: -1\r\n\r\n", 400),
    "a folded line": (GET + b"a: b\r\n c\r\n\r\n", 400),
    "a space before the colon": (GET + b"a : b\r\n\r\n", 400),
    "a NUL in a value": (GET + b"a: \x00\r\n\r\n", 400),
    "no HTTP": (b"\x16\x03\x01\x02\x00", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "CONNECT": (b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", 400),
    "trailers": (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\na: b\r\n\r\n", 400),
    "trailers without end": (
        POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"a: b\r\n" * 5000,
        431,
    ),
    "an extension without end": (POST + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"a" * 600_000, 431),
    "h2c with a body": (
        WHOLE
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        + BODY,
        400,
    ),
    "h2c with chunks": (
        POST
        + b"Transfer-Encoding: chunked\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n10\r\n"
        + BODY
        + b"\r\n0\r\n\r\n",
        400,
    ),
    "h2c without a body": (GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 200),
    "a WebSocket": (GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n", 200),
}


@pytest.mark.parametrize(("data", "status"), CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("step", [1 << 20, 1000])
async def test_what_a_connection_may_send(data, status, step):
    async with limit(), serving(ManualUpstream()) as gateway, Wire.to(gateway.port) as wire:
        for begin in range(0, len(data), step):
            wire.writer.write(data[begin : begin + step])
            try:
                await wire.writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0)
        answer = await wire.answer()
        assert answer.status == status
        if status != 200:
            error = answer.error
            assert error["message"]
            assert error["code"]
            if b"h2c" in data or answer.error["param"] == "messages":
                assert error["param"] == "messages", "the body was read"
            else:
                assert answer.headers["connection"] == "close"
                assert answer.headers["date"]
                assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "after",
    [GET, GET + b"a: b", b"GET /", b"\r\n"],
    ids=["headers", "half a header", "half a line", "a blank line"],
)
@pytest.mark.virtual_time
async def test_a_head_has_to_come_in_time(after):
    loop = asyncio.get_running_loop()
    async with serving(ManualUpstream()) as gateway, Wire.to(gateway.port) as wire:
        since = loop.time()
        sending = asyncio.ensure_future(_slowly(wire, after))
        answer = await wire.answer()
        assert answer.status == 408
        assert answer.error["code"] == "request-timeout"
        assert 9 <= loop.time() - since <= 12
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def _slowly(wire: Wire, data: bytes) -> None:
    for byte in data + (b"x" * 1000 if data.strip() else data * 500):
        wire.writer.write(bytes([byte]))
        await asyncio.sleep(SECOND)


@pytest.mark.virtual_time
async def test_a_connection_that_says_nothing_is_closed():
    loop = asyncio.get_running_loop()
    async with serving(ManualUpstream()) as gateway, Wire.to(gateway.port) as wire:
        since = loop.time()
        assert await wire.reader.read() == b""
        assert 9 <= loop.time() - since <= 12


@pytest.mark.virtual_time
async def test_a_body_has_to_go_on():
    loop = asyncio.get_running_loop()
    async with serving(ManualUpstream()) as gateway, Wire.to(gateway.port) as wire:
        wire.writer.write(WHOLE + b"\r\n")
        for byte in BODY[:5]:
            await asyncio.sleep(20)  # slow, but it goes on
            wire.writer.write(bytes([byte]))
        since = loop.time()
        answer = await wire.answer()
        assert answer.status == 408
        assert 29 <= loop.time() - since <= 33


async def test_requests_on_one_connection_each_have_their_own_limits():
    async with limit(), serving(ManualUpstream()) as gateway, Wire.to(gateway.port) as wire:
        for _ in range(60):
            wire.writer.write(GET + b"a: " + b"b" * 3000 + b"\r\n\r\n")
            assert (await wire.answer()).status == 200


async def test_pipelined_requests_are_bounded():
    upstream = ManualUpstream()
    async with limit(), serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        (await upstream.attempt()).accept()
        wire.writer.write((GET + b"\r\n") * 2000)
        await wire.writer.drain()
        assert (await wire.reader.read()).count(b"HTTP/1.1") <= 1, "the connection is closed"


async def test_a_connection_that_is_closed_before_its_answer_begins_is_no_error(caplog):
    gateway = over(ManualUpstream())

    async def close_first(scope, receive, send):
        # The transport is closing, and `connection_lost` comes with a later turn of the loop.
        scope["extensions"][EXTENSION]._cycle.transport.close()
        await gateway(scope, receive, send)

    async with limit(), gateway, served(close_first) as port, Wire.to(port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        assert await wire.reader.read() == b""
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


async def test_a_body_that_nobody_wants_is_not_read_for_ever():
    async with limit(), serving(ManualUpstream(), max_body=1000) as gateway, Wire.to(gateway.port) as wire:
        wire.writer.write(POST + b"Content-Length: 1000000000\r\n\r\n")
        assert (await wire.answer()).status == 413
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 64 * 1024**2:
                wire.writer.write(b"x" * 65_536)
                await wire.writer.drain()
                sent += 65_536
        assert sent < 32 * 1024**2


async def test_connections_are_counted_in_all_and_per_address():
    for settings in ({"max_connections": 3}, {"max_address_connections": 3}):
        async with limit(), serving(ManualUpstream(), **settings) as gateway:
            kept = []
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
                writer.write(GET + b"\r\n")
                assert (await Wire(reader, writer).answer()).status == 200
                kept.append(writer)
            async with Wire.to(gateway.port) as wire:
                answer = await wire.answer()
                assert answer.status == 503
                assert answer.error["code"] == "overloaded"
            for writer in kept:
                writer.close()
            while True:  # until the server has noticed
                async with Wire.to(gateway.port) as wire:
                    wire.writer.write(GET + b"\r\n")
                    if (await wire.answer()).status == 200:
                        break


ADDRESSES = [
    ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
    ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
    ("fe80::1%eth0", "fe80::2%eth0", True),
    ("::ffff:192.0.2.1", "192.0.2.1", True),
    ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ("192.0.2.1", "192.0.2.1", True),
    ("192.0.2.1", "192.0.2.2", False),
    ("no address", "no address", True),
    ("no:address", "no:address", True),
]


@pytest.mark.parametrize(("first", "second", "together"), ADDRESSES)
async def test_whose_connections_are_counted_together(first, second, together, monkeypatch):
    peers = iter([(first, 1), (second, 2)])
    monkeypatch.setattr("uvicorn.protocols.http.httptools_impl.get_remote_addr", lambda _: next(peers))
    async with (
        limit(),
        serving(ManualUpstream(), max_address_connections=1) as gateway,
        Wire.to(gateway.port) as one,
        Wire.to(gateway.port) as other,
    ):
        one.writer.write(GET + b"\r\n")
        assert (await one.answer()).status == 200
        other.writer.write(GET + b"\r\n")
        assert (await other.answer()).status == (503 if together else 200)


async def test_endless_heads_take_no_memory():
    async with limit(), serving(ManualUpstream()) as gateway:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        async def flood() -> None:
            async with Wire.to(gateway.port) as wire:
                try:
                    for _ in range(200):
                        wire.writer.write(GET + b"x" * 65_536)
                        await wire.writer.drain()
                except ConnectionError:
                    pass

        await asyncio.gather(*(flood() for _ in range(16)))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, "KiB, of 200 MiB sent"


async def test_bodies_in_flight_are_bounded_together():
    async with limit(), serving(ManualUpstream(), max_bodies=100_000) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.writer.write(POST + b"Content-Length: 90000\r\n\r\n" + b" " * 80_000)
            await wire.writer.drain()
            while gateway.gateway.bodies.held < 80_000:  # noqa: ASYNC110
                await asyncio.sleep(0)
            refused = await gateway.ask(
                "POST", "/v1/chat/completions", json.dumps({**HELLO, "x": "y" * 50_000}).encode()
            )
            assert refused.status == 503
            assert refused.error["code"] == "overloaded"
            assert "retry-after" in refused.headers
        while gateway.gateway.bodies.held:  # noqa: ASYNC110
            await asyncio.sleep(0)
        fine = await gateway.ask("POST", "/v1/chat/completions", b'{"x": "%b"}' % (b"y" * 50_000))
        assert fine.status == 400, "it was read"
