"""Neutral events as the events of a response."""

from __future__ import annotations

import json

import pytest

from everytoken.errors import UntranslatableError
from everytoken.translation.events import (
    CLOSED,
    Arguments,
    Began,
    CallBegan,
    CallEnded,
    Citation,
    Ended,
    Other,
    Reasoned,
    Refused,
    Sealed,
    Usage,
    Wrote,
)
from everytoken.translation.openai_responses.write_events import ResponsesEventWriter

BEGAN = Began("id-1", "m", 7)
CALL = [CallBegan(0, "c", "f"), Arguments(0, "{"), Arguments(0, "}"), CallEnded(0)]


def written(*events, request=None, **options):
    writer = ResponsesEventWriter(request or {}, **options)
    found = [one for event in events for one in writer.write([event])]
    values = [json.loads(one.data) for one in found]
    assert [value["type"] for value in values] == [one.event for one in found]
    assert [value["sequence_number"] for value in values] == list(range(len(found)))
    return values


def kinds(*events, **options):
    return [value["type"].removeprefix("response.") for value in written(BEGAN, *events, **options)][2:]


def output(*events, **options):
    """Return the items of the last event, without ids."""
    *_, last = written(BEGAN, *events, **options)
    return [
        {name: value for name, value in item.items() if name != "id"} for item in last["response"]["output"]
    ]


TEXT = {"type": "output_text", "annotations": [], "logprobs": []}


@pytest.mark.parametrize(
    ("events", "said"),
    [
        pytest.param(
            [Wrote("a"), Wrote("b"), Ended("stop")],
            [
                *("output_item.added", "content_part.added", "output_text.delta", "output_text.delta"),
                *("output_text.done", "content_part.done", "output_item.done", "completed"),
            ],
            id="text",
        ),
        pytest.param(
            [Reasoned("a", summary=True), CLOSED, Ended("stop")],
            [
                *("output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta"),
                *(
                    "reasoning_summary_text.done",
                    "reasoning_summary_part.done",
                    "output_item.done",
                    "completed",
                ),
            ],
            id="a summary",
        ),
        pytest.param(
            [Reasoned("a"), Sealed("s"), Ended("stop")],
            [
                *("output_item.added", "content_part.added", "reasoning_text.delta"),
                *("reasoning_text.done", "content_part.done", "output_item.done", "completed"),
            ],
            id="reasoning",
        ),
        pytest.param(
            [Refused("a"), Ended("stop")],
            [
                *("output_item.added", "content_part.added", "refusal.delta"),
                *("refusal.done", "content_part.done", "output_item.done", "completed"),
            ],
            id="a refusal",
        ),
        pytest.param(
            [*CALL, Ended("tool_calls")],
            [
                *("output_item.added", "function_call_arguments.delta", "function_call_arguments.delta"),
                *("function_call_arguments.done", "output_item.done", "completed"),
            ],
            id="a call",
        ),
        pytest.param([Ended("stop")], ["completed"], id="nothing"),
    ],
)
def test_what_comes_when(events, said):
    assert kinds(*events) == said


