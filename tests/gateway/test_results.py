"""The result of a response, for whoever may read it: `GET /v1/stream/{id}/result`."""

from __future__ import annotations

import pytest

from everytoken.gateway.prices import PriceConfig
from everytoken.testing import Answer, Status
from gateway_serving import HELLO, ManualUpstream, Wire, limit, serving

CHAT = "/v1/chat/completions"
PRICES = {"m": PriceConfig(input=1.0, output=2.0)}
ASKED = {**HELLO, "model": "m"}


async def result_of(gateway, answer, headers=None):
    told = await gateway.ask("GET", f"{answer.headers['location']}/result", headers=headers)
    assert told.status == 200
    assert told.headers["cache-control"] == "no-store"
    return told.json


async def test_usage_cost_and_attempts_of_a_complete_response(scripted_upstream):
    async with limit(), serving(await scripted_upstream("A few words"), prices=PRICES) as gateway:
        told = await result_of(gateway, await gateway.ask("POST", CHAT, ASKED))
    assert (told["outcome"], told["error"], len(told["attempts"])) == ("completed", None, 1)
    usage = told["usage"]
    assert usage["completion_tokens"] > 0
    spent = usage["prompt_tokens"] * 1.0 + usage["completion_tokens"] * 2.0
    assert told["cost"] == pytest.approx(spent / 1_000_000)


async def test_a_price_that_is_not_known_is_null(scripted_upstream):
    async with limit(), serving(await scripted_upstream("A few words")) as gateway:
        answer = await gateway.ask("POST", CHAT, {**HELLO, "model": "something of my own"})
        assert (await result_of(gateway, answer))["cost"] is None


async def test_every_attempt_with_its_cause(scripted_upstream):
    broken, healthy = await scripted_upstream([Status(503)]), await scripted_upstream("A few words")
    async with limit(), serving(broken, healthy, prices=PRICES) as gateway:
        told = await result_of(gateway, await gateway.ask("POST", CHAT, ASKED))
    *failed, last = told["attempts"]
    assert {attempt["cause"]["code"] for attempt in failed} == {"upstream-status"}
    assert (last["cause"], len(failed) > 0) == (None, True)


async def test_what_was_stopped_has_no_usage_in_its_stream_but_here():
    upstream = ManualUpstream()
    async with limit(), serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, HELLO)
        attempt = await upstream.attempt(0)
        attempt.accept()
        head = await wire.head()
        running = await result_of(gateway, head)
        assert (running["outcome"], running["usage"], running["attempts"]) == (None, None, [])
        attempt.send("one")
        await gateway.ask("POST", f"{head.headers['location']}/cancel")
        await wire.rest(head)
        told = await result_of(gateway, head)
    assert (told["outcome"], told["error"]["code"]) == ("cancelled", "cancelled")
    assert told["usage"] is not None


async def test_a_response_that_waits_says_for_what():
    upstream = ManualUpstream()
    async with limit(), serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, HELLO)
        first = await upstream.attempt(0)
        first.accept()
        first.send("one")
        head = await wire.head()
        first.sink.on_eof()
        await upstream.attempt(1)
        running = (await result_of(gateway, head))["running"]
        await gateway.ask("POST", f"{head.headers['location']}/cancel")
        await wire.rest(head)
        assert "running" not in await result_of(gateway, head)
    assert [attempt["number"] for attempt in running] == [1, 2]
    assert (running[0]["cause"]["code"], running[1]["ended"]) == ("upstream-truncated", None)


async def test_it_is_told_to_nobody_else(scripted_upstream):
    mine, other = ({"Authorization": f"Bearer {key}"} for key in ("one", "two"))
    async with limit(), serving(await scripted_upstream(Answer()), api_keys=["one", "two"]) as gateway:
        answer = await gateway.ask("POST", CHAT, HELLO, mine)
        url = f"{answer.headers['location']}/result"
        assert (await gateway.ask("GET", url, headers=other)).status == 404
        assert (await gateway.ask("GET", url)).status == 401
        assert (await gateway.ask("POST", url, {}, mine)).status == 405
        assert (await gateway.ask("HEAD", url, headers=mine)).status == 200


async def test_a_stream_of_a_callers_own_has_none(scripted_upstream):
    async with limit(), serving(await scripted_upstream("x")) as gateway:
        await gateway.ask("PUT", "/v1/stream/mine", headers={"Content-Type": "text/plain"})
        assert (await gateway.ask("GET", "/v1/stream/mine/result")).status == 404
