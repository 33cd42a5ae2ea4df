"""Headers on their way through the gateway: a caller's to the upstreams, an upstream's to the caller."""

from __future__ import annotations

import pytest

from everytoken.errors import ConfigurationError
from everytoken.gateway import Config, Gateway, UpstreamConfig
from everytoken.gateway.config import parse
from everytoken.gateway.passing import MAX_BYTES, MAX_HEADERS, heads_keeper, problem_with
from everytoken.recovery import Policy
from everytoken.testing import CleanEnd, Head, Send, Status
from gateway_serving import FINISH, HELLO, ManualUpstream, Wire, event, serving

CHAT = "/v1/chat/completions"
UP = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=b",
    "OpenAI-Organization": "org-1",
    "OpenAI-Project": "proj-1",
    "X-Title": "My app",
    "HTTP-Referer": "https://app.example",
    "anthropic-beta": "tools-2024",
}
SECRET = {
    "Cookie": "session=1",
    "anthropic-api-key": "sk-secret",
    "Authorization": "Bearer sk-callers-own",
    "X-Other": "x",
}
DOWN = (
    ("x-request-id", "req-of-upstream"),
    ("x-ratelimit-remaining-tokens", "99"),
    ("openai-processing-ms", "12"),
    ("set-cookie", "a=b"),
    ("openai-session-token", "hidden"),
    ("x-other", "x"),
)


def healthy(*headers):
    return [Head(headers=headers), Send(event("Hi")), Send(FINISH), CleanEnd()]


@pytest.mark.parametrize("stream", [True, False])
async def test_what_goes_up_goes_with_every_attempt(stream, scripted_upstream):
    upstream = await scripted_upstream("Good day", faults=[(0, "close", "middle")])
    async with serving(upstream, policy=Policy(backoff=0.0)) as gateway:
        await gateway.ask("POST", CHAT, {**HELLO, "stream": stream}, UP | SECRET)
    assert len(upstream.attempts) == 2
    for attempt in upstream.attempts:
        assert {name: attempt.headers.get(name.lower()) for name in UP} == UP
        assert not {name.lower() for name in SECRET} & attempt.headers.keys()


@pytest.mark.parametrize("stream", [True, False])
async def test_what_comes_down_is_of_the_attempt_that_answered(stream, scripted_upstream):
    first = await scripted_upstream(
        [Status(503, headers=(("x-request-id", "failed"), ("openai-version", "old")))]
    )
    second = await scripted_upstream(healthy(*DOWN))
    async with serving(first, second, policy=Policy(backoff=0.0)) as gateway:
        answer = await gateway.ask("POST", CHAT, {**HELLO, "stream": stream}, {"X-Request-Id": "mine"})
    shown = {
        name: answer.headers.get(name)
        for name in dict(DOWN) | {"x-upstream-request-id": "", "openai-version": ""}
    }
    assert shown == {
        "x-request-id": "mine",
        "x-upstream-request-id": "req-of-upstream",
        "x-ratelimit-remaining-tokens": "99",
        "openai-processing-ms": "12",
        "openai-version": None,
        "set-cookie": None,
        "openai-session-token": None,
        "x-other": None,
    }


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_has_them_too(stream, scripted_upstream):
    upstream = await scripted_upstream([Status(400, headers=DOWN)])
    async with serving(upstream) as gateway:
        answer = await gateway.ask("POST", CHAT, {**HELLO, "stream": stream})
    assert answer.status == 400
    assert answer.headers["x-upstream-request-id"] == "req-of-upstream"
    assert answer.headers["x-ratelimit-remaining-tokens"] == "99"


async def test_the_same_request_id_is_not_told_twice(scripted_upstream):
    async with serving(await scripted_upstream(healthy(("x-request-id", "same")))) as gateway:
        answer = await gateway.ask("POST", CHAT, HELLO, {"X-Request-Id": "same"})
    assert answer.headers["x-request-id"] == "same"
    assert "x-upstream-request-id" not in answer.headers


