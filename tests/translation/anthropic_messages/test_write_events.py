"""Neutral events as the events of a message."""

from __future__ import annotations

import json

import pytest

from everytoken.errors import UntranslatableError
from everytoken.translation.anthropic_messages.write_events import MessagesEventWriter
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

BEGAN = Began("id-1", "m", 7)
CALL = [CallBegan(0, "c", "f"), Arguments(0, "{}"), CallEnded(0)]


def written(*events, request=None):
    writer = MessagesEventWriter(request or {})
    found = [one for event in events for one in writer.write([event])]
    assert all(one.event == json.loads(one.data)["type"] for one in found)
    return [json.loads(one.data) for one in found]


def short(*events, **options):
    """Return the events between start and end in few words."""
    first, *rest = written(BEGAN, *events, **options)
    assert first["type"] == "message_start"
    return [
        " ".join(str(word) for word in _words(event))
        for event in rest
        if event["type"].startswith("content_block")
    ]


def _words(event):
    yield event["type"].removeprefix("content_block_")
    yield event["index"]
    if "content_block" in event:
        yield event["content_block"]["type"]
    if "delta" in event:
        kind, value, *_ = event["delta"].values()
        yield from (kind.removesuffix("_delta"), value if isinstance(value, str) else value["url"])


def test_how_it_begins():
    (first,) = written(BEGAN)
    assert first == {
        "type": "message_start",
        "message": {
            "id": "msg_id-1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        },
    }


@pytest.mark.parametrize(
    ("events", "said"),
    [
        pytest.param(
            [Wrote("a"), Wrote("b")],
            ["start 0 text", "delta 0 text a", "delta 0 text b"],
            id="text",
        ),
        pytest.param(
            [Wrote("a"), CLOSED, Wrote("b"), Ended("stop")],
            ["start 0 text", "delta 0 text a", "stop 0", "start 1 text", "delta 1 text b", "stop 1"],
            id="two texts",
        ),
        pytest.param(
            [Reasoned("a"), Sealed("s"), Reasoned("b"), Wrote("c")],
            [
                *("start 0 thinking", "delta 0 thinking a", "delta 0 signature s", "stop 0"),
                *("start 1 thinking", "delta 1 thinking b", "stop 1", "start 2 text", "delta 2 text c"),
            ],
            id="nothing is added to what is signed",
        ),
        pytest.param([Sealed("s")], ["start 0 thinking", "delta 0 signature s"], id="thinking that is not shown"),
        pytest.param(
            [Wrote("a"), *CALL, Wrote("b")],
            [
                *("start 0 text", "delta 0 text a", "stop 0", "start 1 tool_use", "delta 1 input_json {}", "stop 1"),
                *("start 2 text", "delta 2 text b"),
            ],
            id="text around a call",
        ),
        pytest.param(
            [CallBegan(0, "c", "f"), CallBegan(1, "d", "g"), Arguments(0, "{}"), Arguments(1, "{}"), Ended("tool_calls")],
            [
                *("start 0 tool_use", "start 1 tool_use", "delta 0 input_json {}", "delta 1 input_json {}"),
                *("stop 0", "stop 1"),
            ],
            id="calls in turns",
        ),
        pytest.param(
            [Wrote("a"), Citation("u")],
            ["start 0 text", "delta 0 text a", "delta 0 citations u"],
            id="a source of the text",
        ),
        pytest.param([Citation("u")], [], id="a source of no text"),
    ],
)  # fmt: skip
def test_blocks(events, said):
    assert short(*events) == said


@pytest.mark.parametrize(
    ("events", "request_", "reason", "sequence"),
    [
        ([Wrote("a"), Ended("stop")], {}, "end_turn", None),
        ([Wrote("a"), Ended("length")], {}, "max_tokens", None),
        ([*CALL, Ended("tool_calls")], {}, "tool_use", None),
        ([*CALL, Ended("stop")], {}, "tool_use", None),
        ([Refused("no"), Ended("stop")], {}, "refusal", None),
        ([Ended("refusal")], {}, "refusal", None),
        ([Ended("content_filter")], {}, "refusal", None),
        ([Ended("pause")], {}, "pause_turn", None),
        ([Ended("stop_sequence", sequence="X")], {}, "stop_sequence", "X"),
        ([Ended("stop", sequence="X")], {"stop_sequences": ["X"]}, "stop_sequence", "X"),
        ([Ended("stop", sequence="<|end|>")], {"stop_sequences": ["X"]}, "end_turn", None),
    ],
)
def test_how_it_ends(events, request_, reason, sequence):
    *_, end, last = written(BEGAN, *events, request=request_)
    assert end["delta"] == {"stop_reason": reason, "stop_sequence": sequence}
    assert last == {"type": "message_stop"}


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        (
            Usage(9, 4, 2, 1, 3),
            {
                "input_tokens": 6,
                "output_tokens": 4,
                "cache_creation_input_tokens": 1,
                "cache_read_input_tokens": 2,
                "output_tokens_details": {"thinking_tokens": 3},
            },
        ),
        (None, {"input_tokens": 0, "output_tokens": 2, "estimated": True}),
        (Usage(3, None), {"input_tokens": 3, "output_tokens": 2, "estimated": True}),
    ],
    ids=["all of it", "none", "a part"],
)
def test_usage(usage, told):
    *_, end, _ = written(BEGAN, Wrote("a"), Wrote("b"), Ended("stop", usage))
    assert end["usage"] == told


@pytest.mark.parametrize(
    "events",
    [[Other("audio", {})], [CallBegan(0, "c", "f", custom=True)], [*CALL, Arguments(0, "x")]],
    ids=["a field", "a custom call", "more of a call that has ended"],
)
def test_what_it_cannot_say_is_refused(events):
    with pytest.raises(UntranslatableError, match="'anthropic-messages' cannot express"):
        written(BEGAN, *events)
