"""Upstreams that speak HTTP/2 only, without TLS and with it: what is sent, what is reported, and what breaks."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import ssl
from contextlib import asynccontextmanager

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest
import trustme
from h2.errors import ErrorCodes

from everytoken.errors import ConfigurationError, ConnectError, StatusError, TruncatedError
from everytoken.gateway.config import UpstreamConfig
from everytoken.upstream import http
from everytoken.upstream.http import HttpUpstream
from gateway_serving import FINISH, HELLO, Wire, event, limit, serving
from upstream_sink import KEY, Sink

EVENTS = [b"data: a\n\n", b"data: b\n\n"]
SEEN = ["connected", "accepted", *EVENTS, "eof"]
STREAM = [(b":status", b"200"), (b"content-type", b"text/event-stream")]


class Server:
    """Speaks HTTP/2 and nothing else. `answer(server, connection, stream)` is called for each request but `GET /models`."""

    def __init__(self, answer):
        self.answer = answer
        self.requests = []
        self.bodies = []
        self.connections = []
        self.refused = 0  # connections that began in another way
        self.port = 0

    def made(self):
        connection = _Connection(self)
        self.connections.append(connection)
        return connection


class _Connection(asyncio.Protocol):
    def __init__(self, server):
        self.server = server
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self.bodies = {}
        self.waiting = []  # streams and data that go out as the windows open
        self.lost = False

    def connection_made(self, transport):
        self.transport = transport
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        self.transport.write(self.h2.data_to_send())

    def data_received(self, data):
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self.server.refused += 1
            self.transport.close()
            return
        for one in events:
            if isinstance(one, h2.events.RequestReceived):
                self.bodies[one.stream_id] = b""
                self.server.requests.append(dict(one.headers))
            elif isinstance(one, h2.events.DataReceived):
                self.bodies[one.stream_id] += one.data
                self.h2.acknowledge_received_data(one.flow_controlled_length, one.stream_id)
            elif isinstance(one, h2.events.StreamEnded):
                self._answer(one.stream_id)
        while self.waiting:
            stream, part = self.waiting[0]
            if self.h2.local_flow_control_window(stream) < len(part):
                break
            del self.waiting[0]
            self.h2.send_data(stream, part, end_stream=not self.waiting)
        self.flush()

    def _answer(self, stream):
        request = self.server.requests[-1]
        if request[":method"] == "GET":
            self.h2.send_headers(stream, [(b":status", b"404")], end_stream=True)
            return
        self.server.bodies.append(self.bodies[stream])
        self.server.answer(self, stream)

    def send(self, stream, *parts, end=True):
        self.h2.send_headers(stream, STREAM)
        for part in parts:
            self.h2.send_data(stream, part)
        if end:
            self.h2.end_stream(stream)
        self.flush()

    def connection_lost(self, exc):
        self.lost = True


def whole(connection, stream):
    connection.send(stream, *EVENTS)


@asynccontextmanager
async def listening(answer=whole, *, tls=None):
    server = Server(answer)
    listener = await asyncio.get_running_loop().create_server(server.made, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for connection in server.connections:
            connection.transport.abort()
        await listener.wait_closed()


async def ask(upstream, body=None):
    sink = Sink()
    exchange = upstream.connect(body or {}, sink, streamed=True)
    await sink.end()
    exchange.release(reusable=True)
    return sink


@asynccontextmanager
async def upstream_at(url, **options):
    upstream = HttpUpstream("up", url, api_key=KEY, **options)
    try:
        yield upstream
    finally:
        await upstream.stop()


@pytest.fixture
def tls(monkeypatch):
    """The TLS of a server that has nothing but HTTP/2 to offer."""
    authority = trustme.CA()

    def trusting():
        context = ssl.create_default_context()
        authority.configure_trust(context)
        return context

    monkeypatch.setattr(http, "client_context", trusting)
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.set_alpn_protocols(["h2"])
    authority.issue_cert("localhost").configure_cert(own)
    return own


@pytest.mark.every_loop
@pytest.mark.parametrize("known", [True, False], ids=["configured", "found out"])
async def test_it_is_served_without_tls(known):
    async with (
        listening() as server,
        upstream_at(f"http://127.0.0.1:{server.port}/v1?v=1", http2=known) as upstream,
    ):
        assert (await ask(upstream, {"model": "m"})).seen == SEEN
        assert (await ask(upstream, {"model": "m"})).seen == SEEN
        request = server.requests[0]
        assert request[":method"] == "POST"
        assert request[":path"] == "/v1/chat/completions?v=1"
        assert request[":authority"] == f"127.0.0.1:{server.port}"
        assert request["authorization"] == f"Bearer {KEY}"
        assert request["content-length"] == str(len(server.bodies[0]))
        assert server.bodies == [json.dumps({"model": "m"}, separators=(",", ":")).encode()] * 2
        assert not {"host", "connection"} & set(request)
        # One connection serves both; and nobody is asked in HTTP/1.1 a second time.
        assert len(server.connections) == (1 if known else 2)


@pytest.mark.every_loop
@pytest.mark.parametrize("known", [True, False], ids=["configured", "found out"])
async def test_it_is_served_with_tls(known, tls):
    async with (
        listening(tls=tls) as server,
        upstream_at(f"https://localhost:{server.port}/v1", http2=known) as upstream,
    ):
        assert (await ask(upstream)).seen == SEEN
        assert server.requests[0][":scheme"] == "https"
        assert server.connections[-1].transport.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"


async def test_a_server_that_refuses_the_handshake_is_asked_for_http2(tls, monkeypatch):
    """Most servers but Python's send the alert of RFC 7301 if nothing that the client offers is theirs."""
    loop = asyncio.get_running_loop()
    create, offered = loop.create_connection, []

    async def picky(*args, ssl, **options):
        offered.append(ssl)
        if len(offered) == 1:
            error = OSError if ssl is None else __import__("ssl").SSLError
            failure = error(1, "[SSL: TLSV1_ALERT_NO_APPLICATION_PROTOCOL] tlsv1 alert")
            failure.reason = "TLSV1_ALERT_NO_APPLICATION_PROTOCOL"
            raise failure
        return await create(*args, ssl=ssl, **options)

    async with (
        listening(tls=tls) as server,
        upstream_at(f"https://localhost:{server.port}/v1") as upstream,
    ):
        monkeypatch.setattr(loop, "create_connection", picky)
        assert (await ask(upstream)).seen == SEEN
        assert offered[0] is not offered[1]


