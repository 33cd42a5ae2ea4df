"""HTTP itself: methods, versions, pipelines, expectations, paths."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from everytoken.gateway import UpstreamConfig
from everytoken.recovery import Policy
from everytoken.testing import Status
from gateway_serving import HELLO, Answer, ManualUpstream, Wire, serving

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/", "/assets/app.js"])
async def test_head_is_get_without_the_body(path):
    async with serving(ManualUpstream()) as gateway, Wire.to(gateway.port) as wire:
        wire.send("GET", path)
        got = await wire.answer()
        wire.send("HEAD", path)
        head = await wire.answer(bodyless=True)
        wire.send("GET", "/healthz")
        assert (await wire.answer()).json["status"] == "ok", "nothing of a body is left over"
    assert head.status == got.status == 200
    assert head.headers.pop("x-request-id") != got.headers.pop("x-request-id")
    assert head.headers == got.headers
    assert int(head.headers["content-length"]) == len(got.body)


async def test_an_http_1_0_client_gets_the_same_bytes_unchunked(scripted_upstream):
    async with serving(await scripted_upstream("A few words")) as gateway:
        whole = await gateway.ask("POST", CHAT, HELLO)
        again = whole.headers["location"] + "/events"
        for method, path, body in (("GET", again, None), ("POST", "/api/chat", {"prompt": "Hi"})):
            async with Wire.to(gateway.port) as wire:
                wire.send(method, path, body, version="1.0")
                raw = await wire.reader.read()
            head, _, data = raw.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.")
            assert b"connection: close" in head
            assert b"chunked" not in head
            assert data == (whole.body if path == again else b"A few words")


async def test_pipelined_requests_are_answered_in_turn():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, HELLO)
        wire.send("GET", "/healthz")
        wire.send("POST", "/api/chat", {"prompt": "Hi"})
        attempt = await upstream.attempt()
        attempt.accept()
        head = await wire.head()
        attempt.send("one")
        await wire.frame()
        attempt.finish()
        assert (await wire.rest(head)).complete
        assert (await wire.answer()).json["status"] == "ok"
        attempt = await upstream.attempt(1)
        attempt.accept()
        attempt.send("two")
        attempt.finish()
        assert (await wire.answer()).body == b"two"


async def test_a_client_that_leaves_a_pipeline_is_noticed():
    upstream = ManualUpstream()
    async with serving(upstream, grace=0.0) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", CHAT, HELLO)
            wire.send("GET", "/healthz")
            attempt = await upstream.attempt()
            attempt.accept()
            await wire.head()
            attempt.send("one")
            await wire.frame()
        async with asyncio.timeout(5):
            while not attempt.released.is_set():
                attempt.send("more")  # uvicorn reads no more while requests wait: only writing tells
                await asyncio.sleep(0)
        await gateway.until_idle()


async def test_a_client_that_waits_for_100_continue_is_told_to_go_on(scripted_upstream):
    body = json.dumps(HELLO).encode()
    async with serving(await scripted_upstream("Hi")) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, None, {"Expect": "100-continue", "Content-Length": str(len(body))})
        assert (await wire.head()).status == 100
        wire.writer.write(body)
        assert (await wire.answer()).text == "Hi"


async def test_a_body_that_will_be_refused_is_not_asked_for():
    async with serving(ManualUpstream(), max_body=10, api_keys=["k"]) as gateway:
        for headers, status in (({}, 401), ({"Authorization": "Bearer k"}, 413)):
            async with Wire.to(gateway.port) as wire:
                wire.send("POST", CHAT, None, {"Expect": "100-continue", "Content-Length": "1000", **headers})
                assert (await wire.head()).status == status


@pytest.mark.parametrize(
    "path", ["/%76%31/chat/completions", "/v1/chat/completions?stream=1&x=%FF", "/v1/chat/completions?"]
)
async def test_a_path_is_what_it_says_decoded_and_without_its_query(path, scripted_upstream):
    async with serving(await scripted_upstream("Hi")) as gateway:
        assert (await gateway.ask("POST", path, HELLO)).text == "Hi"


async def test_a_client_that_leaves_within_its_request_is_no_news(caplog):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway:
        with caplog.at_level(logging.INFO):
            async with Wire.to(gateway.port) as wire:
                wire.send("POST", CHAT, b'{"half', {"Content-Length": "1000"})
                await wire.writer.drain()
            assert (await gateway.ask("GET", "/healthz")).json["responses"] == 0
    assert caplog.records == []
    assert upstream.attempts == []


async def test_a_body_in_many_pieces_is_one_body(scripted_upstream):
    upstream = await scripted_upstream("Hi")
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, None, {"Transfer-Encoding": "chunked"})
        for byte in json.dumps(HELLO).encode():
            wire.writer.write(b"1\r\n%c\r\n" % byte)
            await asyncio.sleep(0)
        wire.writer.write(b"0\r\n\r\n")
        assert (await wire.answer()).text == "Hi"


async def test_one_connection_serves_many_responses(scripted_upstream):
    async with serving(await scripted_upstream("Hi")) as gateway, Wire.to(gateway.port) as wire:
        for _ in range(20):
            wire.send("POST", CHAT, HELLO)
            assert (await wire.answer()).text == "Hi"


# Models


async def test_models_are_listed_under_the_names_callers_use(scripted_upstream):
    plain, aliased = await scripted_upstream("x"), await scripted_upstream("x")
    upstreams = (
        plain,
        UpstreamConfig(name="aliased", url=aliased.base_url, models={"small": "m-1", "large": "m-2"}),
    )
    async with serving(*upstreams) as gateway:
        answer = await gateway.ask("GET", "/v1/models")
    assert answer.json["object"] == "list"
    assert [model["id"] for model in answer.json["data"]] == ["scripted", "small", "large"]
    assert all(model["object"] == "model" for model in answer.json["data"])


async def test_an_upstream_that_does_not_answer_is_left_out_of_the_models(scripted_upstream):
    away = await scripted_upstream("x", faults=[("always", "connection-refused", "start")])
    here = await scripted_upstream("x")
    async with serving(away, here) as gateway:
        answer = await gateway.ask("GET", "/v1/models")
    assert [model["id"] for model in answer.json["data"]] == ["scripted"]


async def test_if_no_upstream_answers_there_is_no_list_of_models(scripted_upstream):
    away = [
        await scripted_upstream("x", faults=[("always", "connection-refused", "start")]) for _ in range(2)
    ]
    async with serving(*away) as gateway:
        answer = await gateway.ask("GET", "/v1/models")
    assert answer.status == 502
    assert answer.error["code"] == "upstream-connect"


# Several upstreams


async def test_upstreams_without_models_are_equal_and_asked_in_their_order(scripted_upstream):
    first = await scripted_upstream([Status(503)])
    second, third = await scripted_upstream("second"), await scripted_upstream("third")
    async with serving(first, second, third, policy=Policy(backoff=0.0)) as gateway:
        answer = await gateway.ask("POST", CHAT, HELLO)
    assert answer.text == "second"
    assert [len(one.attempts) for one in (first, second, third)] == [2, 1, 0], "one quick second try"
    assert second.attempts[0].json["model"] == "m"


def test_the_client_of_these_tests_sees_a_broken_end():
    assert not Answer(200, {}).complete
