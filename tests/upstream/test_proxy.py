"""The environment's proxies: asked for http:// addresses, tunnelled through for https:// ones, never for loopback."""

from __future__ import annotations

import asyncio
import base64
import ssl
from contextlib import asynccontextmanager

import pytest
import trustme

from everytoken.errors import ConfigurationError, ConnectError
from everytoken.upstream import http
from everytoken.upstream.http import HttpUpstream
from everytoken.upstream.proxy import proxy_for
from everytoken.upstream.redirects import Origin
from upstream_sink import KEY, Sink

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9\r\n\r\ndata: x\n\n"
SEEN = ["connected", "accepted", b"data: x\n\n", "eof"]
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def serving(serve, **options):
    """Serve with `serve(reader, writer)` on loopback; yield the port."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def asked(url):
    """Return what one attempt at `url` reports."""
    upstream = HttpUpstream("up", url, api_key=KEY)
    sink = Sink()
    exchange = upstream.connect({}, sink, streamed=True)
    await sink.end()
    exchange.release(reusable=False)
    await upstream.stop()
    return sink


async def read(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    await reader.readexactly(length)
    return head


@pytest.mark.every_loop
async def test_a_proxy_is_asked_for_the_whole_of_an_http_address(monkeypatch):
    heads = []

    async def serve(reader, writer):
        heads.append(await read(reader))
        writer.write(ANSWER)
        writer.close()

    async with serving(serve) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:p%40ss@127.0.0.1:{port}")
        # Python reads HTTP_PROXY in small letters first, and not in capitals inside a CGI program.
        sink = await asked("http://up.test:81/v1?a=b")
    assert sink.seen == SEEN
    [head] = heads
    assert head.startswith(b"POST http://up.test:81/v1/chat/completions?a=b HTTP/1.1\r\nhost: up.test:81\r\n")
    assert b"proxy-authorization: Basic " + base64.b64encode(b"me:p@ss") + b"\r\n" in head
    assert b"authorization: Bearer " + KEY.encode() in head


@pytest.mark.every_loop
async def test_an_https_address_is_reached_through_a_tunnel(monkeypatch):
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr(http, "client_context", lambda: trusting)
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("up.test").configure_cert(own)
    heads = []

    async def serve(reader, writer):
        heads.append(await read(reader))
        writer.write(ANSWER)
        writer.close()

    async def pass_on(reader, writer):
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async with serving(serve, ssl=own) as behind:

        async def tunnel(reader, writer):
            heads.append(await read(reader))
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", behind)
            writer.write(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n")
            await asyncio.gather(
                pass_on(reader, up_writer), pass_on(up_reader, writer), return_exceptions=True
            )

        async with serving(tunnel) as port:
            monkeypatch.setenv("https_proxy", f"127.0.0.1:{port}")
            sink = await asked("https://up.test/v1")
    assert sink.seen == SEEN
    assert heads[0] == b"CONNECT up.test:443 HTTP/1.1\r\nhost: up.test:443\r\n\r\n"
    assert heads[1].startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: up.test\r\n")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "refused the connection with status 407"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "did not answer in HTTP"),
        (b"x" * 70_000, "headers are too large"),
        (b"", "closed the connection"),
    ],
)
async def test_a_proxy_that_refuses_is_a_failed_connection(answer, message, monkeypatch):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with serving(serve) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setattr(http, "client_context", ssl.create_default_context)
        sink = await asked("https://up.test/v1")
    assert isinstance(sink.error, ConnectError)
    assert message in sink.error.message


@pytest.mark.parametrize(
    ("environ", "url", "host"),
    [
        pytest.param({"HTTP_PROXY": "http://p:1"}, ("http", "up.test", 80), "p", id="http"),
        pytest.param({"HTTP_PROXY": "http://p:1"}, ("https", "up.test", 443), None, id="none for https"),
        pytest.param({"HTTPS_PROXY": "http://p:1"}, ("https", "up.test", 443), "p", id="https"),
        pytest.param({"ALL_PROXY": "http://p:1"}, ("https", "up.test", 443), "p", id="all"),
        pytest.param({"https_proxy": "http://p:1", "HTTPS_PROXY": "http://q:1"}, ("https", "up.test", 443), "p", id="small letters first"),
        pytest.param({"HTTPS_PROXY": ""}, ("https", "up.test", 443), None, id="empty"),
        pytest.param({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "test"}, ("https", "up.test", 443), None, id="NO_PROXY with a domain"),
        pytest.param({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "up.test:443"}, ("https", "up.test", 443), None, id="NO_PROXY with a port"),
        pytest.param({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, ("https", "up.test", 443), None, id="NO_PROXY for all"),
        pytest.param({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.test"}, ("https", "up.test", 443), "p", id="NO_PROXY for others"),
        pytest.param({"HTTP_PROXY": "http://p:1"}, ("http", "localhost", 80), None, id="localhost"),
        pytest.param({"HTTP_PROXY": "http://p:1"}, ("http", "127.0.0.9", 80), None, id="loopback"),
        pytest.param({"HTTP_PROXY": "http://p:1"}, ("http", "::1", 80), None, id="loopback in IPv6"),
        pytest.param({"HTTP_PROXY": "http://p:1"}, ("http", "10.0.0.1", 80), "p", id="a private address"),
    ],
)  # fmt: skip
def test_which_proxy_is_used(environ, url, host, monkeypatch):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    found = proxy_for(Origin(*url))
    assert (found and found.host) == host


@pytest.mark.parametrize("url", ["socks5://p:1", "http://", "http://p:port"])
def test_a_proxy_that_cannot_be_used_is_a_configuration_error(url, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(ConfigurationError, match="proxy"):
        HttpUpstream("up", "https://up.test/v1")


def test_the_credentials_of_a_proxy_are_a_secret(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://me:a-long-password-here@p:1")
    text = HttpUpstream("up", "http://up.test").redact("refused a-long-password-here")
    assert text == "refused ***"
