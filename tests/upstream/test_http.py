"""One HTTP connection to an upstream: what it reports, when it is kept, and that it is let go of."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from everytoken.errors import (
    ConfigurationError,
    ConnectError,
    StatusError,
    UpstreamError,
)
from everytoken.testing import CleanEnd, Head, ScriptedUpstream, Send, Stall
from everytoken.upstream.http import HttpUpstream
from upstream_asked import ask, connected_to
from upstream_sink import EVENT, KEY, STREAM, Sink


async def eventually(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0)


async def test_a_stream_is_reported_as_it_comes():
    sink = await ask(STREAM)
    assert sink.seen == ["connected", "accepted", EVENT, "eof"]


async def test_the_request_says_what_it_wants():
    async with connected_to(STREAM, api_key=KEY, headers={"X-Org": "us"}) as (scripted, upstream):
        for streamed in (True, False):
            sink = Sink()
            upstream.connect({"model": "文"}, sink, streamed=streamed)
            await sink.end()
        first, second = scripted.requests
    assert first.path == "/v1/chat/completions"
    assert first.json == {"model": "文"}
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert first.headers["x-org"] == "us"
    assert first.headers["accept-encoding"] == "identity"
    assert (first.headers["accept"], second.headers["accept"]) == ("text/event-stream", "application/json")


async def test_a_query_in_the_base_url_goes_behind_the_path():
    async with ScriptedUpstream(STREAM) as scripted:
        upstream = HttpUpstream("up", f"{scripted.base_url}/a b?api-version=2024-10-21&x=ü")
        sink = Sink()
        upstream.connect({}, sink, streamed=True)
        await sink.end()
        await upstream.stop()
        assert scripted.requests[0].path == "/v1/a%20b/chat/completions?api-version=2024-10-21&x=%C3%BC"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        pytest.param("ftp://x/v1", {}, id="another scheme"),
        pytest.param("x/v1", {}, id="no scheme"),
        pytest.param("http:///v1", {}, id="no host"),
        pytest.param("http://x:port/v1", {}, id="a port that is no number"),
        pytest.param("http://x/v1", {"api_key": "a\r\nX: y"}, id="a key that would be another header"),
        pytest.param("http://x/v1", {"headers": {"X": "é"}}, id="a header that is not ASCII"),
    ],
)
def test_what_cannot_be_asked_is_a_configuration_error(url, options):
    with pytest.raises(ConfigurationError, match="'up'"):
        HttpUpstream("up", url, **options)


# What kind of answer it is


# Errors


# Keeping connections


async def test_a_connection_is_kept_for_the_next_attempt():
    async with connected_to(STREAM) as (scripted, upstream):
        for _ in range(3):
            sink = Sink()
            exchange = upstream.connect({}, sink, streamed=True)
            await sink.end()
            exchange.release(reusable=True)
        assert scripted.connection_count == 1


async def test_a_connection_released_before_the_end_is_kept_if_the_end_comes_soon():
    def script(_):
        return [Head(), Send(EVENT), Send(EVENT), CleanEnd()]

    async with connected_to(script) as (scripted, upstream):
        for _ in range(3):
            sink = Sink()
            exchange = upstream.connect({}, sink, streamed=True)
            await sink.until(EVENT)
            exchange.release(reusable=True)
            await scripted.requests[-1].answered.wait()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert sink.seen.count(EVENT) < 3
        assert scripted.connection_count <= 2


@pytest.mark.virtual_time
async def test_a_connection_whose_end_does_not_come_is_closed_after_a_second():
    async with connected_to([Head(), Send(EVENT), Stall()]) as (scripted, upstream):
        sink = Sink()
        exchange = upstream.connect({}, sink, streamed=True)
        await sink.until(EVENT)
        exchange.release(reusable=True)
        await asyncio.sleep(0.9)
        assert scripted.open_connections
        await asyncio.sleep(0.2)
        assert not scripted.open_connections


async def test_a_kept_connection_that_the_server_has_closed_is_replaced_unnoticed():
    async with connected_to(STREAM) as (scripted, upstream):
        sink = Sink()
        upstream.connect({}, sink, streamed=True)
        await sink.end()
        for connection in tuple(scripted.open_connections):
            connection.abort()
        # Before the loop hears of it, so that the request goes out on the dead connection.
        sink = Sink()
        upstream.connect({}, sink, streamed=True)
        await sink.end()
        assert sink.error is None
        assert scripted.connection_count == 2


async def test_a_lost_connection_is_not_kept():
    async with connected_to(STREAM) as (scripted, upstream):
        sink = Sink()
        upstream.connect({}, sink, streamed=True)
        await sink.end()
        assert len(upstream._idle) == 1
        for connection in tuple(scripted.open_connections):
            connection.abort()
        await eventually(lambda: not upstream._open)
        assert not upstream._idle


async def test_letting_go_late_leaves_the_next_exchange_alone():
    async with connected_to(lambda _: STREAM) as (scripted, upstream):
        first, second = Sink(), Sink()
        late = upstream.connect({}, first, streamed=True)
        await first.end()
        upstream.connect({}, second, streamed=True)
        late.release(reusable=False)
        await second.end()
        assert second.seen == ["connected", "accepted", EVENT, "eof"]
        assert scripted.connection_count == 1


async def test_a_refusal_at_once_is_reported():
    async def serve(_, writer):
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream = HttpUpstream("up", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    sinks = [Sink() for _ in range(20)]
    for sink in sinks:
        upstream.connect({}, sink, streamed=True)
    for sink in sinks:
        await sink.end()
        assert isinstance(sink.error, ConnectError)
    await upstream.stop()
    server.close()
    await server.wait_closed()


# Letting go


PHASES = [
    pytest.param("tls-silent", None, id="while connecting"),
    pytest.param("silent-after-accept", "connected", id="before the headers"),
    pytest.param("silent-after-head", "accepted", id="before the content"),
    pytest.param("silent", "content", id="in the middle"),
]


@pytest.mark.parametrize(("fault", "until"), PHASES)
async def test_releasing_closes_the_connection_in_every_phase(fault, until):
    async with ScriptedUpstream(faults=[("always", fault, "middle")]) as scripted:
        upstream = HttpUpstream("up", scripted.base_url)
        sink = Sink()
        exchange = upstream.connect({"stream": True, "messages": []}, sink, streamed=True)
        if until == "content":
            await eventually(lambda: any(isinstance(what, bytes) for what in sink.seen))
        elif until is not None:
            await sink.until(until)
        else:
            await eventually(lambda: scripted._broken_address._transports)
        seen = list(sink.seen)
        exchange.release(reusable=False)
        broken = scripted._broken_address
        await eventually(lambda: not scripted.open_connections and not (broken and broken._transports), 1.0)
        await eventually(lambda: not upstream._tasks and not upstream._open, 1.0)
        assert sink.seen == seen, "nothing is reported any more"
        await upstream.stop()


# Models


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"data": [{"id": "a"}, {"id": 3}, "x"]}, [{"id": "a"}]),
        (200, [{"id": "a", "object": "model"}], [{"id": "a", "object": "model"}]),
        (200, [], []),
        (200, {"models": [{"id": "a"}]}, [{"id": "a"}]),
        (
            200,
            {"models": [{"name": "llama3:latest", "model": "x"}]},
            [{"id": "llama3:latest", "name": "llama3:latest", "model": "x"}],
        ),
        (200, {"models": []}, []),
        (200, {"data": None}, []),
        (200, {"object": "list", "data": None, "models": [{"id": "a"}]}, [{"id": "a"}]),
        (200, {"data": {"id": "a"}}, UpstreamError),
        (200, {"status": "ok"}, UpstreamError),
        (200, "models", UpstreamError),
        (200, None, UpstreamError),
        (404, {}, StatusError),
    ],
)
async def test_the_models(status, body, expected):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        data = json.dumps(body).encode()
        writer.write(
            b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (status, len(data), data)
        )
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream = HttpUpstream("up", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        if isinstance(expected, list):
            assert await upstream.models() == expected
        else:
            with pytest.raises(expected):
                await upstream.models()
    finally:
        await upstream.stop()
        server.close()
        await server.wait_closed()


async def test_one_tls_context_serves_all_connections(caplog):
    """truststore's own would read the certificates for each of them, in the event loop."""
    caplog.set_level(logging.DEBUG, "everytoken")
    async with ScriptedUpstream(faults=[("always", "tls-alert", "start")]) as scripted:
        upstream = HttpUpstream("up", scripted.base_url)
        contexts = set()
        for _ in range(2):
            sink = Sink()
            upstream.connect({}, sink, streamed=True)
            await sink.end()
            assert isinstance(sink.error, ConnectError)
            contexts.add(id(upstream._context))
        assert len(contexts) == 1
        await upstream.stop()
