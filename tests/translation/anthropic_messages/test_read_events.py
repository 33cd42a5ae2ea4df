"""Events of a message as neutral ones."""

from __future__ import annotations

import json

import pytest

from everytoken.errors import ErrorEventError, MalformedEventError, TruncatedError, UntranslatableError
from everytoken.sse import ServerSentEvent
from everytoken.translation.anthropic_messages.read_events import MessagesEventReader
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
    Sealed,
    Usage,
    Wrote,
)
from messages_streams import PING, begin, delta, end, inputs, start, stop, texts

BEGAN = Began("msg_01", "claude-x")
USAGE = Usage(prompt=32, answer=15, cached=7)
SOURCE = {
    "type": "web_search_result_location",
    "url": "u",
    "title": "T",
    "cited_text": "",
    "encrypted_index": "",
}


def events_of(values):
    return [ServerSentEvent(value["type"], json.dumps(value)) for value in values]


def read(*values, **options):
    reader = MessagesEventReader(**options)
    return [said for event in events_of(values) for said in reader.read(event)]


@pytest.mark.parametrize(
    ("events", "said"),
    [
        pytest.param(
            [begin(0, "text", text=""), PING, *texts(0, "a", "b"), stop(0)],
            [Wrote("a"), Wrote("b"), CLOSED],
            id="text",
        ),
        pytest.param([begin(0, "text", text="a"), *texts(0, "b")], [Wrote("a"), Wrote("b"), CLOSED], id="text that begins with text"),
        pytest.param(
            [begin(0, "text", text=""), *texts(0, "a"), stop(0), begin(1, "text", text=""), *texts(1, "b"), stop(1)],
            [Wrote("a"), CLOSED, Wrote("b"), CLOSED],
            id="two texts",
        ),
        pytest.param(
            [begin(0, "text", text=""), begin(1, "thinking", thinking=""), *texts(0, "a"), delta(1, "thinking_delta", thinking="t"), *texts(0, "b")],
            [CLOSED, CLOSED, Wrote("a"), CLOSED, Reasoned("t"), CLOSED, Wrote("b"), CLOSED],
            id="in turns, as nobody does",
        ),
        pytest.param(
            [begin(0, "thinking", thinking="", signature=""), delta(0, "thinking_delta", thinking="t"), delta(0, "signature_delta", signature="s"), stop(0)],
            [Reasoned("t"), Sealed("s"), CLOSED],
            id="thinking",
        ),
        pytest.param(
            [begin(0, "thinking", thinking="t", signature="s"), stop(0)],
            [Reasoned("t"), Sealed("s"), CLOSED],
            id="thinking in one event",
        ),
        pytest.param([begin(0, "redacted_thinking", data="x"), stop(0)], [], id="thinking that nobody can read"),
        pytest.param(
            [begin(3, "tool_use", id="t1", name="f", input={}), *inputs(3, "", '{"a"', ":1}"), stop(3)],
            [CallBegan(0, "t1", "f"), Arguments(0, '{"a"'), Arguments(0, ":1}"), CallEnded(0)],
            id="a call",
        ),
        pytest.param(
            [begin(0, "tool_use", id="t1", name="f", input={}), stop(0)],
            [CallBegan(0, "t1", "f"), Arguments(0, "{}"), CallEnded(0)],
            id="a call without arguments",
        ),
        pytest.param(
            [begin(0, "tool_use", id="t1", name="f", input={"a": 1}), stop(0)],
            [CallBegan(0, "t1", "f"), Arguments(0, '{"a":1}'), CallEnded(0)],
            id="a call in one event",
        ),
        pytest.param(
            [begin(0, "text", text="", citations=[]), delta(0, "citations_delta", citation=SOURCE), *texts(0, "a"), stop(0)],
            [Wrote("a"), Citation("u", "T"), CLOSED],
            id="a source, behind the text it is of",
        ),
        pytest.param(
            [begin(0, "text", text="", citations=[{"type": "page_location"}])],
            [Other("citations.page_location", {"type": "page_location"}), CLOSED],
            id="a source that is a document",
        ),
        pytest.param(
            [begin(0, "text", text=""), delta(0, "mood_delta", mood="good")],
            [Other("mood_delta", {"type": "mood_delta", "mood": "good"}), CLOSED],
            id="a delta of next year",
        ),
        pytest.param(
            [{"type": "message_note", "note": 1}], [Other("message_note", {"note": 1})], id="an event of next year"
        ),
        pytest.param(
            [begin(0, "server_tool_use", id="s", name="web_search", input={}), stop(0)],
            [Other("server_tool_use", {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})],
            id="a tool of the server",
        ),
    ],
)  # fmt: skip
def test_what_a_message_says(events, said):
    first, *rest, last = read(start(), *events, *end())
    assert (first, rest, last) == (BEGAN, said, Ended("stop", USAGE))