@pytest.mark.parametrize(
    ("events", "items"),
    [
        pytest.param(
            [Wrote("a"), Wrote("b"), CLOSED, Wrote("c"), Refused("d")],
            [
                {
                    "type": "message",
                    "status": "completed",
                    "role": "assistant",
                    "content": [{**TEXT, "text": "ab"}, {**TEXT, "text": "c"}, {"type": "refusal", "refusal": "d"}],
                }
            ],
            id="the parts of a message",
        ),
        pytest.param(
            [Reasoned("a"), CLOSED, Reasoned("b"), Reasoned("c", summary=True)],
            [
                {
                    "type": "reasoning",
                    "summary": [],
                    "content": [{"type": "reasoning_text", "text": "a"}, {"type": "reasoning_text", "text": "b"}],
                },
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "c"}]},
            ],
            id="reasoning",
        ),
        pytest.param(
            [CallBegan(0, "c", "f"), CallBegan(1, "d", "g"), Arguments(1, "1"), CallEnded(1), Arguments(0, "0")],
            [
                {"type": "function_call", "status": "completed", "arguments": "0", "call_id": "c", "name": "f"},
                {"type": "function_call", "status": "completed", "arguments": "1", "call_id": "d", "name": "g"},
            ],
            id="calls in turns",
        ),
        pytest.param(
            [CallBegan(0, "c", "f", custom=True), Arguments(0, "x")],
            [{"type": "custom_tool_call", "status": "completed", "input": "x", "call_id": "c", "name": "f"}],
            id="a custom call",
        ),
        pytest.param(
            [Wrote("abc"), Citation("u", "T"), Citation("v", "", 1, 2)],
            [
                {
                    "type": "message",
                    "status": "completed",
                    "role": "assistant",
                    "content": [
                        {
                            **TEXT,
                            "text": "abc",
                            "annotations": [
                                {"type": "url_citation", "start_index": 0, "end_index": 3, "url": "u", "title": "T"},
                                {"type": "url_citation", "start_index": 1, "end_index": 2, "url": "v", "title": ""},
                            ],
                        }
                    ],
                }
            ],
            id="sources",
        ),
    ],
)  # fmt: skip
def test_what_the_response_is_in_the_end(events, items):
    assert output(*events, Ended("stop")) == items


@pytest.mark.parametrize(
    ("reason", "kind", "details"),
    [
        *(
            ("stop", "completed", None),
            ("tool_calls", "completed", None),
            ("stop_sequence", "completed", None),
        ),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
        ("refusal", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_how_it_ends(reason, kind, details):
    *_, last = written(BEGAN, Wrote("a"), CallBegan(0, "c", "f"), Ended(reason))
    assert last["type"] == f"response.{kind}"
    response = last["response"]
    assert (response["status"], response["incomplete_details"]) == (kind, details)
    # What a limit has cut is not complete; what came whole before it is.
    assert [item["status"] for item in response["output"]] == ["completed", kind]


def test_the_response_says_again_what_was_asked():
    request = {
        "instructions": "Be brief.",
        "tools": [{"type": "function", "name": "f"}],
        "temperature": 0.5,
        "input": "Hi",
    }
    first, second, last = written(BEGAN, Ended("stop", Usage(9, 4, 2, 1, 3)), request=request)
    asked = {
        "instructions": "Be brief.",
        "tools": [{"type": "function", "name": "f"}],
        "temperature": 0.5,
        "top_p": 1.0,
    }
    assert (first["type"], second["type"]) == ("response.created", "response.in_progress")
    for event in (first, second, last):
        response = event["response"]
        assert response.items() >= {**asked, "id": "resp_id-1", "created_at": 7, "model": "m"}.items()
        assert "input" not in response
    assert first["response"]["usage"] is None
    assert last["response"]["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 13,
    }


def test_usage_that_is_not_known_is_none():
    for usage in (None, Usage(3, None)):
        assert written(BEGAN, Ended("stop", usage))[-1]["response"]["usage"] is None


def test_reasoning_is_a_summary_for_who_asks_for_summaries():
    (item,) = output(Reasoned("a"), Ended("stop"), request={"reasoning": {"summary": "auto"}})
    assert item == {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]}


def test_the_time_of_who_does_not_say_it_is_given():
    assert (
        written(Began("resp_1", "m"), created=5)[0]["response"].items()
        >= {"id": "resp_1", "created_at": 5}.items()
    )


@pytest.mark.parametrize(
    "events",
    [[Other("audio", {})], [Ended("pause")], [*CALL, Arguments(0, "x")]],
    ids=["a field", "a pause", "more of a call that has ended"],
)
def test_what_it_cannot_say_is_refused(events):
    with pytest.raises(UntranslatableError, match="'openai-responses' cannot express"):
        written(BEGAN, *events)