async def test_a_gateway_serves_from_it_on_its_defaults():
    def answer(connection, stream):
        connection.send(stream, event("One ") + event("two"), FINISH)

    async with (
        listening(answer) as server,
        serving(UpstreamConfig(name="up", url=f"http://127.0.0.1:{server.port}/v1")) as gateway,
    ):
        answer = await gateway.ask("POST", "/v1/chat/completions", HELLO)
        assert answer.complete
        assert answer.text == "One two"
        assert len(server.bodies) == 1


FORM = (
    b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--x\r\n\r\n'
    + b"f" * 200_000
    + b"\r\n--x--"
)


async def test_a_form_that_is_passed_on_is_sent_whole():
    def answer(connection, stream):
        connection.h2.send_headers(stream, [(b":status", b"200"), (b"content-type", b"application/json")])
        connection.h2.send_data(stream, b"{}", end_stream=True)
        connection.flush()

    async with (
        limit(),
        listening(answer) as server,
        serving(UpstreamConfig(name="up", url=f"http://127.0.0.1:{server.port}/v1", http2=True)) as gateway,
    ):
        media = {"Content-Type": "multipart/form-data; boundary=x"}
        answer = await gateway.ask("POST", "/v1/audio/transcriptions", FORM, media)
    assert (answer.status, answer.json) == (200, {})
    assert server.bodies == [FORM]
    assert server.requests[0]["content-type"] == media["Content-Type"]


async def test_a_form_for_a_server_found_to_speak_only_http2_may_be_sent_again():
    async with (
        limit(),
        listening() as server,
        serving(UpstreamConfig(name="up", url=f"http://127.0.0.1:{server.port}/v1")) as gateway,
    ):
        async with Wire.to(gateway.port) as wire:  # the rest follows only once the upstream has been asked
            media = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(len(FORM))}
            wire.send("POST", "/v1/audio/transcriptions", None, media)
            wire.writer.write(FORM[:100])
            answer = await wire.answer()
        assert (answer.status, answer.error["code"]) == (502, "upstream-connect")
        assert "only HTTP/2" in answer.error["message"]


async def test_a_request_larger_than_the_window_is_sent_as_it_opens():
    async with (
        listening() as server,
        upstream_at(f"http://127.0.0.1:{server.port}/v1", http2=True) as upstream,
    ):
        sink = await ask(upstream, {"text": "x" * 300_000})
        assert sink.seen == SEEN
        assert len(server.bodies[0]) > 300_000


async def test_an_answer_larger_than_the_window_comes_whole():
    part = b"data: %b\n\n" % (b"x" * 16_000)

    def answer(connection, stream):
        connection.h2.send_headers(stream, STREAM)
        connection.waiting = [(stream, part)] * 200

    async with (
        listening(answer) as server,
        upstream_at(f"http://127.0.0.1:{server.port}/v1", http2=True) as upstream,
    ):
        sink = await ask(upstream)
        assert b"".join(part for part in sink.seen if isinstance(part, bytes)) == part * 200


