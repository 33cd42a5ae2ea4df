"""A web page of another origin is not a caller, unless the configuration lists it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway_serving import HELLO, ManualUpstream, Served, Wire, limit, over, served, serving

CHAT = "/v1/chat/completions"
OTHER = "https://evil.example"
SPENDING = [
    ("POST", CHAT, HELLO),
    ("POST", "/v1/embeddings", HELLO),
    ("POST", "/v1/completions", HELLO),
    ("POST", "/v1/rerank", HELLO),
    ("POST", "/v1/moderations", HELLO),
    ("POST", "/v1/images/edits", HELLO),
    ("POST", "/v1/audio/speech", HELLO),
    ("GET", "/v1/audio/voices", None),
    ("POST", "/api/chat", {"prompt": "Hello"}),
    ("POST", "/api/chat/chat-1/stop", None),
    ("GET", "/api/chat/chat-1/stream", None),
    ("GET", "/v1/models", None),
    ("PUT", "/v1/stream/s", b"x"),
    ("POST", "/v1/stream/s", b"x"),
    ("GET", "/v1/stream/s", None),
    ("GET", "/v1/stream/s/events", None),
    ("POST", "/v1/stream/s/cancel", None),
    ("DELETE", "/v1/stream/s", None),
]
FOREIGN = {
    "a fetch from another site": {"Sec-Fetch-Site": "cross-site", "Origin": OTHER},
    "one from another port of ours": {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
    "no-cors, without an origin": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "an iframe or a link": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    "a browser from before Fetch Metadata": {"Origin": OTHER},
    "the right name, another port": {"Origin": "http://test:81"},
    "a page without an origin": {"Origin": "null"},
    "an origin that is none": {"Origin": "http://["},
    "a site we do not know": {"Sec-Fetch-Site": "elsewhere"},
}
OWN = {
    "a program": {},
    "our page": {"Sec-Fetch-Site": "same-origin", "Origin": "http://test"},
    "our page, before Fetch Metadata": {"Origin": "http://test"},
    "our page behind TLS": {"Origin": "https://test", "Host": "test"},
    "our page behind a rewrite of Next.js": {
        "Sec-Fetch-Site": "same-origin",
        "Origin": "http://localhost:3000",
    },
    "typed into the address bar": {"Sec-Fetch-Site": "none"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN.keys())
async def test_a_foreign_page_is_refused_before_its_body_is_read(headers):
    upstream = ManualUpstream()
    async with limit(), serving(upstream) as gateway:
        for method, path, body in SPENDING:
            # The body is announced and never sent: the refusal must not wait for it.
            announced = {"Content-Length": "1000"} if body is not None else {}
            answer = await gateway.ask(method, path, None, {**headers, **announced})
            assert answer.status == 403, (method, path)
            assert answer.error["code"] == "origin-not-allowed"
            assert "origins = [" in answer.error["message"]
            assert "access-control-allow-origin" not in answer.headers
        assert not upstream.attempts
        assert (await gateway.ask("GET", "/v1/stream/s")).status == 404, "nothing was made"


@pytest.mark.parametrize("headers", OWN.values(), ids=OWN.keys())
async def test_our_own_pages_and_programs_are_not_hindered(headers):
    async with limit(), serving(ManualUpstream()) as gateway:
        assert (await gateway.ask("GET", "/v1/models", None, headers)).status == 200
        assert (await gateway.ask("PUT", "/v1/stream/s", b"x", headers)).status == 201
        bad = await gateway.ask(
            "POST", "/api/chat", b"{}", {**headers, "Content-Type": "text/plain;charset=UTF-8"}
        )
        assert bad.status == 400, "the guide's component sends no other type"


TYPES = [
    ("application/json", OWN["a program"], True),
    ("application/json; charset=utf-8", OWN["our page"], True),
    ("application/vnd.api+json", OWN["a program"], True),
    ("", OWN["a program"], True),
    ("text/plain", OWN["a program"], True),
    ("text/plain;charset=UTF-8", OWN["our page behind a rewrite of Next.js"], True),
    ("application/x-www-form-urlencoded", OWN["a program"], True),
    ("application/x-www-form-urlencoded", OWN["our page"], False),
    ("multipart/form-data; boundary=x", OWN["our page"], False),
    ("multipart/form-data; boundary=x", OWN["a program"], False),
    ("text/html", OWN["a program"], False),
]


@pytest.mark.parametrize(("media", "headers", "fine"), TYPES)
async def test_json_routes_take_json(media, headers, fine):
    async with limit(), serving(ManualUpstream()) as gateway:
        for path in (CHAT, "/api/chat"):
            answer = await gateway.ask("POST", path, b"{}", {**headers, "Content-Type": media})
            assert answer.status == (400 if fine else 415), path


PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
}


@pytest.mark.parametrize(
    "path", [CHAT, "/api/chat", "/v1/models", "/v1/stream/s", "/api/chat/c/stream", "/v1/other"]
)
@pytest.mark.parametrize(
    ("origins", "fine"), [([OTHER], True), (["*"], True), (["https://a.example"], False)]
)
async def test_a_listed_origin_may_ask_and_read(path, origins, fine):
    page = {"Origin": OTHER, "Sec-Fetch-Site": "cross-site"}
    async with (
        limit(),
        serving(ManualUpstream(), origins=origins, api_keys=["a key of the caller"]) as gateway,
    ):
        asked = await gateway.ask("OPTIONS", path, None, {**page, **PREFLIGHT})
        assert asked.status == 204
        assert asked.headers.get("access-control-allow-origin") == (OTHER if fine else None)
        assert "x-stainless-os" in asked.headers["access-control-allow-headers"]
        answer = await gateway.ask("GET", path, None, page)
        assert answer.status in ({401, 404, 405} if fine else {403})
        assert answer.headers.get("access-control-allow-origin") == (OTHER if fine else None), (
            "also of an error"
        )
        assert answer.headers["vary"] == "Origin"
        if fine:
            exposed = answer.headers["access-control-expose-headers"]
            assert all(
                name in exposed for name in ("Location", "Stream-Next-Offset", "X-Request-Id", "Retry-After")
            )


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: test\r\nOrigin: https://evil.example\r\n"
REFUSED_EARLY = {
    "two Hosts": (HEAD + b"Host: test\r\n\r\n", 400),
    "what cannot be parsed": (HEAD + b"a: b\r\na b c\r\n\r\n", 400),
    "a head that stays unfinished": (HEAD + b"a: b\r\n", 408),
    "a body that stays unfinished": (HEAD + b"Content-Length: 10\r\n\r\n{", 408),
    "more than a hundred headers": (HEAD + b"a: b\r\n" * 100 + b"\r\n", 431),
    "another coding": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
}


@pytest.mark.parametrize(("data", "status"), REFUSED_EARLY.values(), ids=REFUSED_EARLY.keys())
@pytest.mark.parametrize(
    ("origins", "fine"), [([OTHER], True), (["*"], True), (["https://a.example"], False)]
)
@pytest.mark.virtual_time
async def test_a_listed_origin_can_read_what_the_listener_says(data, status, origins, fine):
    async with (
        limit(),
        serving(ManualUpstream(), origins=origins) as gateway,
        Wire.to(gateway.port) as wire,
    ):
        wire.writer.write(data)
        answer = await wire.answer()
        assert answer.status in ({status} if fine else {status, 403})
        assert answer.headers.get("access-control-allow-origin") == (OTHER if fine else None)
        assert answer.headers["vary"] == "Origin"
        assert ("X-Request-Id" in answer.headers.get("access-control-expose-headers", "")) == fine


async def test_what_comes_before_the_origin_is_read_by_no_page():
    async with limit(), serving(ManualUpstream(), origins=["*"]) as gateway, Wire.to(gateway.port) as wire:
        wire.writer.write(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n")
        answer = await wire.answer()
        assert answer.status == 414
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(("origins", "fine"), [(["*"], True), ([OTHER], False)])
@pytest.mark.parametrize("origin", ["null", "https://a.example"])
async def test_a_star_admits_every_origin_without_credentials(origin, origins, fine):
    page = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
    async with limit(), serving(ManualUpstream(), origins=origins) as gateway:
        for method, more in (("OPTIONS", PREFLIGHT), ("GET", {})):
            answer = await gateway.ask(method, "/v1/models", None, {**page, **more})
            assert answer.headers.get("access-control-allow-origin") == (origin if fine else None)
            assert "access-control-allow-credentials" not in answer.headers
        assert answer.status == (200 if fine else 403)


@pytest.mark.parametrize("listed", ["https://Evil.Example", "https://evil.example/"])
async def test_a_listed_origin_may_be_written_as_people_write_it(listed):
    async with limit(), serving(ManualUpstream(), origins=[listed]) as gateway:
        answer = await gateway.ask("GET", "/v1/models", None, {"Origin": OTHER})
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == OTHER


async def test_a_streamed_answer_can_be_read_by_a_listed_origin():
    upstream = ManualUpstream()
    page = {"Origin": OTHER, "Sec-Fetch-Site": "cross-site", "Content-Type": "application/json"}
    async with limit(), serving(upstream, origins=[OTHER]) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO, page))
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("Hi")
        attempt.finish()
        answer = await asking
    assert answer.text == "Hi"
    assert answer.headers["access-control-allow-origin"] == OTHER
    assert "Stream-Next-Offset" in answer.headers["access-control-expose-headers"]


HOSTS = [
    ("localhost", True),
    ("LOCALHOST:8000", True),
    ("a.localhost", True),
    ("127.0.0.1:8000", True),
    ("127.9.9.9", True),
    ("[::1]:8000", True),
    ("llm.example", True),
    ("LLM.example:443", True),
    ("box", True),
    ("evil.example", False),
    ("evil.example:8000", False),
    ("localhost.evil.example", False),
    ("127.0.0.1.evil.example", False),
    ("192.168.1.2", False),
    ("[", False),
]


@pytest.mark.parametrize(("host", "fine"), HOSTS)
async def test_on_loopback_only_loopback_names_are_answered(host, fine):
    gateway = over(ManualUpstream(), hosts=["LLM.example", "box:8000"])
    gateway.on_loopback = True
    async with limit(), gateway, served(gateway) as port:
        for path in ("/v1/models", "/healthz", "/"):
            answer: Any = await Served(gateway, port).ask("GET", path, None, {"Host": host})
            assert answer.status == (200 if fine else 421)
            if not fine:
                assert "hosts = [" in answer.error["message"]


TARGETS = [
    (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n", 421),
    (b"GET https://evil.example:8000/healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n", 421),
    (b"GET http://localhost@evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n", 421),
    (b"GET HTTP://EVIL.example/healthz HTTP/1.0\r\n", 421),
    (b"GET http://[2001:db8::1]/healthz HTTP/1.1\r\nHost: [::1]\r\n", 421),
    (b"GET http://evil.example/healthz HTTP/1.1\r\n", 400),
    (b"GET http:///healthz HTTP/1.1\r\nHost: localhost\r\n", 400),
    (b"GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\n", 200),
    (b"GET http://localhost:8000/healthz HTTP/1.0\r\n", 200),
    (b"GET http://[::1]:8000/healthz?a=b HTTP/1.1\r\nHost: localhost\r\n", 200),
    (b"GET /healthz?http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n", 200),
]


@pytest.mark.parametrize(("head", "status"), TARGETS)
async def test_the_host_of_a_whole_url_counts_in_place_of_the_header(head, status):
    gateway = over(ManualUpstream())
    gateway.on_loopback = True
    async with limit(), gateway, served(gateway) as port, Wire.to(port) as wire:
        wire.writer.write(head + b"\r\n")
        answer = await wire.answer()
        assert answer.status == status
        if status == 421:
            assert "hosts = [" in answer.error["message"]
