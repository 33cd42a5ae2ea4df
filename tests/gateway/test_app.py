"""The gateway inside other applications and under other servers."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from everytoken.errors import ConfigurationError
from everytoken.gateway.server import DirectProtocol
from everytoken.recovery import Policy
from gateway_serving import HELLO, ManualUpstream, Wire, over, served

ONCE = Policy(attempts=1)


class PassThrough(BaseHTTPMiddleware):
    """A middleware as people write them."""

    async def dispatch(self, request, call_next):
        response = await call_next(request)
        response.headers["x-seen"] = "yes"
        return response


def fastapi(gateway):
    app = FastAPI()
    app.mount("/llm", gateway)
    return app


def starlette(gateway):
    return Starlette(routes=[Mount("/llm", app=gateway)])


def middleware(gateway):
    return Starlette(routes=[Mount("/llm", app=gateway)], middleware=[Middleware(PassThrough)])


def gzip(gateway):
    return Starlette(
        routes=[Mount("/llm", app=gateway)], middleware=[Middleware(GZipMiddleware, minimum_size=1)]
    )


def nested(gateway):
    return Starlette(routes=[Mount("/llm", routes=[Mount("/", app=gateway)])])


APPS = [fastapi, starlette, middleware, gzip, nested]
SERVERS = [DirectProtocol, HttpToolsProtocol, H11Protocol]


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("http", SERVERS)
async def test_a_mounted_gateway_streams_as_it_goes(app, http):
    upstream = ManualUpstream()
    gateway = over(upstream)
    async with served(app(gateway), http=http) as port, Wire.to(port) as wire:
        wire.send("POST", "/llm/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("one ")
        head = await wire.head()
        assert head.status == 200
        assert head.headers["location"].startswith("/llm/v1/stream/")
        assert (head.headers.get("x-seen") == "yes") == (app is middleware)
        assert b"one " in (await wire.frame() or b"")
        attempt.send("two ")
        assert b"two " in (await wire.frame() or b"")
        attempt.finish()
        await wire.rest(head)
        assert head.complete
        wire.send("GET", head.headers["location"] + "/events")
        assert (await wire.answer()).text == "one two "
    await gateway.stop()


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("http", SERVERS)
async def test_an_interruption_is_a_broken_connection_everywhere(app, http):
    upstream = ManualUpstream()
    gateway = over(upstream, policy=ONCE)
    async with served(app(gateway), http=http) as port, Wire.to(port) as wire:
        wire.send("POST", "/llm/api/chat", {"prompt": "Hi"})
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("one two")
        head = await wire.head()
        attempt.sink.on_eof()
        answer = await wire.rest(head)
    assert b"[interrupted: " in answer.body
    assert not answer.complete
    await gateway.stop()


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("http", SERVERS)
async def test_a_reader_that_leaves_is_noticed_everywhere(app, http):
    upstream = ManualUpstream()
    gateway = over(upstream, grace=0.0)
    async with served(app(gateway), http=http) as port:
        async with Wire.to(port) as wire:
            wire.send("POST", "/llm/v1/chat/completions", HELLO)
            attempt = await upstream.attempt()
            attempt.accept()
            await wire.head()
        async with asyncio.timeout(5):
            await attempt.released.wait()
    await gateway.stop()


async def test_the_page_and_the_errors_know_where_they_are_mounted():
    gateway = over(ManualUpstream())
    async with served(fastapi(gateway)) as port, Wire.to(port) as wire:
        wire.send("GET", "/llm/healthz")
        assert (await wire.answer()).json["status"] == "ok"
        wire.send("GET", "/llm/")
        assert (await wire.answer()).headers["content-type"].startswith("text/html")
        wire.send("GET", "/llm/nothing")
        assert (await wire.answer()).error["code"] == "route-not-found"
        wire.send("GET", "/llmx/healthz")
        assert (await wire.answer()).status == 404
    await gateway.stop()


async def test_a_mount_point_with_line_ends_in_it_cannot_write_headers():
    upstream = ManualUpstream()
    gateway = over(upstream)
    app = Starlette(routes=[Mount("/{tenant}", app=gateway)])
    async with served(app) as port, Wire.to(port) as wire:
        wire.send("POST", "/a%0D%0ASet-Cookie:%20x=%C3%A9/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        head = await wire.head()
        attempt.finish()
    assert head.headers["location"].startswith("/a%0D%0ASet-Cookie%3A%20x%3D%C3%A9/v1/stream/")
    assert "set-cookie" not in head.headers
    await gateway.stop()


async def test_it_lives_in_its_hosts_lifespan():
    gateway = over(ManualUpstream())

    @asynccontextmanager
    async def lifespan(_app):
        async with gateway:
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/llm", gateway)
    sent: list[dict] = []
    received = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive():
        return next(received)

    async def send(message):
        sent.append(message)

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


async def test_its_own_lifespan_says_what_is_wrong():
    class Broken(ManualUpstream):
        async def start(self):
            raise ConfigurationError("upstream 'it' cannot be used")

    sent: list[dict] = []

    async def receive():
        return {"type": "lifespan.startup"}

    async def send(message):
        sent.append(message)

    await over(Broken())({"type": "lifespan"}, receive, send)
    assert sent == [{"type": "lifespan.startup.failed", "message": "upstream 'it' cannot be used"}]


async def test_a_websocket_is_refused():
    sent: list[dict] = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    await over(ManualUpstream())({"type": "websocket", "path": "/"}, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1003}]


async def test_a_server_that_says_by_an_error_that_the_client_has_gone():
    upstream = ManualUpstream()
    gateway = over(upstream, grace=0.0)
    waiting = asyncio.Event()
    messages = [
        {"type": "http.request", "body": b'{"messages":[{"role":"user","content":"x"}],"stream":true}'}
    ]

    async def receive():
        if messages:
            return messages.pop()
        await waiting.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.body":
            raise OSError("the client has gone")

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    serving = asyncio.create_task(gateway(scope, receive, send))
    attempt = await upstream.attempt()
    attempt.accept()
    attempt.send("one")
    async with asyncio.timeout(5):
        await attempt.released.wait()
        await serving
    await gateway.stop()


async def test_what_texts_beyond_ascii_need_is_read_at_the_start_and_beside_the_loop(monkeypatch):
    threads = []
    monkeypatch.setattr("everytoken.smoothing.preload", lambda: threads.append(threading.current_thread()))
    gateway = over(ManualUpstream())
    await asyncio.gather(gateway.start(), gateway.start())
    await gateway.start()
    await gateway.stop()
    [thread] = threads
    assert thread is not threading.main_thread()
