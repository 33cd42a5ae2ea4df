"""HTTP/1.1 as it comes over a connection, in order and out of it."""

from __future__ import annotations

import asyncio

import pytest

from everytoken.errors import (
    ConnectError,
    EverytokenError,
    RemoteProtocolError,
    TruncatedError,
)
from everytoken.testing import CleanEnd, Head, Send, SendRaw
from everytoken.upstream.http import HttpUpstream
from upstream_asked import ask, connected_to
from upstream_sink import EVENT, STREAM, Sink


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", RemoteProtocolError, id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, RemoteProtocolError, id="endless headers"),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            RemoteProtocolError,
            id="an upgrade",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            RemoteProtocolError,
            id="a chunk of no size",
        ),
        pytest.param(b"", ConnectError, id="nothing"),
        pytest.param(b"HTTP/1.1 200", ConnectError, id="half a status line"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\ndata",
            TruncatedError,
            id="a cut body",
        ),
    ],
)
@pytest.mark.every_loop
async def test_what_is_not_http_is_a_typed_error_and_nothing_is_logged(raw, kind, caplog):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream = HttpUpstream("up", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    sink = Sink()
    upstream.connect({}, sink, streamed=True)
    await sink.end()
    await upstream.stop()
    server.close()
    await server.wait_closed()
    assert type(sink.error) is kind
    assert not caplog.records


async def test_interim_responses_are_passed_over():
    sink = await ask(
        [SendRaw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), *STREAM]
    )
    assert sink.seen == ["connected", "accepted", EVENT, "eof"]


async def test_a_body_that_ends_with_its_connection_has_ended():
    sink = await ask([Head(framing="close", version="1.0"), Send(EVENT), CleanEnd()])
    assert sink.seen == ["connected", "accepted", EVENT, "eof"]


async def test_an_exception_of_ours_is_logged_and_told_as_what_it_is(caplog):
    class Faulty(Sink):
        def on_data(self, data):
            raise ZeroDivisionError

    async with connected_to(STREAM) as (_, upstream):
        sink = Faulty()
        upstream.connect({}, sink, streamed=True)
        await sink.end()
    assert type(sink.error) is EverytokenError
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_a_response_nobody_asked_for_closes_the_connection():
    ghost = SendRaw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nghost")

    async with connected_to(
        [Head(framing="length", length=len(EVENT)), SendRaw(EVENT + ghost.data), CleanEnd()]
    ) as (scripted, upstream):
        for _ in range(3):
            sink = Sink()
            upstream.connect({}, sink, streamed=True)
            await sink.end()
            assert b"".join(what for what in sink.seen if isinstance(what, bytes)) == EVENT
            assert len(upstream._idle) <= 1
        assert scripted.connection_count == 3


async def test_pausing_holds_the_bytes_back():
    blocks = [Send(b": %b\n\n" % (b"x" * 60_000))] * 200
    async with connected_to([Head(), *blocks, CleanEnd()]) as (scripted, upstream):
        sink = Sink()
        exchange = upstream.connect({}, sink, streamed=True)
        await sink.until("accepted")
        exchange.pause()
        for _ in range(200):
            await asyncio.sleep(0)
        assert not scripted.requests[0].answered.is_set()
        held = sum(len(what) for what in sink.seen if isinstance(what, bytes))
        assert held < 2_000_000
        exchange.resume()
        await sink.end()
        assert sum(len(what) for what in sink.seen if isinstance(what, bytes)) == 200 * 60_004