async def test_a_paused_exchange_holds_the_upstream_back():
    part = b"data: %b\n\n" % (b"x" * 16_000)

    def answer(connection, stream):
        connection.h2.send_headers(stream, STREAM)
        connection.waiting = [(stream, part)] * 2000

    async with (
        listening(answer) as server,
        upstream_at(f"http://127.0.0.1:{server.port}/v1", http2=True) as upstream,
    ):
        sink = Sink()
        exchange = upstream.connect({}, sink, streamed=True)
        await sink.until("accepted")
        exchange.pause()
        held = -1
        while held != len(server.connections[0].waiting):
            held = len(server.connections[0].waiting)
            for _ in range(100):
                await asyncio.sleep(0)
        assert held > 1000
        exchange.resume()
        await sink.end()
        exchange.release(reusable=False)
        assert sum(len(part) for part in sink.seen if isinstance(part, bytes)) == 2000 * len(part)


def reset(code):
    def answer(connection, stream):
        connection.send(stream, EVENTS[0], end=False)
        connection.h2.reset_stream(stream, code)

    return answer


def broken(connection, stream):
    connection.send(stream, EVENTS[0], end=False)
    connection.transport.close()


@pytest.mark.parametrize("answer", [reset(ErrorCodes.INTERNAL_ERROR), reset(ErrorCodes.NO_ERROR), broken])
async def test_what_breaks_in_the_middle_is_truncated(answer):
    async with (
        listening(answer) as server,
        upstream_at(f"http://127.0.0.1:{server.port}/v1", http2=True) as upstream,
    ):
        sink = await ask(upstream)
        assert isinstance(sink.error, TruncatedError)
        assert sink.seen[:3] == SEEN[:3]


async def test_a_body_shorter_than_announced_is_truncated():
    def answer(connection, stream):
        connection.h2.send_headers(stream, [*STREAM, (b"content-length", b"100")])
        connection.h2.send_data(stream, EVENTS[0], end_stream=True)

    async with (
        listening(answer) as server,
        upstream_at(f"http://127.0.0.1:{server.port}/v1", http2=True) as upstream,
    ):
        assert isinstance((await ask(upstream)).error, TruncatedError)


async def test_a_refusal_has_its_status_and_reason():
    def answer(connection, stream):
        head = [(b":status", b"429"), (b"content-type", b"application/json"), (b"retry-after", b"2")]
        connection.h2.send_headers(stream, head)
        connection.h2.send_data(stream, b'{"error": {"message": "too many"}}', end_stream=True)

    async with (
        listening(answer) as server,
        upstream_at(f"http://127.0.0.1:{server.port}/v1", http2=True) as upstream,
    ):
        error = (await ask(upstream)).error
        assert isinstance(error, StatusError)
        assert (error.upstream_status, error.message, error.retry_after) == (429, "too many", 2.0)


async def test_a_stream_that_was_refused_unread_is_a_failed_connection():
    def answer(connection, stream):
        connection.h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)

    async with (
        listening(answer) as server,
        upstream_at(f"http://127.0.0.1:{server.port}/v1", http2=True) as upstream,
    ):
        assert isinstance((await ask(upstream)).error, ConnectError)


async def test_a_kept_connection_that_is_closed_meanwhile_is_replaced():
    """The server says goodbye as the second request is under way: it has not read it, so it is sent again."""

    def answer(connection, stream):
        if stream == 1:
            connection.send(stream, *EVENTS)
        else:
            connection.h2.close_connection(last_stream_id=1)

    async with (
        listening(answer) as server,
        upstream_at(f"http://127.0.0.1:{server.port}/v1", http2=True) as upstream,
    ):
        assert (await ask(upstream)).seen == SEEN
        assert (await ask(upstream)).seen == SEEN
        assert len(server.connections) == 2


async def test_letting_go_ends_it_at_the_upstream():
    def answer(connection, stream):
        connection.send(stream, EVENTS[0], end=False)

    async with (
        listening(answer) as server,
        upstream_at(f"http://127.0.0.1:{server.port}/v1", http2=True) as upstream,
    ):
        sink = Sink()
        exchange = upstream.connect({}, sink, streamed=True)
        await sink.until(EVENTS[0])
        exchange.release(reusable=False)
        async with limit():
            while not server.connections[0].lost:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)


@pytest.fixture
def without_h2(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "everytoken.upstream.connecting.importlib.util.find_spec",
        lambda name, *rest: None if name == "h2" else find(name, *rest),
    )


async def test_without_the_package_the_error_says_how_to_install_it(without_h2):
    with pytest.raises(ConfigurationError, match=r"pip install 'everytoken\[http2\]'"):
        HttpUpstream("up", "http://127.0.0.1:1", http2=True)
    async with (
        listening() as server,
        upstream_at(f"http://127.0.0.1:{server.port}/v1") as upstream,
    ):
        error = (await ask(upstream)).error
        assert isinstance(error, ConnectError)
        assert "speaks only HTTP/2" in error.message
        assert "pip install 'everytoken[http2]'" in error.message
        assert "\n" not in error.message


async def test_through_a_proxy_it_needs_tls(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.test:3128")
    with pytest.raises(ConfigurationError, match="does not go through a proxy"):
        HttpUpstream("up", "http://up.test", http2=True)
