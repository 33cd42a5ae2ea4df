"""Who answered: what the usage chunk, an answer in one piece, and the log say of each attempt."""

from __future__ import annotations

import json
import logging

import pytest

from everytoken.gateway import UpstreamConfig
from everytoken.recovery import Policy
from everytoken.testing import CleanEnd, Close, Head, Send, Status
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
