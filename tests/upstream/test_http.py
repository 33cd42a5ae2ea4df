"""One HTTP connection to an upstream: what it reports, when it is kept, and that it is let go of."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import time
import zlib
from contextlib import asynccontextmanager
from email.utils import formatdate
from types import SimpleNamespace

import pytest

from everytoken.errors import (
    ConfigurationError,
    ConnectError,
    EverytokenError,
    NotAnEventStreamError,
    RemoteProtocolError,
    StatusError,
    TruncatedError,
    UpstreamError,
)
from everytoken.testing import CleanEnd, Head, Reset, ScriptedUpstream, Send, SendRaw, Stall, Status
from everytoken.upstream import encodings
from everytoken.upstream.exchange import _seconds
from everytoken.upstream.http import HttpUpstream
from upstream_sink import EVENT, KEY, STREAM, Sink


async def eventually(condition, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0)


@asynccontextmanager
async def connected_to(script, **options):
    async with ScriptedUpstream(script) as scripted:
        upstream = HttpUpstream("up", scripted.base_url, **options)
        try:
            yield scripted, upstream
        finally:
            await upstream.stop()


async def ask(script, **options):
    """Return what one attempt at a scripted upstream reports."""
    async with connected_to(script, **options) as (_, upstream):
        sink = Sink()
        exchange = upstream.connect({"messages": []}, sink, streamed=True)
        await sink.end()
        exchange.release(reusable=False)
        return sink


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


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        pytest.param(Head(content_type="text/event-stream"), EVENT, [EVENT, "eof"], id="a stream"),
        pytest.param(
            Head(content_type="Text/Event-Stream ;charset=x"), EVENT, [EVENT, "eof"], id="in other letters"
        ),
        pytest.param(Head(content_type="application/json"), b"{}", [("non-streaming", b"{}")], id="JSON"),
        pytest.param(
            Head(content_type="application/problem+json"),
            b"{}",
            [("non-streaming", b"{}")],
            id="a kind of JSON",
        ),
        pytest.param(Head(content_type="application/json"), b"", ["eof"], id="JSON that is empty"),
        pytest.param(Head(content_type="application/json"), EVENT, [EVENT, "eof"], id="a stream called JSON"),
        pytest.param(
            Head(content_type="application/json"),
            b": processing\n\n" + EVENT,
            [b": processing\n\n" + EVENT, "eof"],
            id="a stream called JSON that begins with a comment",
        ),
        pytest.param(
            Head(content_type="application/json"),
            b'\n {"data": 1}',
            [("non-streaming", b'\n {"data": 1}')],
            id="JSON behind blanks",
        ),
        pytest.param(
            Head(content_type="text/plain"), EVENT, [EVENT, "eof"], id="a stream under another name"
        ),
        pytest.param(
            Head(content_type="text/plain"),
            b"\xef\xbb\xbf" + EVENT,
            [b"\xef\xbb\xbf" + EVENT, "eof"],
            id="with a BOM",
        ),
        pytest.param(Head(content_type="text/plain"), b"data:x", [b"data:x", "eof"], id="a short one"),
        pytest.param(Head(content_type="text/plain"), b"", ["eof"], id="nothing at all"),
        pytest.param(Head(204), b"", ["eof"], id="204"),
    ],
)
async def test_the_kind_of_an_answer(head, body, expected):
    sink = await ask([head, *([Send(body)] if body else []), CleanEnd()])
    assert sink.seen == ["connected", "accepted", *expected]


@pytest.mark.parametrize("body", [b"<!doctype html>", b"hi", b'{"status": "ok"}'])
async def test_something_else_is_no_event_stream(body):
    sink = await ask([Head(content_type="text/html"), Send(body), CleanEnd()])
    assert isinstance(sink.error, NotAnEventStreamError)


async def test_a_whole_answer_has_a_limit():
    sink = await ask([Head(content_type="application/json"), Send(b"x" * (17 << 20)), CleanEnd()])
    assert isinstance(sink.error, RemoteProtocolError)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)],
)
async def test_compression_nobody_asked_for_is_undone(encoding, pack):
    body = EVENT * 50_000
    sink = await ask([Head(headers=(("Content-Encoding", encoding),)), Send(pack(body)), CleanEnd()])
    assert b"".join(what for what in sink.seen if isinstance(what, bytes)) == body
    assert sink.seen[-1] == "eof"


def zstd(data):
    return pytest.importorskip("zstandard").ZstdCompressor().compress(data)


async def test_zstd_is_undone_where_a_library_is_installed():
    body = EVENT * 50_000
    sink = await ask([Head(headers=(("Content-Encoding", "zstd"),)), Send(zstd(body)), CleanEnd()])
    pieces = [what for what in sink.seen if isinstance(what, bytes)]
    assert b"".join(pieces) == body
    assert sink.seen[-1] == "eof"


async def test_a_bomb_of_zstd_is_undone_in_pieces():
    body = b":" * 100_000_000 + b"\n\n"
    async with connected_to(
        [Head(headers=(("Content-Encoding", "zstd"),)), Send(zstd(body)), CleanEnd()]
    ) as (_, upstream):
        sink = Sink()
        upstream.connect({}, sink, streamed=True)
        await sink.end()
    pieces = [len(what) for what in sink.seen if isinstance(what, bytes)]
    assert sum(pieces) == len(body)
    assert max(pieces) < 8_000_000


@pytest.mark.parametrize("encoding", ["zstd"])
async def test_damaged_zstd_is_an_error(encoding):
    zstd(b"")
    sink = await ask([Head(headers=(("Content-Encoding", encoding),)), Send(b"this is no zstd"), CleanEnd()])
    assert isinstance(sink.error, RemoteProtocolError)


class Backwards:
    """In place of brotli's decompressor, which is not among our dependencies: as it is called."""

    def __init__(self):
        self._finished = False

    def process(self, data):
        if b"!" in data:
            raise ValueError("damaged")
        self._finished = b"." in data
        return data.swapcase()

    def is_finished(self):
        return self._finished


