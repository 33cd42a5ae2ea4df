"""Responses as Durable Streams, and who may read, write and delete what."""

from __future__ import annotations

import asyncio

import pytest

from durable_play import JSON, TEXT, created, streams
from gateway_serving import HELLO, ManualUpstream, Wire, serving


async def test_a_response_is_read_as_a_json_stream():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("a", "b")
        path = (await wire.head()).headers["location"]
        so_far = await gateway.ask("GET", path)
        assert so_far.headers["content-type"] == "application/json"
        assert [chunk["choices"][0]["delta"]["content"] for chunk in so_far.json] == ["a", "b"]
        assert "stream-closed" not in so_far.headers
        attempt.finish()
        rest = await gateway.ask(
            "GET", f"{path}?offset={so_far.headers['stream-next-offset']}&live=long-poll"
        )
        assert rest.json[0]["choices"][0]["finish_reason"] == "stop"
        assert rest.headers["stream-closed"] == "true"


@pytest.mark.parametrize("headers", [JSON, JSON | {"Stream-Closed": "true"}, {"Stream-Closed": "true"}])
async def test_nobody_but_its_relay_writes_a_response(headers):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("a")
        path = (await wire.head()).headers["location"]
        answer = await gateway.ask("POST", path, b"1", headers)
        assert (answer.status, answer.error["code"]) == (405, "method-not-allowed")
        assert answer.headers["allow"] == "GET, HEAD, DELETE, OPTIONS"
        assert len((await gateway.ask("GET", path)).json) == 1


async def test_deleting_a_response_stops_its_upstream():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("a")
        answer = await wire.head()
        path = answer.headers["location"]
        assert (await gateway.ask("DELETE", path)).status == 204
        assert attempt.released.is_set()
        assert (await wire.rest(answer)).events[-1][0].startswith('{"error":')
        assert (await gateway.ask("GET", path)).status == 404


@pytest.mark.virtual_time
@pytest.mark.parametrize("live", ["sse", "long-poll"])
async def test_who_reads_a_response_live_keeps_it_going(live):
    upstream = ManualUpstream()
    async with serving(upstream, grace=5, long_poll=25) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", "/v1/chat/completions", HELLO)
            attempt = await upstream.attempt()
            attempt.accept()
            attempt.send("a")
            path = (await wire.head()).headers["location"]
            reader = asyncio.create_task(gateway.ask("GET", f"{path}?offset={1:016d}&live={live}"))
            await gateway.ask("GET", path)
        await asyncio.sleep(20)
        assert not attempt.released.is_set()
        attempt.finish()
        assert b'"stop"' in (await reader).body


# Who may do what

KEYS = {"api_keys": ["one", "two"]}
ONE, TWO = ({"Authorization": f"Bearer {key}"} for key in KEYS["api_keys"])


async def test_a_stream_does_not_exist_for_another_key():
    async with streams(**KEYS) as gateway:
        assert (await gateway.ask("PUT", "/v1/stream/s", b"x", TEXT)).status == 401
        await created(gateway, headers=TEXT | ONE)
        for method in ("GET", "POST", "DELETE", "HEAD"):
            assert (await gateway.ask(method, "/v1/stream/s", b"x", TEXT | TWO)).status == 404
        assert (await gateway.ask("PUT", "/v1/stream/s", None, TEXT | TWO)).status == 409
        assert (await gateway.ask("GET", "/v1/stream/s", headers=ONE)).body == b"one"


PREFLIGHT = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "if-none-match"}
ORIGINS = [
    ("by default no other page may read", [], None),
    ("a page that is named may", ["https://app.example"], "https://app.example"),
    ("another may not", ["https://other.example"], None),
    ("all may where all are named", ["*"], "https://app.example"),
]


@pytest.mark.parametrize(
    ("origins", "allowed"), [row[1:] for row in ORIGINS], ids=[row[0] for row in ORIGINS]
)
async def test_a_page_of_another_origin(origins, allowed):
    origin = {"Origin": "https://app.example"}
    async with streams(origins=origins, **KEYS) as gateway:
        await created(gateway, headers=TEXT | ONE)
        asked = [
            await gateway.ask("OPTIONS", "/v1/stream/s", headers=origin | PREFLIGHT),
            await gateway.ask("GET", "/v1/stream/s", headers=origin | ONE),
            await gateway.ask("GET", "/v1/stream/s?offset=x", headers=origin | ONE),
        ]
        assert [answer.status for answer in asked] == ([204, 200, 400] if allowed else [204, 403, 403])
        for answer in asked:
            assert answer.headers.get("access-control-allow-origin") == allowed
            assert answer.headers["vary"] == "Origin"
        assert "If-None-Match" in asked[0].headers["access-control-allow-headers"]


async def test_nothing_is_left_with_a_cache():
    async with streams() as gateway:
        await created(gateway)
        for method, query in [
            ("GET", ""),
            ("GET", "?offset=now"),
            ("GET", "?offset=-1&live=long-poll"),
            ("HEAD", ""),
        ]:
            answer = await gateway.ask(method, f"/v1/stream/s{query}")
            assert answer.headers["cache-control"] == "no-store"


async def test_a_stream_made_anew_has_other_tags():
    async with streams() as gateway:
        tags = set()
        for _ in range(2):
            await created(gateway)
            tags.add((await gateway.ask("GET", "/v1/stream/s")).headers["etag"])
            await gateway.ask("DELETE", "/v1/stream/s")
        assert len(tags) == 2


async def test_the_location_is_the_clients_own():
    async with streams() as gateway:
        answer = await gateway.ask("PUT", "/v1/stream/chat:1", b"", TEXT)
        assert answer.headers["location"] in {
            "http://test/v1/stream/chat:1",
            "http://test/v1/stream/chat%3A1",
        }
