"""A response cannot eat the machine: what it may send, how long it may take, and what it keeps."""

from __future__ import annotations

import asyncio
import json

import pytest

from everytoken.gateway import Config, Gateway
from everytoken.recovery import Policy
from gateway_serving import HELLO, ManualUpstream, Wire, event, limit, serving

CHAT = "/v1/chat/completions"
ONCE = Policy(attempts=1)


def error_of(answer) -> dict:
    return json.loads(answer.events[-1][0])["error"]


async def ended(upstream: ManualUpstream, number: int = 0) -> None:
    async with limit():
        await upstream.attempts[number].released.wait()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_response_ends_at_max_response(stream):
    upstream = ManualUpstream()
    async with limit(), serving(upstream, max_response=10_000) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, {**HELLO, "stream": stream}))
        attempt = await upstream.attempt()
        attempt.accept()
        for _ in range(1000):
            if attempt.released.is_set():
                break
            attempt.send("x" * 100)
        await ended(upstream)
        answer = await asking
        assert len(upstream.attempts) == 1, "nothing is tried again"
        told = error_of(answer) if stream else answer.error
        assert told["code"] == "response-too-large"
        if stream:
            assert len(answer.text) <= 10_000
            assert "[DONE]" not in answer.body.decode()
        log = (
            await gateway.gateway.journal.open(answer.headers["location"].rpartition("/")[2])
            if stream
            else None
        )
        assert log is None or log.info.result["outcome"] == "interrupted"


async def test_what_all_attempts_send_counts():
    upstream = ManualUpstream()
    async with limit(), serving(upstream, max_response=2_000) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        for number in range(3):
            attempt = await upstream.attempt(number)
            attempt.accept()
            for piece in "abcdef":
                if attempt.released.is_set():
                    break
                attempt.send(piece)
            if attempt.released.is_set():
                break
            attempt.sink.on_eof()
        assert error_of(await asking)["code"] == "response-too-large"


async def test_a_whole_answer_counts_too():
    upstream = ManualUpstream()
    async with limit(), serving(upstream, max_response=1_000) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, {**HELLO, "stream": False}))
        attempt = await upstream.attempt()
        attempt.accept()
        message = {"role": "assistant", "content": "x" * 2000}
        attempt.sink.on_whole(
            json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
        )
        assert (await asking).error["code"] == "response-too-large"


@pytest.mark.virtual_time
@pytest.mark.parametrize("begun", [True, False])
async def test_a_response_ends_at_max_duration(begun):
    upstream = ManualUpstream()
    loop = asyncio.get_running_loop()
    async with serving(upstream, max_duration=100.0) as gateway:
        since = loop.time()
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        attempt = await upstream.attempt()
        attempt.accept()

        async def speak() -> None:
            while not attempt.released.is_set():
                attempt.send("x") if begun else attempt.sink.on_data(b": waiting\n")
                await asyncio.sleep(5 if begun else 1)

        speaking = asyncio.ensure_future(speak())
        answer = await asking
        await speaking
        if begun:
            assert error_of(answer)["code"] == "response-too-long"
            assert 99 <= loop.time() - since <= 106


@pytest.mark.parametrize(
    "flood",
    [
        b": x\n" * 4096,
        b"\n" * 16_384,
        b"event: ping\n\n" * 1000,
        event("") * 100,
        b'data: {"choices": []}\n\n' * 1000,
        b"retry: 1\n" * 2000,
    ],
    ids=["comments", "blank lines", "pings", "empty deltas", "no choices", "fields"],
)
async def test_a_flood_without_content_is_given_up_and_hinders_nobody(flood):
    upstream = ManualUpstream()
    async with limit(), serving(upstream, policy=ONCE) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        attempt = await upstream.attempt()
        attempt.accept()
        honest = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        other = await upstream.attempt(1)
        other.accept()
        sent = 0
        while not attempt.released.is_set():
            attempt.sink.on_data(flood)
            sent += len(flood)
            if sent % (len(flood) * 64) == 0:
                other.send("a")
                await asyncio.sleep(0)
        assert 16 * 1024**2 <= sent <= 20 * 1024**2
        assert "without content" in (await asking).body.decode()
        other.finish()
        assert set((await honest).text) <= {"a"}


@pytest.mark.virtual_time
async def test_a_keep_alive_is_no_flood():
    upstream = ManualUpstream()
    async with serving(upstream, policy=Policy(first_content=3000.0)) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        attempt = await upstream.attempt()
        attempt.accept()
        for _ in range(2500):
            attempt.sink.on_data(b": processing\n\n" * 10)
            await asyncio.sleep(1)
        attempt.send("There.")
        attempt.finish()
        assert (await asking).text == "There."


async def test_tool_calls_without_end_are_an_error():
    upstream = ManualUpstream()
    async with limit(), serving(upstream, policy=ONCE) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        attempt = await upstream.attempt()
        attempt.accept()
        for number in range(2000):
            if attempt.released.is_set():
                break
            call = {"index": number, "id": f"c{number}", "function": {"name": "f", "arguments": "{}"}}
            chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
            attempt.sink.on_data(f"data: {json.dumps(chunk)}\n\n".encode())
        assert number == 1025
        assert "tool calls" in error_of(await asking)["message"]


async def test_what_waits_for_the_first_content_is_bounded():
    upstream = ManualUpstream()
    async with limit(), serving(upstream) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        attempt = await upstream.attempt()
        attempt.accept()
        big = {"choices": [{"index": 0, "delta": {"role": "assistant"}}], "pad": "x" * 500_000}
        for _ in range(5):
            attempt.sink.on_data(f"data: {json.dumps(big)}\n\n".encode())
        [relay] = gateway.gateway.relays._relays.values()
        assert sum(map(len, relay.recovery._intake._held)) < 2_000_000
        attempt.send("Hi")
        attempt.finish()
        assert (await asking).text == "Hi"


@pytest.mark.virtual_time
@pytest.mark.parametrize("asked", ["continue", "999999999"])
async def test_nobody_gets_more_grace_than_max_grace(asked):
    upstream = ManualUpstream()
    loop = asyncio.get_running_loop()
    async with serving(
        upstream, max_grace=50.0, policy=Policy(content_gap=9e6, first_content=9e6)
    ) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", CHAT, HELLO, {"Everytoken-Disconnect": asked})
            attempt = await upstream.attempt()
            attempt.accept()
            await wire.head()
        left = loop.time()
        await attempt.released.wait()
        assert 49 <= loop.time() - left <= 52


def test_a_grace_for_ever_is_max_grace():
    assert Gateway(Config(grace=-1, max_grace=7.0), {}).grace == 7.0
    assert Gateway(Config(grace=100, max_grace=7.0), {}).grace == 7.0
    assert Gateway(Config(grace=5), {}).grace == 5.0
