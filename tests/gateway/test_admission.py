"""Admission: asked before a response is opened, refuses in the API's own shape, told when the response is over."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest

from everytoken.errors import JournalUnavailableError, QuotaExceededError, RateLimitedError
from everytoken.gateway import Gateway
from everytoken.gateway.keys.key import fingerprint
from everytoken.journal.memory import MemoryJournal
from gateway_serving import HELLO, ManualUpstream, Served, Wire, limit, over, served

KEY = "a-key-of-sixteen-or-more"
UI = {"id": "c", "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}]}
ROUTES = {
    "streamed": ("/v1/chat/completions", HELLO),
    "in one piece": ("/v1/chat/completions", {**HELLO, "stream": False}),
    "plain text": ("/api/chat", {"prompt": "Hi"}),
    "the AI SDK's": ("/api/chat", UI),
}


@asynccontextmanager
async def guarded(upstream, admission, *, kept_in=None, **settings):
    """Serve a gateway that asks `admission`."""
    bare = over(upstream, kept_in=kept_in, **settings)
    gateway = Gateway(bare.config, bare.upstreams, bare.journal, admission=admission)
    async with gateway, served(gateway) as port:
        yield Served(gateway, port)


class AtMost:
    """Lets so many responses be open at once."""

    def __init__(self, most):
        self.most = most
        self.open = 0
        self.asked = []

    def __call__(self, asked):
        self.asked.append(asked)
        if self.open >= self.most:
            raise RateLimitedError("too many responses at once", retry_after=1.5)
        self.open += 1
        return self.release

    def release(self):
        self.open -= 1

    async def until_free(self):
        async with limit():
            while self.open:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)


def stored(gateway):
    return dict(gateway.gateway.journal._streams)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "key", [{}, {"Idempotency-Key": "k"}], ids=["without a key", "with an idempotency key"]
)
async def test_a_refusal_comes_before_anything_is_stored_or_asked(route, key):
    upstream, limits = ManualUpstream(), AtMost(0)
    path, body = ROUTES[route]
    async with guarded(upstream, limits) as gateway:
        answer = await gateway.ask("POST", path, body, {"Content-Type": "application/json", **key})
        assert stored(gateway) == {}
    assert answer.status == 429
    assert answer.headers["retry-after"] == "2"
    assert answer.error == {
        "message": "too many responses at once",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate-limited",
    }
    assert upstream.attempts == []
    assert len(limits.asked) == 1


async def test_it_may_take_its_time():
    async def admission(asked):
        await asyncio.sleep(0)
        raise QuotaExceededError(f"no budget left for {asked.request.model}")

    async with guarded(ManualUpstream(), admission) as gateway:
        answer = await gateway.ask("POST", "/v1/chat/completions", HELLO)
    assert (answer.status, answer.error["code"]) == (429, "quota-exceeded")
    assert answer.error["message"] == "no budget left for m"
    assert "retry-after" not in answer.headers


async def test_it_is_told_what_is_asked_and_by_whom():
    limits = AtMost(0)
    headers = {"Authorization": f"Bearer {KEY}", "X-Request-Id": "mine"}
    async with guarded(ManualUpstream(), limits, api_keys=[KEY]) as gateway:
        await gateway.ask("POST", "/v1/chat/completions", HELLO, headers)
        assert (await gateway.ask("POST", "/v1/chat/completions", HELLO)).status == 401
    [asked] = limits.asked  # who has no key is not asked about
    assert (asked.owner, asked.peer, asked.request_id) == (fingerprint(KEY.encode()), "127.0.0.1", "mine")
    assert asked.request.body["messages"] == HELLO["messages"]


async def test_a_place_is_free_again_when_the_response_has_ended():
    upstream, limits = ManualUpstream(), AtMost(1)
    async with guarded(upstream, limits) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("one")
        await wire.head()
        assert (await gateway.ask("POST", "/v1/chat/completions", HELLO)).status == 429
        attempt.finish()
        await limits.until_free()
        asking = asyncio.create_task(gateway.ask("POST", "/v1/chat/completions", HELLO))
        again = await upstream.attempt(1)
        again.accept()
        again.finish()
        assert (await asking).status == 200


async def test_a_place_is_kept_while_the_response_goes_on_without_its_reader():
    upstream, limits = ManualUpstream(), AtMost(1)
    async with guarded(upstream, limits) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", "/v1/chat/completions", HELLO)
            attempt = await upstream.attempt()
            attempt.accept()
            await wire.head()
        assert limits.open == 1
        attempt.finish()
        await limits.until_free()


async def test_a_response_that_cannot_begin_gives_its_place_back():
    class Refusing(MemoryJournal):
        async def create(self, info, records=(), *, closed=False):
            raise JournalUnavailableError("not now")

    limits = AtMost(1)
    async with guarded(ManualUpstream(), limits, kept_in=Refusing()) as gateway:
        answer = await gateway.ask("POST", "/v1/chat/completions", HELLO)
    assert (answer.status, limits.open, len(limits.asked)) == (503, 0, 1)


async def test_who_comes_back_with_an_idempotency_key_opens_nothing():
    upstream, limits = ManualUpstream(), AtMost(1)
    key = {"Idempotency-Key": "k"}
    async with guarded(upstream, limits) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO, key)
        attempt = await upstream.attempt()
        attempt.accept()
        first = await wire.head()
        async with Wire.to(gateway.port) as other:
            other.send("POST", "/v1/chat/completions", HELLO, key)
            assert (await other.head()).headers["location"] == first.headers["location"]
        assert (limits.open, len(limits.asked)) == (1, 1)
        attempt.finish()
        await limits.until_free()


async def test_two_that_begin_at_once_with_one_key_take_one_place():
    upstream, limits = ManualUpstream(), AtMost(2)
    both = asyncio.Event()

    async def admission(asked):
        release = limits(asked)
        if limits.open == 2:
            both.set()
        await both.wait()
        return release

    key = {"Idempotency-Key": "k"}
    async with guarded(upstream, admission) as gateway:
        asking = [
            asyncio.create_task(gateway.ask("POST", "/v1/chat/completions", HELLO, key)) for _ in range(2)
        ]
        attempt = await upstream.attempt()
        async with limit():
            while limits.open != 1:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
        attempt.accept()
        attempt.finish()
        answers = await asyncio.gather(*asking)
        await limits.until_free()
    assert len({answer.headers["location"] for answer in answers}) == 1


async def test_an_admission_that_fails_lets_nobody_in(caplog):
    def admission(asked):
        raise ZeroDivisionError

    upstream = ManualUpstream()
    with caplog.at_level(logging.ERROR, "everytoken.gateway"):
        async with guarded(upstream, admission) as gateway:
            answer = await gateway.ask("POST", "/v1/chat/completions", HELLO)
    assert (answer.status, answer.error["code"]) == (500, "internal-error")
    assert upstream.attempts == []
    assert any("a request to /v1/chat/completions failed" in line for line in caplog.messages)


async def test_a_release_that_fails_is_logged_and_harms_nobody(caplog):
    def release():
        raise ZeroDivisionError

    upstream = ManualUpstream()
    async with guarded(upstream, lambda _asked: release) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("one")
        attempt.finish()
        assert (await wire.answer()).text == "one"
    assert "what admission wanted to be told at the end failed" in caplog.messages


async def test_one_that_wants_to_hear_no_more_returns_nothing():
    upstream = ManualUpstream()
    async with guarded(upstream, lambda _asked: None) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.finish()
        assert (await wire.answer()).complete
