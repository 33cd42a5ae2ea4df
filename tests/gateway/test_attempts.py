"""Who answered: what the usage chunk, an answer in one piece, and the log say of each attempt."""

from __future__ import annotations

import json
import logging

import pytest

from everytoken.gateway import UpstreamConfig
from everytoken.recovery import Policy
from everytoken.testing import Answer, CleanEnd, Close, Head, Send, Status
from everytoken.testing.messages import plan_message
from gateway_serving import HELLO, event, serving

CHAT = "/v1/chat/completions"
USAGE = {**HELLO, "stream_options": {"include_usage": True}}
QUICK = Policy(attempts=1, backoff=0.0)


def shown(attempts):
    return [
        (one["upstream"], one["model"], one["strategy"], one["cause"] and one["cause"]["code"])
        for one in attempts
    ]


def configured(name, upstream, model):
    return UpstreamConfig(name=name, url=upstream.base_url, models={"m": model})


def answer_of(model):
    """Return a script whose model has another name than it was asked by."""
    pieces = [event(text, model=model) for text in ("Good ", "day ", "to you")]
    end = event(finish="stop", model=model) + b"data: [DONE]\n\n"
    return [Head(), *map(Send, [*pieces, end]), CleanEnd()]


async def usage_chunk(gateway):
    answer = await gateway.ask("POST", CHAT, USAGE)
    *_, last, done = answer.events
    assert done[0] == "[DONE]"
    return json.loads(last[0])


@pytest.mark.parametrize(
    "before", [(), (Send(event("Good ", model="a-0613")),)], ids=["at once", "in the middle"]
)
async def test_the_usage_chunk_names_the_model_that_answered(before, scripted_upstream, caplog):
    caplog.set_level(logging.INFO, logger="everytoken.relay")
    first = await scripted_upstream([Head(), *before, Close()])
    second = await scripted_upstream(answer_of("b-1106"))
    async with serving(configured("a", first, "a"), configured("b", second, "b"), policy=QUICK) as gateway:
        chunk = await usage_chunk(gateway)
    assert chunk["model"] == "b-1106"
    attempts = shown(chunk["everytoken"]["attempts"])
    assert attempts[-1][:2] == ("b", "b-1106")
    assert attempts[-1][3] is None
    assert all(one[:2] == ("a", "a") and one[3] for one in attempts[:-1])
    text = caplog.text
    for upstream, model, strategy, cause in attempts:
        assert f"at {upstream}" in text
        assert f"({model}, {strategy})" in text
        assert cause is None or f"({cause})" in text


async def test_a_single_attempt_names_its_own(scripted_upstream, caplog):
    caplog.set_level(logging.INFO, logger="everytoken.relay")
    upstream = await scripted_upstream(answer_of("a-0613"))
    async with serving(configured("a", upstream, "a")) as gateway:
        chunk = await usage_chunk(gateway)
    assert chunk["model"] == "a-0613"
    assert "at a (a-0613, first)" in caplog.text


async def test_an_answer_in_one_piece_has_them_too(scripted_upstream):
    first, second = (
        await scripted_upstream([Status(500)]),
        await scripted_upstream(answer_of("b-1106")),
    )
    async with serving(configured("a", first, "a"), configured("b", second, "b"), policy=QUICK) as gateway:
        answer = await gateway.ask("POST", CHAT, {**HELLO, "stream": False})
    assert answer.json["model"] == "b-1106"
    assert shown(answer.json["everytoken"]["attempts"])[-1] == ("b", "b-1106", "retry", None)


SAID = "Good day to you, and to all whom you hold dear."
PIECES = [SAID[at : at + 6] for at in range(0, len(SAID), 6)]


def cut_answer():
    """Return the steps of an answer that breaks off in the middle, always."""
    return [Head(), *[Send(event(piece, model="gpt")) for piece in PIECES[:4]], Close()]