async def test_brotli_is_undone_where_a_library_is_installed(monkeypatch):
    monkeypatch.setattr(encodings, "_BROTLI", SimpleNamespace(__name__="brotli", Decompressor=Backwards))
    head = Head(headers=(("Content-Encoding", "br"),))
    sink = await ask([head, Send(b"DATA: x\n\n" * 100 + b"."), Send(b"more"), CleanEnd()])
    assert b"".join(what for what in sink.seen if isinstance(what, bytes)) == b"data: X\n\n" * 100 + b"."
    assert sink.seen[-1] == "eof"
    sink = await ask([head, Send(b"!"), CleanEnd()])
    assert isinstance(sink.error, RemoteProtocolError)


@pytest.mark.parametrize(("encoding", "body"), [("snappy", EVENT), ("gzip", b"this is no gzip")])
async def test_compression_that_cannot_be_undone_is_an_error(encoding, body):
    sink = await ask([Head(headers=(("Content-Encoding", encoding),)), Send(body), CleanEnd()])
    assert isinstance(sink.error, RemoteProtocolError)


# Errors


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param(b'{"error": {"message": "no such model"}}', "no such model", id="as OpenAI says it"),
        pytest.param(b'{"error": "no"}', "no", id="as a string"),
        pytest.param(b'{"detail": "no"}', "no", id="as FastAPI says it"),
        pytest.param(b'{"message": "no"}', "no", id="bare"),
        pytest.param(
            b'[{"error": {"code": 400, "message": "no", "status": "X"}}]', "no", id="as Gemini says it"
        ),
        pytest.param(b'{"errors": [{"message": "no"}]}', "no", id="as Cloudflare says it"),
        pytest.param(b'{"errors": "no"}', "no", id="errors that are a text"),
        pytest.param(b'{"msg": "no"}', "no", id="msg"),
        pytest.param(b'{"error_code": 17, "error_msg": "no"}', "no", id="error_msg"),
        pytest.param(b'{"Message": "no"}', "no", id="as AWS says it"),
        pytest.param(b'{"error": {"msg": "no"}}', "no", id="msg in an error"),
        pytest.param(
            b'{"detail": [{"loc": ["body", "messages", 0], "msg": "no"}, {"loc": ["body"], "msg": "never"}]}',
            "messages.0: no; never",
            id="as FastAPI lists it",
        ),
        pytest.param(b'{"detail": {"error": {"message": "no"}}}', "no", id="an object in detail"),
        pytest.param(
            b'{"base_resp": {"status_code": 1004, "status_msg": "no"}}', "no", id="as MiniMax says it"
        ),
        pytest.param(b'{"header": {"code": 10013, "message": "no"}}', "no", id="as Spark says it"),
        pytest.param(b'"no"', "no", id="a JSON string"),
        pytest.param(b"no,\r\n never\n", "no, never", id="plain text"),
        pytest.param(b'{"error": {"mess', "the upstream answered with status 400", id="cut JSON"),
        pytest.param(b"\x00\x01\xff", "the upstream answered with status 400", id="bytes"),
        pytest.param(b"<h1>no</h1>", "the upstream answered with status 400", id="HTML"),
        pytest.param(b"[1]", "the upstream answered with status 400", id="a list"),
        pytest.param(b"", "the upstream answered with status 400", id="nothing"),
        pytest.param(
            b'{"error": {"message": "bad key %s"}}' % KEY.encode(), "bad key ***", id="with our key in it"
        ),
    ],
)
async def test_a_status_that_is_no_success(body, message):
    sink = await ask([Status(400, body=body)], api_key=KEY)
    assert isinstance(sink.error, StatusError)
    assert (sink.error.upstream_status, sink.error.message) == (400, message)
    assert KEY.encode() not in sink.error.body
    assert "accepted" not in sink.seen


async def test_an_error_that_is_cut_or_endless_is_still_that_status():
    for steps in (
        [Head(503, framing="length", length=100), Send(b"half"), Reset()],
        [Head(503), Send(b"x" * 200_000), CleanEnd()],
    ):
        sink = await ask(steps)
        assert sink.error.upstream_status == 503
        assert len(sink.error.body) <= 65_536


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"2", 2.0), (b" 120 ", 120.0), (b"0", 0.0), (b"99999999999999", 999_999_999.0), (None, None), (b"", None),
        (b"-1", None), (b"1.5", None), (b"soon", None), (b"\xd9\xa3", None), (b"Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
    ],
)  # fmt: skip
def test_retry_after_in_every_form(value, seconds):
    assert _seconds(value) == seconds


def test_retry_after_as_a_date_is_the_time_until_then():
    assert 28 < _seconds(formatdate(time.time() + 30, usegmt=True).encode()) <= 30


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


def test_words_of_an_upstream_are_shown_without_its_key():
    upstream = HttpUpstream("up", "http://127.0.0.1:1", api_key=KEY)
    assert upstream.redact(f"bad key {KEY}!") == "bad key ***!"
    assert HttpUpstream("up", "http://127.0.0.1:1").redact("fine") == "fine"


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
