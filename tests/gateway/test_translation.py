"""Callers of each API served by upstreams of each other one: what the caller's own SDK gives its user."""

from __future__ import annotations

import itertools

import anthropic
import openai
import pytest

from everytoken.gateway import UpstreamConfig
from everytoken.recovery import Policy
from everytoken.testing import Answer, Status, ToolCall
from gateway_serving import limit, serving
from sampling import sampled
from three_sdks import ASKS, Answered, ask

APIS = ("chat", "messages", "responses")

PAIRS = [(a, b) for a, b in itertools.product(APIS, APIS) if a != b]
QUICK = Policy(backoff=0.0)
ANSWERS = {
    "text": Answer(),
    "thinking": Answer("Twelve thousand.", reasoning="27 × 453, let me see."),
    "tools": Answer(
        "Let me look.",
        tool_calls=(
            ToolCall("get_weather", '{"city":"Zürich","days":3}', "toolu_1"),
            ToolCall("get_weather", '{"city":"Oslo"}', "toolu_2"),
        ),
    ),
}
CUTS = [
    [],
    [(0, "close", "one")],
    [(0, "clean-end", "middle")],
    [(0, "error-type", "last")],
    [(0, "no-done", "start")],
    [(0, "reset", "middle")],
]


def openai_at(gateway) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-x", max_retries=0)


def anthropic_at(gateway) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=gateway.url, api_key="sk-x", max_retries=0)


def check(answered: Answered, answer: Answer) -> None:
    calls = [(call.name, call.input) for call in answer.tool_calls]
    assert (answered.text, answered.reasoning, answered.calls) == (answer.text, answer.reasoning, calls)
    assert answered.finish == ("tools" if calls else "stop")
    assert answered.tokens > 0


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "non-streaming"])
@pytest.mark.parametrize("faults", sampled(CUTS, 2), ids=str)
@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize(("caller", "api"), PAIRS)
async def test_the_callers_sdk_gives_the_exact_answer(scripted_upstream, caller, api, name, faults, streamed):
    answer = ANSWERS[name]
    upstream = await scripted_upstream(answer, faults=faults, apis=[api])
    config = UpstreamConfig(name="a", url=upstream.base_url, api=api)
    async with serving(config, policy=QUICK) as gateway, limit():
        check(await ask(caller, gateway.url, streamed=streamed), answer)
    # A stream of chat completions may end without [DONE].
    broken = [fault for _, fault, _ in faults if (fault, api) != ("no-done", "chat")]
    assert len(upstream.attempts) == 1 + len(broken)


@pytest.mark.parametrize(
    ("first", "second"), [("chat", "messages"), ("messages", "responses"), ("responses", "chat")]
)
@pytest.mark.parametrize("caller", APIS)
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_goes_on_at_an_upstream_of_another_api(
    scripted_upstream, caller, first, second, name
):
    answer = ANSWERS[name]
    broken = await scripted_upstream(answer, faults=[("always", "close", "middle")], apis=[first])
    well = await scripted_upstream(answer, apis=[second])
    configs = [
        UpstreamConfig(name="broken", url=broken.base_url, api=first),
        UpstreamConfig(name="well", url=well.base_url, api=second),
    ]
    async with serving(*configs, policy=QUICK) as gateway, limit():
        if answer.reasoning and caller == "responses" and "responses" in (first, second):
            # One has sent a summary of what it thought, the other one the thoughts.
            with pytest.raises(openai.APIError):
                await ask(caller, gateway.url)
            return
        check(await ask(caller, gateway.url), answer)
    assert (len(broken.attempts), len(well.attempts)) == (2, 1)


async def test_a_request_that_cannot_be_said_is_refused_with_the_field_and_costs_nothing(scripted_upstream):
    upstream = await scripted_upstream(apis=["messages"])
    config = UpstreamConfig(name="a", url=upstream.base_url, api="messages")
    async with serving(config) as gateway, limit():
        with pytest.raises(openai.BadRequestError) as refused:
            await ask("chat", gateway.url, n=2)
        assert refused.value.param == "n"
        assert "n" in refused.value.message
    assert upstream.requests == []


async def test_what_one_upstream_cannot_be_asked_goes_to_another_one(scripted_upstream):
    messages = await scripted_upstream(apis=["messages"])
    chat = await scripted_upstream(apis=["chat"])
    configs = [
        UpstreamConfig(name="a", url=messages.base_url, api="messages"),
        UpstreamConfig(name="b", url=chat.base_url, api="chat"),
    ]
    body = {**ASKS["chat"], "n": 2}
    body.pop("stream_options")
    async with serving(*configs) as gateway, openai_at(gateway) as client, limit():
        completion = await client.chat.completions.create(**body)
    assert (len(completion.choices), completion.choices[0].message.content) == (2, chat.text)
    assert messages.requests == []


