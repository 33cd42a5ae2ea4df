"""Requests go to the upstream as they came, and an answer that is too large is not asked for three times."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from everytoken.testing import CleanEnd, Head, ScriptedUpstream, Send
from gateway_serving import HELLO, serving

HALVES = '{"model": "m", "stream": %s, "messages": [{"role": "user", "content": "a \\ud83d b \\udc4b \\ud83d\\ude00"}]}'
CHUNK = b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"One "}}]}\n\n'
HUGE = [Head(), Send(CHUNK), *[Send(b"data: " + b"x" * 6_000_000)] * 3, CleanEnd()]


@pytest.mark.parametrize("streamed", ["true", "false", "null"])
async def test_half_an_emoji_goes_to_the_upstream_as_it_came(streamed):
    async with ScriptedUpstream("Hello there") as scripted, serving(scripted) as gateway:
        answer = await gateway.ask("POST", "/v1/chat/completions", (HALVES % streamed).encode())
        [request] = scripted.requests
    assert answer.status == 200
    assert request.json["messages"][0]["content"] == "a \ud83d b \udc4b \N{GRINNING FACE}"


async def test_half_an_emoji_is_one_body_for_its_idempotency_key():
    async with ScriptedUpstream("Hello there") as scripted, serving(scripted) as gateway:
        body, key = (HALVES % "false").encode(), {"Idempotency-Key": "k"}
        first = await gateway.ask("POST", "/v1/chat/completions", body, key)
        second = await gateway.ask("POST", "/v1/chat/completions", body, key)
        other = await gateway.ask("POST", "/v1/chat/completions", body.replace(b"a ", b"b "), key)
        assert len(scripted.requests) == 1
    assert first.json["id"] == second.json["id"]
    assert (first.status, second.status, other.status) == (200, 200, 422)


@pytest.mark.parametrize("journal", ["memory", "sqlite"])
async def test_half_an_emoji_can_be_kept(journal, tmp_path):
    from everytoken.journal.urls import journal_at  # noqa: PLC0415

    url = "memory" if journal == "memory" else f"sqlite:///{tmp_path}/journal.db"
    kept = journal_at(
        url, port=0, retention=60.0, max_bytes=1 << 28, durability="process", lease=10.0, quota=None
    )
    async with ScriptedUpstream("Hello there") as scripted, serving(scripted, kept_in=kept) as gateway:
        answer = await gateway.ask("POST", "/v1/chat/completions", (HALVES % "true").encode())
    assert answer.text == "Hello there"


async def test_unknown_fields_and_nulls_go_to_the_upstream_as_they_came():
    more = {
        f"field_{number}": value
        for number, value in enumerate([None, 0, 1.5, "é", [], {"a": [None]}, True] * 5)
    }
    body = {**HELLO, "stream": None, "stream_options": None, "tools": None, "n": None, "seed": None, **more}
    async with ScriptedUpstream("Hello there") as scripted, serving(scripted) as gateway:
        answer = await gateway.ask("POST", "/v1/chat/completions", body)
        [request] = scripted.requests
    assert answer.json["choices"][0]["message"]["content"] == "Hello there"
    assert {name: request.json[name] for name in more} == more
    assert request.json["tools"] is None


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_an_event_that_is_too_large_is_asked_for_twice_at_most(number):
    upstreams = [ScriptedUpstream(HUGE) for _ in range(number)]
    async with AsyncExitStack() as stack:
        for upstream in upstreams:
            await stack.enter_async_context(upstream)
        gateway = await stack.enter_async_context(serving(*upstreams))
        answer = await gateway.ask("POST", "/v1/chat/completions", HELLO)
        asked = [len(one.requests) for one in upstreams]
    assert sum(asked) == 2
    assert max(asked) == (2 if number == 1 else 1)
    assert b"[DONE]" not in answer.body


async def test_another_upstream_may_well_have_an_answer_that_is_small_enough():
    async with (
        ScriptedUpstream(HUGE) as first,
        ScriptedUpstream("One and the rest") as second,
        serving(first, second) as gateway,
    ):
        answer = await gateway.ask("POST", "/v1/chat/completions", HELLO)
        assert (len(first.requests), len(second.requests)) == (1, 1)
    assert answer.text == "One and the rest"
