"""The scripted upstream in OpenAI's Responses, as the official SDK reads it, and what it refuses."""

from __future__ import annotations

import openai
import pydantic
import pytest
from openai.types.responses import Response, ResponseStreamEvent

from everytoken.testing import FAULTS, Answer, ScriptedUpstream, ToolCall
from everytoken.testing.plan import plan_answer
from everytoken.testing.responses import plan_response

ASK = {"model": "m", "input": "Hi you"}
EVENT = pydantic.TypeAdapter(ResponseStreamEvent)
PLAIN = [
    *(
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ),
    *("response.output_text.delta", "response.output_text.delta", "response.output_text.done"),
    *("response.content_part.done", "response.output_item.done", "response.completed"),
]
ANSWER = Answer(
    "Let me look.",
    reasoning="Hm, weather.",
    tool_calls=(ToolCall("look", '{"at": ["sky"]}', "t1"), ToolCall("wait", "{}", "t2")),
)


def sdk(upstream: ScriptedUpstream) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=upstream.base_url, api_key="any", max_retries=0)


def after(text: object) -> list[dict[str, object]]:
    return [{"role": "user", "content": "Hi you"}, {"role": "assistant", "content": text}]


async def streamed(answer: Answer, **more: object) -> tuple[list[dict[str, object]], Response]:
    """Return the events as the SDK gave them, each valid by the SDK's own types, and the response it has put together."""
    async with (
        ScriptedUpstream(answer) as upstream,
        sdk(upstream) as client,
        client.responses.stream(**ASK, **more) as stream,
    ):
        events = [event.to_dict(warnings=False) async for event in stream]
        final = await stream.get_final_response()
    async with ScriptedUpstream(answer) as upstream, sdk(upstream) as client:
        async for event in await client.responses.create(**ASK, **more, stream=True):
            EVENT.validate_python(event.to_dict(), strict=True)
    return events, final


async def test_a_plain_answer_has_every_event():
    events, final = await streamed(Answer("One two"))
    assert [event["type"] for event in events] == PLAIN
    assert [event["sequence_number"] for event in events] == list(range(len(PLAIN)))
    assert final.output_text == "One two"
    assert (final.usage.input_tokens, final.usage.output_tokens, final.usage.total_tokens) == (2, 2, 4)


async def test_the_whole_response_is_the_streamed_one():
    _, final = await streamed(ANSWER)
    async with ScriptedUpstream(ANSWER) as upstream, sdk(upstream) as client:
        whole = await client.responses.create(**ASK)
    Response.model_validate(whole.to_dict())
    assert [item.type for item in whole.output] == ["reasoning", "message", "function_call", "function_call"]
    assert whole.output[0].summary[0].text == "Hm, weather."
    assert [item.arguments for item in whole.output[2:]] == ['{"at": ["sky"]}', "{}"]
    told = final.to_dict(warnings=False)
    for item in told["output"]:
        item.pop("parsed_arguments", None)
        for part in item.get("content", ()):
            part.pop("parsed", None)
    assert told == whole.to_dict()


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        Answer("Hi", refusal="I will not."),
        Answer("Hi you there", logprobs=True),
        Answer("Hi \u2028 you", escaped=True),
        Answer(""),
        Answer("Hi", ids="changing", reasoning="Hm."),
    ],
    ids=["everything", "a refusal", "logprobs", "escapes", "nothing", "ids that change"],
)
async def test_the_sdk_takes_every_event(answer):
    events, final = await streamed(answer)
    assert final.output_text == answer.text
    assert events[-1]["type"] == "response.completed"


@pytest.mark.parametrize(
    ("answer", "more", "reason"),
    [
        (Answer("One two three"), {"max_output_tokens": 1}, "max_output_tokens"),
        (Answer("One", finish_reason="content_filter"), {}, "content_filter"),
        (Answer("One"), {"max_output_tokens": 1}, None),
    ],
)
async def test_how_it_ends(answer, more, reason):
    async with ScriptedUpstream(answer) as upstream, sdk(upstream) as client:
        stream = await client.responses.create(**ASK, **more, stream=True)
        last = [event async for event in stream][-1]
        whole = await client.responses.create(**ASK, **more)
    assert last.type == ("response.incomplete" if reason else "response.completed")
    for response in (last.response, whole):
        assert (response.incomplete_details and response.incomplete_details.reason) == reason
        assert response.max_output_tokens == more.get("max_output_tokens")


async def test_what_it_makes_of_a_prefill():
    text = "One two three."
    async with ScriptedUpstream(Answer(text)) as upstream, sdk(upstream) as client:
        for given in ("One two", [{"type": "output_text", "text": "One two"}]):
            assert (await client.responses.create(model="m", input=after(given))).output_text == " three."
    async with ScriptedUpstream(Answer(text, prefill="restart")) as upstream, sdk(upstream) as client:
        assert (await client.responses.create(model="m", input=after("One"))).output_text == text
    async with ScriptedUpstream(Answer(text, prefill="refuse")) as upstream, sdk(upstream) as client:
        with pytest.raises(openai.BadRequestError, match="assistant"):
            await client.responses.create(model="m", input=after("One"))


@pytest.mark.parametrize("position", ["start", "one", "middle", "last", "end"])
def test_a_cut_is_where_it_is_in_other_apis(position):
    chat = plan_answer(ANSWER, {"stream": True}, number=0)
    plan = plan_response(ANSWER, {"stream": True}, number=0)
    before, after = plan.split(position)
    assert b"".join(before + after) == b"".join(plan.pieces)
    deltas = [piece.count(b".delta\n") for piece in before]
    # A chat stream has two more: the names of the two calls, which are no arguments.
    assert sum(deltas) == plan.index(position)
    assert len(plan.content) == len(chat.content) - 2
    assert b"response.completed" not in b"".join(before)


async def test_an_index_that_is_missing_is_that_of_llama_cpp():
    answer = FAULTS["missing-tool-index"].rewrite(Answer("Hi"), "start")
    events, _ = [plan_response(answer, {"stream": True}, number=0).pieces, None]
    deltas = [piece for piece in events if b"arguments.delta" in piece]
    assert deltas
    assert b"output_index" not in deltas[-1].rpartition(b"event:")[2]


async def test_a_failure_is_told_as_the_api_tells_it():
    faults = [("always", "error-finish-reason", "middle")]
    async with ScriptedUpstream(Answer("One two three"), faults=faults) as upstream, sdk(upstream) as client:
        events = [event async for event in await client.responses.create(**ASK, stream=True)]
    assert events[-1].type == "response.failed"
    EVENT.validate_python(events[-1].to_dict(), strict=True)