@pytest.mark.parametrize("caller", ["messages", "responses"])
async def test_an_upstream_of_which_nothing_is_known_is_tried_in_the_callers_api_once(
    scripted_upstream, caller
):
    upstream = await scripted_upstream(apis=["chat"])
    async with serving(UpstreamConfig(name="a", url=upstream.base_url), policy=QUICK) as gateway, limit():
        for _ in range(3):
            check(await ask(caller, gateway.url), upstream.answer)
    paths = [request.path for request in upstream.requests]
    assert paths == [f"/v1/{caller}", *["/v1/chat/completions"] * 3]


async def test_a_model_that_an_upstream_lacks_says_nothing_about_its_apis(scripted_upstream):
    told = b'{"error":{"message":"The model `m` does not exist","code":"model_not_found"}}'
    upstream = await scripted_upstream(lambda _: [Status(404, body=told)])
    async with serving(UpstreamConfig(name="a", url=upstream.base_url), policy=QUICK) as gateway, limit():
        with pytest.raises(anthropic.NotFoundError, match="does not exist"):
            await ask("messages", gateway.url)
    assert [request.path for request in upstream.requests] == ["/v1/messages"]


async def test_headers_of_an_api_go_to_upstreams_of_that_api_only(scripted_upstream):
    chat = await scripted_upstream(apis=["chat"])
    messages = await scripted_upstream(apis=["messages"])
    key = {"key": "sk-upstream"}
    for api, upstream in (("chat", chat), ("messages", messages)):
        config = UpstreamConfig(name="a", url=upstream.base_url, api=api, **key)
        async with serving(config) as gateway, limit():
            for caller in APIS:
                await ask(caller, gateway.url)
    for request in chat.attempts:
        assert request.headers["authorization"] == "Bearer sk-upstream"
        assert not [name for name in request.headers if name.startswith("anthropic-")]
    for request in messages.attempts:
        assert (request.headers["x-api-key"], bool(request.headers["anthropic-version"])) == (
            "sk-upstream",
            True,
        )
        assert not [name for name in request.headers if name.startswith("openai-")]


@pytest.mark.parametrize("caller", APIS)
async def test_errors_of_an_upstream_come_in_the_callers_own_form(scripted_upstream, caller):
    api = "chat" if caller != "chat" else "messages"
    told = b'{"error":{"type":"invalid_request_error","message":"too long by 4 tokens"}}'
    upstream = await scripted_upstream(lambda _: [Status(400, body=told)], apis=[api])
    config = UpstreamConfig(name="a", url=upstream.base_url, api=api)
    kind = anthropic.BadRequestError if caller == "messages" else openai.BadRequestError
    async with serving(config) as gateway, limit():
        with pytest.raises(kind, match="too long by 4 tokens"):
            await ask(caller, gateway.url)
    assert len(upstream.attempts) == 1


@pytest.mark.parametrize(("caller", "api"), PAIRS)
async def test_an_answer_that_cannot_be_completed_is_an_error_for_the_callers_sdk(
    scripted_upstream, caller, api
):
    upstream = await scripted_upstream(faults=[("always", "close", "middle")], apis=[api])
    config = UpstreamConfig(name="a", url=upstream.base_url, api=api)
    kind = anthropic.APIError if caller == "messages" else openai.APIError
    async with serving(config, policy=QUICK) as gateway, limit():
        with pytest.raises(kind):
            await ask(caller, gateway.url)


async def test_the_attempts_tell_which_api_an_upstream_was_asked_in(scripted_upstream):
    upstream = await scripted_upstream(faults=[(0, "close", "middle")], apis=["messages"])
    config = UpstreamConfig(name="a", url=upstream.base_url, api="messages")
    async with serving(config, policy=QUICK) as gateway, openai_at(gateway) as client, limit():
        chunks = await client.chat.completions.create(stream=True, **ASKS["chat"])
        last = [chunk async for chunk in chunks][-1]
    attempts = last.model_extra["everytoken"]["attempts"]
    assert [attempt["api"] for attempt in attempts] == ["anthropic-messages"] * 2


async def test_tokens_are_counted_by_upstreams_that_have_messages_only(scripted_upstream):
    upstream = await scripted_upstream(apis=["chat"])
    config = UpstreamConfig(name="a", url=upstream.base_url, api="chat")
    async with serving(config) as gateway, anthropic_at(gateway) as client, limit():
        with pytest.raises(anthropic.APIStatusError) as refused:
            await client.messages.count_tokens(model="m", messages=[{"role": "user", "content": "Hi"}])
    assert refused.value.status_code == 501
