"""Redirects of an upstream: followed on the same host and to those that are listed, and the key goes nowhere else."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from everytoken.errors import StatusError
from everytoken.testing import ScriptedUpstream, Status
from everytoken.upstream.http import HttpUpstream
from everytoken.upstream.redirects import Asked, Origin, moved
from upstream_sink import EVENT, KEY, STREAM, Sink

BODY = {"messages": [{"role": "user", "content": "é"}]}


def redirect(location, status=307):
    return [Status(status, headers=(("Location", location),))]


@asynccontextmanager
async def asked(first, *, then=STREAM, **options):
    """Ask an upstream that answers by the `first` script, and then by another; yield the sink and the upstream."""
    numbers = iter(range(100))

    def script(_):
        return first if next(numbers) == 0 else then

    async with ScriptedUpstream(script) as scripted:
        upstream = HttpUpstream("up", scripted.base_url, api_key=KEY, **options)
        sink = Sink()
        exchange = upstream.connect(BODY, sink, streamed=True)
        try:
            await sink.end()
            yield sink, scripted
        finally:
            exchange.release(reusable=False)
            await upstream.stop()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/v2/chat/completions?a=b", "/v2/chat/completions?a=b"),
        ("completions?x=1", "/v1/chat/completions?x=1"),
        ("/é x/chat/completions", "/%C3%A9%20x/chat/completions"),
    ],
)
async def test_a_redirect_on_the_same_host_is_followed_with_the_same_post(status, location, path):
    async with asked(redirect(location, status)) as (sink, scripted):
        assert sink.seen == ["connected", "accepted", EVENT, "eof"]
        _, second = scripted.requests
    assert second.path == path
    assert (second.method, second.json) == ("POST", BODY)
    assert second.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("listed", ["127.0.0.1", "127.0.0.1:{port}"])
async def test_a_listed_host_is_asked_with_the_key(listed):
    async with ScriptedUpstream(STREAM) as other:
        port = int(other.base_url.rpartition(":")[2].partition("/")[0])
        url = f"{other.base_url}/chat/completions"
        async with asked(redirect(url), redirect_hosts=[listed.format(port=port)]) as (sink, _):
            assert sink.seen[-1] == "eof"
        [request] = other.requests
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["host"] == f"127.0.0.1:{port}"
    assert request.json == BODY


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_no_other_host_is_asked(name, status):
    async with ScriptedUpstream(STREAM) as other:
        url = other.base_url.replace("127.0.0.1", name) + "/chat/completions"
        async with asked(redirect(url, status), redirect_hosts=["elsewhere.test"]) as (sink, _):
            assert isinstance(sink.error, StatusError)
            assert sink.error.upstream_status == status
            assert name in sink.error.message
        assert not other.requests


async def test_five_redirects_are_followed_and_no_more():
    numbers = iter(range(100))
    async with ScriptedUpstream(lambda _: redirect(f"/{next(numbers)}/chat/completions")) as scripted:
        upstream = HttpUpstream("up", scripted.base_url)
        sink = Sink()
        upstream.connect(BODY, sink, streamed=True)
        await sink.end()
        await upstream.stop()
        assert sink.error.upstream_status == 307
        assert len(scripted.requests) == 6


async def test_a_redirect_to_the_same_address_is_left_to_another_attempt():
    async with asked(redirect("completions")) as (sink, scripted):
        assert sink.error.upstream_status == 307
        assert len(scripted.requests) == 1


async def test_a_302_to_where_nothing_is_may_pass():
    async with asked(redirect("/login", 302)) as (sink, _):
        assert sink.error.upstream_status == 302


async def test_a_303_is_not_followed_because_it_would_drop_the_question():
    async with asked(redirect("/there", 303)) as (sink, scripted):
        assert sink.error.upstream_status == 303
        assert len(scripted.requests) == 1


async def test_the_models_are_found_behind_a_redirect():
    async def serve(reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"GET /v2/models"):
                data = json.dumps({"data": [{"id": "a"}]}).encode()
                writer.write(
                    b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(data), data)
                )
                break
            writer.write(b"HTTP/1.1 303 X\r\nLocation: /v2/models\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream = HttpUpstream("up", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        assert await upstream.models() == [{"id": "a"}]
    finally:
        await upstream.stop()
        server.close()
        await server.wait_closed()


HOME = Origin("https", "api.test", 443)


@pytest.mark.parametrize(
    ("home", "location", "hosts", "target"),
    [
        pytest.param(HOME, "https://api.test/x", (), "https://api.test:443/x", id="the same host"),
        pytest.param(HOME, "//api.test:443/x", (), "https://api.test:443/x", id="without a scheme"),
        pytest.param(HOME, "https://API.test/x", (), "https://api.test:443/x", id="in other letters"),
        pytest.param(HOME, "https://user:pw@api.test/x#y", (), "https://api.test:443/x", id="with what is not sent"),
        pytest.param(HOME, "https://api.test", (), "https://api.test:443/", id="without a path"),
        pytest.param(HOME, "https://eu.api.test/x", ("eu.api.test",), "https://eu.api.test:443/x", id="a listed host"),
        pytest.param(HOME, "https://eu.api.test/x", ("api.test",), None, id="a part of a name"),
        pytest.param(HOME, "https://api.test.evil.test/x", (), None, id="a longer name"),
        pytest.param(HOME, "https://api.test@evil.test/x", (), None, id="a name in front of an @"),
        pytest.param(HOME, "http://api.test/x", ("api.test",), None, id="from TLS to none"),
        pytest.param(HOME, "https://api.test:8443/x", (), None, id="another port"),
        pytest.param(HOME, "ftp://api.test/x", (), None, id="another scheme"),
        pytest.param(HOME, "https://[x", (), None, id="no URL"),
        pytest.param(HOME, "https://api.test:port/x", (), None, id="no port"),
        pytest.param(Origin("http", "api.test", 80), "https://api.test/x", (), "https://api.test:443/x", id="to TLS"),
        pytest.param(Origin("http", "api.test", 8000), "https://api.test/x", (), None, id="to TLS from another port"),
        pytest.param(Origin("http", "::1", 80), "http://[::1]/x", (), "http://[::1]:80/x", id="IPv6"),
    ],
)  # fmt: skip
def test_where_a_request_may_be_sent_on_to(home, location, hosts, target):
    found = moved(Asked("POST", home, "/v1", "*/*", b"{}"), home, 307, location, hosts)
    assert (found and f"{found.origin.scheme}://{found.origin.address}{found.target}") == target
