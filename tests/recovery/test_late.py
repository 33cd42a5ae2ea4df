"""What comes behind a finish_reason: more of the answer, usage, nothing. Callers that stream, and callers that do not."""

from __future__ import annotations

import asyncio
import json

import pytest

from everytoken.errors import TruncatedError
from everytoken.recovery import Breaker, LearnedCapabilities, Recovery, State, Target
from gateway_serving import HELLO, ManualUpstream, Wire, event, serving
from simulation import request

WHOLE = {**HELLO, "stream": False}
ASKED = {**HELLO, "stream_options": {"include_usage": True}}
LAG = 3.0  # virtual seconds
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


def chunk(delta=None, finish=None, **more):
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return (
        b"data: %b\n\n"
        % json.dumps(
            {
                "id": "c",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "m",
                "choices": [choice],
                **more,
            }
        ).encode()
    )


def call(index, arguments):
    function = {"name": f"f{index}", "arguments": arguments}
    return chunk(
        {"tool_calls": [{"index": index, "id": f"call_{index}", "type": "function", "function": function}]}
    )


async def answered(body, *parts):
    """Return what a caller gets of an upstream that sends the `parts`, each 3 s behind the one before."""
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", body)
        attempt = await upstream.attempt()
        attempt.accept()
        for number, data in enumerate(parts):
            if number:
                await asyncio.sleep(LAG)
            attempt.sink.on_data(data)
        answer = await wire.answer()
        assert len(upstream.attempts) == 1
    return answer


ENDS = [
    pytest.param([DONE], id="its end mark"),
    pytest.param([], id="silence"),
]


@pytest.mark.virtual_time
@pytest.mark.parametrize("end", ENDS)
async def test_text_behind_a_finish_reason_still_counts(end):
    parts = [event("One ") + event(finish="stop"), event("two ") + event(finish="stop"), event("three"), *end]
    streamed = await answered(HELLO, *parts)
    assert streamed.text == "One two three"
    assert streamed.complete
    assert streamed.events[-1][0] == "[DONE]"
    whole = await answered(WHOLE, *parts)
    assert whole.json["choices"][0]["message"]["content"] == "One two three"
    assert whole.json["choices"][0]["finish_reason"] == "stop"


@pytest.mark.virtual_time
@pytest.mark.parametrize("end", ENDS)
async def test_a_tool_call_behind_a_finish_reason_still_counts(end):
    finish = chunk(finish="tool_calls")
    parts = [
        call(0, "{}") + finish,
        call(1, '{"a":') + chunk(),
        chunk({"tool_calls": [{"index": 1, "function": {"arguments": "1}"}}]}) + finish,
    ]
    whole = await answered(WHOLE, *parts, *end)
    calls = whole.json["choices"][0]["message"]["tool_calls"]
    assert [one["function"]["arguments"] for one in calls] == ["{}", '{"a":1}']
    streamed = await answered(HELLO, *parts, *end)
    assert streamed.body.count(b'"arguments"') == 3
    assert streamed.complete


@pytest.mark.virtual_time
async def test_readers_have_the_finish_reason_at_once():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        began = asyncio.get_running_loop().time()
        attempt.sink.on_data(event("One ") + event(finish="stop"))
        answer = await wire.head()
        while b'"finish_reason": "stop"' not in answer.body:
            frame = await wire.frame()
            assert frame is not None
            answer.frames.append(frame)
        assert asyncio.get_running_loop().time() - began < 1
        assert (await wire.rest(answer)).complete
        assert asyncio.get_running_loop().time() - began == pytest.approx(10, abs=0.5)


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "told",
    [
        pytest.param(chunk(usage=USAGE), id="in a chunk with a choice"),
        pytest.param(chunk(usage=USAGE).replace(b'"choices"', b'"nothing"'), id="without choices"),
        pytest.param(b'data: {"usage": %b}\n\n' % json.dumps(USAGE).encode(), id="alone"),
        pytest.param(chunk(x_groq={"id": "r", "usage": USAGE}), id="in x_groq"),
        pytest.param(
            b'data: {"choices": [], "x_groq": {"usage": %b}}\n\n' % json.dumps(USAGE).encode(),
            id="in x_groq, without a choice",
        ),
        pytest.param(
            chunk().replace(b'"finish_reason"', b'"usage": %b, "finish_reason"' % json.dumps(USAGE).encode()),
            id="in the choice",
        ),
    ],
)
async def test_usage_behind_the_end_is_the_upstreams_own(told):
    parts = [event("One ") + event("two") + event(finish="stop"), told, DONE]
    streamed = await answered(ASKED, *parts)
    *_, last, done = [data for data, _ in streamed.events]
    assert done == "[DONE]"
    assert json.loads(last)["usage"] == USAGE
    whole = await answered(WHOLE, *parts)
    assert whole.json["usage"] == USAGE
    assert (await answered(HELLO, *parts)).text == "One two"


@pytest.mark.virtual_time
async def test_usage_in_the_finish_chunk_of_groq_is_its_own():
    answer = await answered(
        WHOLE, event("One") + chunk(finish="stop", x_groq={"id": "r", "usage": USAGE}) + DONE
    )
    assert answer.json["usage"] == USAGE


@pytest.mark.virtual_time
async def test_an_estimate_does_not_say_that_the_prompt_was_empty():
    answer = await answered(WHOLE, event("One ") + event("two") + event(finish="stop") + DONE)
    assert answer.json["usage"] == {
        "prompt_tokens": None, "completion_tokens": 2, "total_tokens": None, "estimated": True,
    }  # fmt: skip


@pytest.mark.parametrize("end", ["eof", "break", "silence"])
def test_half_a_tool_call_behind_a_finish_reason_is_never_a_whole_answer(end):
    learned = LearnedCapabilities()
    recovery = Recovery(
        request=request(), targets=[Target(name="a")], seed=7, jitter=lambda: 0.5, experience=lambda _: learned,
        breaker=Breaker(),
    )  # fmt: skip
    recovery.start(0.0)
    recovery.connected(0.0)
    recovery.receive_data(1.0, call(0, "{}") + chunk(finish="tool_calls"))
    assert recovery.state is State.LINGERING
    recovery.receive_data(2.0, call(1, '{"a":'))
    assert recovery.state is State.STREAMING
    if end == "eof":
        recovery.receive_eof(3.0)
    elif end == "break":
        recovery.fail(3.0, TruncatedError("cut"))
    else:
        recovery.tick(recovery.deadline)
    assert recovery.outcome != "completed"