@pytest.mark.parametrize(
    ("reason", "meaning", "sequence"),
    [
        *(("end_turn", "stop", None), ("max_tokens", "length", None), ("tool_use", "tool_calls", None)),
        *(
            ("stop_sequence", "stop_sequence", "X"),
            ("pause_turn", "pause", None),
            ("refusal", "refusal", None),
        ),
        ("model_context_window_exceeded", "length", None),
    ],
)
def test_reasons(reason, meaning, sequence):
    assert read(start(), *end(reason, stop_sequence=sequence))[-1] == Ended(meaning, USAGE, sequence)


def test_a_reason_of_next_year_is_no_reason_of_ours():
    with pytest.raises(UntranslatableError) as raised:
        read(start(), *end("mood"))
    assert raised.value.param == "stop_reason mood"


def test_usage_of_the_cache_is_a_part_of_the_prompt():
    told = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 4,
        "cache_read_input_tokens": 5,
        "output_tokens": 9,
    }
    ending, last = end()
    ending["usage"] = {**told, "output_tokens_details": {"thinking_tokens": 2}}
    assert read(start(), ending, last)[-1].usage == Usage(12, 9, 5, 4, 2)


def test_only_message_stop_is_an_end():
    reader = MessagesEventReader()
    ending, last = events_of(end())
    for event in [*events_of([start(), begin(0, "text", text=""), *texts(0, "a"), stop(0)]), ending]:
        reader.read(event)
        assert (reader.terminal, reader.done) == (False, False)
        with pytest.raises(TruncatedError):
            reader.receive_eof()
    assert reader.read(last) == [Ended("stop", USAGE)]
    assert (reader.terminal, reader.done) == (True, True)
    assert (reader.read(last), reader.receive_eof()) == ((), ())


def test_an_end_inside_a_call_is_a_cut():
    with pytest.raises(TruncatedError):
        read(start(), begin(0, "tool_use", id="t", name="f", input={}), *end("tool_use"))


def test_an_end_without_a_reason_is_one_of_an_upstream_that_gives_none():
    ending, last = end("")
    with pytest.raises(TruncatedError):
        read(start(), ending, last)
    assert read(start(), ending, last, omits_end=True)[-1].reason == "stop"
    call = [begin(0, "tool_use", id="t", name="f", input={}), stop(0)]
    assert read(start(), *call, ending, last, omits_end=True)[-1].reason == "tool_calls"


def test_content_in_the_beginning_is_refused():
    block = {"type": "text", "text": "a"}
    assert read(start(content=[block])) == [BEGAN, Other("content", [block])]


def test_what_is_wrong_is_raised():
    with pytest.raises(MalformedEventError):
        read(*texts(0, "a"))
    with pytest.raises(MalformedEventError):
        MessagesEventReader().read(ServerSentEvent("message", '{"type": []}'))
    with pytest.raises(UntranslatableError):
        read(start(), *end(["end_turn"]))
    with pytest.raises(ErrorEventError):
        read(start(), {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})
