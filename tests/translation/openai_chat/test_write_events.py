"""Neutral events as chunks of a chat completion."""

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
from everytoken.translation.openai_chat.write_events import ChatEventWriter

BEGAN = Began("id-1", "m", 7)
ENVELOPE = {"id": "id-1", "object": "chat.completion.chunk", "created": 7, "model": "m"}


def written(*events, request=None, **options):
    writer = ChatEventWriter(request or {}, **options)
    return [one.data for event in events for one in writer.write([event])]


def deltas(*events, request=None):
    first, *rest = map(json.loads, written(BEGAN, *events, request=request))
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    for chunk in rest:
        choice = chunk.pop("choices")[0]
        assert chunk == ENVELOPE
        assert (choice["index"], choice["finish_reason"]) == (0, None)
        yield choice["delta"]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([Wrote('a "b"\n\x01\u2028😀')], [{"content": 'a "b"\n\x01\u2028😀'}]),
        ([Reasoned("hm"), Reasoned("so", summary=True)], [{"reasoning_content": "hm"}, {"reasoning_content": "so"}]),
        ([Refused("no")], [{"refusal": "no"}]),
        ([CLOSED, Sealed("s"), CallEnded(0)], []),
        (
            [CallBegan(0, "c", "f"), Arguments(0, "{}")],
            [
                {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}]},
                {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
            ],
        ),
        (
            [CallBegan(0, "c", "f", custom=True), Arguments(0, "x")],
            [
                {"tool_calls": [{"index": 0, "id": "c", "type": "custom", "custom": {"name": "f", "input": ""}}]},
                {"tool_calls": [{"index": 0, "custom": {"input": "x"}}]},
            ],
        ),
    ],
    ids=["text", "reasoning", "a refusal", "what it has no word for", "a call", "a custom call"],
)  # fmt: skip
def test_what_a_delta_says(events, said):
    assert list(deltas(*events)) == said


def test_a_source_is_one_of_the_text_so_far_or_of_a_part_of_it():
    events = [Wrote("one"), CLOSED, Wrote("four"), Citation("u", "T"), Citation("v", "", 1, 3)]
    notes = [delta["annotations"][0]["url_citation"] for delta in deltas(*events) if "annotations" in delta]
    assert notes == [
        {"start_index": 3, "end_index": 7, "url": "u", "title": "T"},
        {"start_index": 4, "end_index": 6, "url": "v"},
    ]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        *(
            ("stop", "stop"),
            ("length", "length"),
            ("tool_calls", "tool_calls"),
            ("content_filter", "content_filter"),
        ),
        *(("stop_sequence", "stop"), ("refusal", "content_filter")),
    ],
)
def test_how_it_ends(reason, finish):
    _, end, done = written(BEGAN, Ended(reason))
    assert json.loads(end) == {**ENVELOPE, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    assert done == "[DONE]"


def test_usage_comes_in_a_chunk_without_choices():
    *_, usage, _ = written(BEGAN, Ended("stop", Usage(9, 4, 2, None, 3)))
    assert json.loads(usage) == {
        **ENVELOPE,
        "choices": [],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 4,
            "total_tokens": 13,
            "prompt_tokens_details": {"cached_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
    }
    *_, usage, _ = written(BEGAN, Ended("stop", Usage(None, 4)))
    assert json.loads(usage)["usage"] == {"prompt_tokens": None, "completion_tokens": 4, "total_tokens": None}


@pytest.mark.parametrize("event", [Other("audio", {}), Ended("pause")], ids=["a field", "a pause"])
def test_what_it_cannot_say_is_refused(event):
    with pytest.raises(UntranslatableError, match="'openai-chat' cannot express"):
        written(BEGAN, event)


def test_who_does_not_say_when_it_began_is_asked_for_elsewhere():
    assert (
        json.loads(written(Began("", "m"), created=5)[0]).items()
        >= {"id": "chatcmpl-0", "created": 5}.items()
    )


def test_events_that_come_together_are_written_together():
    writer = ChatEventWriter({})
    assert len(writer.write([BEGAN, Wrote("a"), Reasoned("b"), Wrote("c"), Ended("stop")])) == 6