async def test_secrets_of_the_upstream_do_not_come_down(scripted_upstream):
    key = "sk-of-the-upstream-0123456789"
    upstream = await scripted_upstream(healthy(("openai-note", f"called with {key}")))
    one = UpstreamConfig(name="u", url=upstream.base_url, key=key)
    async with serving(one) as gateway:
        answer = await gateway.ask("POST", CHAT, HELLO)
    assert answer.headers["openai-note"] == "called with ***"


async def test_both_lists_are_settings(scripted_upstream):
    upstream = await scripted_upstream(healthy(*DOWN))
    async with serving(upstream, pass_up=["X-Other"], pass_down=["x-other"]) as gateway:
        answer = await gateway.ask("POST", CHAT, HELLO, UP | SECRET)
    assert upstream.attempts[0].headers["x-other"] == "x"
    assert "traceparent" not in upstream.attempts[0].headers
    assert answer.headers["x-other"] == "x"
    assert "openai-processing-ms" not in answer.headers


async def test_a_header_of_the_upstreams_own_is_not_replaced(scripted_upstream):
    upstream = await scripted_upstream("Hi")
    one = UpstreamConfig(name="u", url=upstream.base_url, headers={"X-Title": "ours"})
    async with serving(one) as gateway:
        await gateway.ask("POST", CHAT, HELLO, UP)
    assert upstream.attempts[0].headers["x-title"] == "ours"


async def test_an_upstream_that_takes_no_headers_is_asked_without():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, HELLO, UP)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("Hi")
        attempt.finish()
        assert (await wire.answer()).text == "Hi"


async def test_they_survive_a_takeover(scripted_upstream, tmp_path):
    upstream = await scripted_upstream("Good day", faults=[(0, "silent", "middle")])
    settings = {"journal": f"sqlite:///{tmp_path}/j.sqlite", "drain": 0.0}
    config = Config(upstream=[UpstreamConfig(name="u", url=upstream.base_url)], **settings)
    async with serving(upstream, **settings) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, HELLO, UP | SECRET)
        await wire.head()
        await wire.frame()
        stream = next(iter(gateway.gateway.relays.running()))
        meta = gateway.gateway.relays.get(stream).log.info.meta
    assert meta["headers"] == {name.lower(): value for name, value in UP.items()}
    async with Gateway(config) as gateway:
        await upstream.wait_for_attempt(2)
        assert upstream.attempts[1].headers["traceparent"] == UP["traceparent"]
        await gateway.relays.stop(stream)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([(b"openai-%d" % number, b"x") for number in range(100)], id="many"),
        pytest.param([(b"openai-%d" % number, b"x" * 3000) for number in range(100)], id="large"),
        pytest.param([(b"openai-1", "é".encode()), (b"openai-2", b"a\x00b")], id="not text"),
    ],
)
def test_the_number_and_size_are_limited(headers):
    kept = heads_keeper(["openai-*"])(headers)
    assert len(kept) <= MAX_HEADERS
    assert sum(len(name) + len(value) for name, value in kept) <= MAX_BYTES
    assert all(value.isascii() and value.decode().isprintable() for _, value in kept)


@pytest.mark.parametrize(
    "name", ["Authorization", "cookie", "set-cookie", "x-api-key", "host", "content-length", "a b", "", "a*b"]
)
def test_what_cannot_be_on_a_list(name):
    assert problem_with([name])
    with pytest.raises(ConfigurationError, match="pass_up"):
        parse(f"pass_up = ['{name}']", {}, where="x")


def test_a_star_never_stands_for_credentials():
    headers = [
        (b"authorization", b"x"),
        (b"cookie", b"x"),
        (b"x-api-key", b"x"),
        (b"host", b"x"),
        (b"x-fine", b"x"),
    ]
    assert heads_keeper(["*"])(headers) == [(b"x-fine", b"x")]