def continuing(request):
    """Answer as a model that would say something else by itself, but continues what it is given."""
    last = request.json["messages"][-1]
    said = SAID.removeprefix(last["content"]) if last["role"] == "assistant" else "Something else altogether."
    if not request.json.get("stream"):
        message = {"role": "assistant", "content": said}
        whole = {"model": "claude", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        return [Status(200, body=json.dumps(whole).encode())]
    return [
        Head(), Send(event(said, model="claude")), Send(event(finish="stop", model="claude")),
        Send(b"data: [DONE]\n\n"), CleanEnd(),
    ]  # fmt: skip


@pytest.mark.parametrize("where", ["policy", "upstream"])
async def test_an_answer_of_two_models_says_so(where, scripted_upstream, caplog):
    caplog.set_level(logging.INFO, logger="everytoken.relay")
    first, second = await scripted_upstream(cut_answer()), await scripted_upstream(continuing)
    common, own = ({"failover": "continue"}, {}) if where == "policy" else ({}, {"failover": "continue"})
    upstreams = [
        configured("a", first, "gpt"),
        UpstreamConfig(name="b", url=second.base_url, models={"m": "claude"}, policy=own),
    ]
    async with serving(*upstreams, policy=Policy(attempts=1, backoff=0.0, **common)) as gateway:
        answer = await gateway.ask("POST", CHAT, USAGE)
        text = "".join(
            choice["delta"].get("content", "")
            for data, *_ in answer.events[:-1]
            for choice in json.loads(data)["choices"]
        )
        whole = (await gateway.ask("POST", CHAT, {**HELLO, "stream": False})).json
    assert text == whole["choices"][0]["message"]["content"] == SAID
    for told in (json.loads(answer.events[-2][0]), whole):
        *before, last = told["everytoken"]["attempts"]
        assert (last["upstream"], last["strategy"], last["continues"]) == ("b", "prefill", "gpt")
        assert not any("continues" in one for one in before)
    assert ", behind text of another model (gpt)" in caplog.text
    ends = [one.getMessage() for one in caplog.records if "completed" in one.getMessage()]
    assert ends
    assert all("behind text of another model (gpt)" in end for end in ends)


async def test_by_default_no_answer_is_of_two_models(scripted_upstream):
    first, second = await scripted_upstream(cut_answer()), await scripted_upstream(continuing)
    upstreams = configured("a", first, "gpt"), configured("b", second, "claude")
    async with serving(*upstreams, policy=QUICK) as gateway:
        answer = await gateway.ask("POST", CHAT, USAGE)
    last = json.loads(answer.events[-1][0])
    assert last["error"]["code"] == "recovery-exhausted"
    assert b"[DONE]" not in answer.body
    assert all(one.json["messages"][-1]["role"] == "user" for one in second.attempts)


@pytest.mark.parametrize("failover", ["exact", "continue"])
async def test_a_message_of_two_models_says_so_too(failover, scripted_upstream):
    answer = Answer(SAID, prefill="refuse")

    def script(request):
        given = request.json["messages"][-1]["role"] == "assistant"
        said = Answer(SAID).variant(0 if given else 1)
        return plan_message(said, request.json, number=request.attempt).whole()

    first = await scripted_upstream(answer, faults=[("always", "close", 6)])
    second = await scripted_upstream(script)
    upstreams = configured("a", first, "claude-a"), configured("b", second, "claude-b")
    policy = Policy(attempts=1, backoff=0.0, failover=failover)
    ask = {"model": "m", "max_tokens": 99, "stream": True, "messages": HELLO["messages"]}
    async with serving(*upstreams, policy=policy) as gateway:
        told = await gateway.ask("POST", "/v1/messages", ask)
    events = [json.loads(data) for data, _ in told.events]
    said = "".join(value.get("delta", {}).get("text", "") for value in events)
    if failover == "exact":
        assert events[-1]["type"] == "error"
        assert SAID.startswith(said)
        return
    assert said == SAID
    ending = next(value for value in events if value["type"] == "message_delta")
    assert [one.get("continues") for one in ending["everytoken"]["attempts"]][-1] == "claude-a"
