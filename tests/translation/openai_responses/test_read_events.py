"""Events of a response as neutral ones."""

from __future__ import annotations

import json

import pytest

from everytoken.errors import ErrorEventError, TruncatedError, UntranslatableError
from everytoken.sse import ServerSentEvent
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
    Usage,
    Wrote,
)
from everytoken.translation.openai_responses.read_events import ResponsesEventReader
from responses_streams import STREAMS, USAGE, Script, output_text

BEGAN = Began("resp_a", "m", 1097)
TOLD = Usage(prompt=12, answer=9, cached=4, reasoning=3)


def read(values):
    reader = ResponsesEventReader()
    return [
        said for value in values for said in reader.read(ServerSentEvent(value["type"], json.dumps(value)))
    ]


def response(*output, status="completed", **more):
    return {
        "id": "resp_a",
        "created_at": 1097,
        "model": "m",
        "status": status,
        "output": list(output),
        "usage": USAGE,
        **more,
    }


def stream(*events, end=None):
    """Return a stream of these events, numbered."""
    begun = {"type": "response.created", "response": {"id": "resp_a", "created_at": 1097, "model": "m"}}
    end = {"type": "response.completed", "response": response()} if end is None else end
    return [{**event, "sequence_number": number} for number, event in enumerate((begun, *events, end))]


def added(item, index=0):
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(item, index=0):
    return {"type": "response.output_item.done", "output_index": index, "item": item}


MESSAGE = {
    "id": "m1",
    "type": "message",
    "role": "assistant",
    "content": [{"type": "output_text", "text": "ab"}],
}
CALL = {
    "id": "f1",
    "type": "function_call",
    "call_id": "c1",
    "name": "f",
    "arguments": '{"a":1}',
    "status": "completed",
}
THOUGHT = {
    "id": "r1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "s"}],
    "content": [{"type": "reasoning_text", "text": "t"}],
}
NOTE = {"type": "url_citation", "url": "u", "title": "T", "start_index": 0, "end_index": 1}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("text", [Wrote("One "), Wrote("two\u2028"), Wrote("drei "), Wrote("😀."), CLOSED]),
        ("refusal", [Refused("I cannot "), Refused("do that."), CLOSED]),
        (
            "two_parts",
            [
                *(Wrote("One "), Wrote("two. "), CLOSED, Wrote("Three "), Wrote("four."), CLOSED),
                *(Wrote("One "), Wrote("again."), CLOSED),
            ],
        ),
        (
            "parallel_calls",
            [
                *(CallBegan(0, "call_aweather", "weather"), CallBegan(1, "call_atime", "time")),
                *(
                    Arguments(0, '{"city"'),
                    Arguments(1, '{"zone"'),
                    Arguments(0, ':"Oslo"}'),
                    Arguments(1, ':"CET"}'),
                ),
                *(CallEnded(0), CallEnded(1)),
            ],
        ),
        (
            "custom_tool",
            [
                CallBegan(0, "call_apatch", "patch", custom=True),
                *(
                    Arguments(0, "*** Begin\n"),
                    Arguments(0, "+line\n"),
                    Arguments(0, "*** End"),
                    CallEnded(0),
                ),
            ],
        ),
        (
            "reasoning",
            [
                *(Reasoned("First ", summary=True), Reasoned("I think.", summary=True), CLOSED),
                *(Reasoned("Then ", summary=True), Reasoned("more.", summary=True), CLOSED),
                *(Reasoned("Raw "), Reasoned("thoughts."), CLOSED, Wrote("So: "), Wrote("yes."), CLOSED),
            ],
        ),
    ],
)
def test_streams(name, said):
    first, *rest, last = read(STREAMS[name]("a"))
    calls = any(isinstance(event, CallBegan) for event in said)
    assert (first, rest, last) == (BEGAN, said, Ended("tool_calls" if calls else "stop", TOLD))


@pytest.mark.parametrize(
    ("events", "said"),
    [
        pytest.param([added({**MESSAGE, "content": []}), done(MESSAGE)], [Wrote("ab"), CLOSED], id="a message without deltas"),
        pytest.param([done(MESSAGE)], [Wrote("ab"), CLOSED], id="an item that never began"),
        pytest.param(
            [added({**CALL, "arguments": ""}), done(CALL)],
            [CallBegan(0, "c1", "f"), Arguments(0, '{"a":1}'), CallEnded(0)],
            id="a call without deltas",
        ),
        pytest.param(
            [added({**CALL, "arguments": ""}), done({**CALL, "arguments": ""})],
            [CallBegan(0, "c1", "f"), Arguments(0, "{}"), CallEnded(0)],
            id="a call without arguments",
        ),
        pytest.param(
            [done(THOUGHT)], [Reasoned("s", summary=True), CLOSED, Reasoned("t"), CLOSED], id="reasoning without deltas"
        ),
        pytest.param(
            [done({**MESSAGE, "content": [{"type": "output_text", "text": "ab", "annotations": [NOTE]}]})],
            [Wrote("ab"), Citation("u", "T", 0, 1), CLOSED],
            id="sources in the item only",
        ),
        pytest.param(
            [done({**MESSAGE, "content": [{"type": "output_text", "text": "ab", "annotations": [{"type": "url_citation", "url": "u"}]}]})],
            [Wrote("ab"), Citation("u"), CLOSED],
            id="a source of the whole text",
        ),
        pytest.param(
            [done({**MESSAGE, "content": [{"type": "output_audio", "data": "x"}]})],
            [Other("content.output_audio", {"type": "output_audio", "data": "x"})],
            id="a part of next year",
        ),
        pytest.param(
            [{"type": "response.mood.delta", "delta": "x"}],
            [Other("response.mood.delta", {"type": "response.mood.delta", "delta": "x", "sequence_number": 1})],
            id="an event of next year",
        ),
    ],
)  # fmt: skip
def test_what_servers_say_only_when_an_item_is_done(events, said):
    first, *rest, last = read(stream(*events))
    assert (first, rest) == (BEGAN, said)
    assert isinstance(last, Ended)


def test_what_is_said_only_when_the_response_is_done():
    end = {"type": "response.completed", "response": response(MESSAGE, CALL)}
    _, *rest, last = read(stream(end=end))
    assert rest == [Wrote("ab"), CLOSED, CallBegan(0, "c1", "f"), Arguments(0, '{"a":1}'), CallEnded(0)]
    assert last == Ended("tool_calls", TOLD)


def test_nothing_is_said_twice():
    script = Script("a")
    script.message((output_text(), ("See ", "this.")), notes=[NOTE])
    assert read(script.end())[1:-1] == [Wrote("See "), Wrote("this."), Citation("u", "T", 0, 1), CLOSED]


@pytest.mark.parametrize(
    ("reason", "meaning"), [("max_output_tokens", "length"), ("content_filter", "content_filter")]
)
def test_an_incomplete_response_says_why(reason, meaning):
    whole = response(status="incomplete", incomplete_details={"reason": reason})
    assert read(stream(end={"type": "response.incomplete", "response": whole}))[-1] == Ended(meaning, TOLD)


def test_a_reason_that_nobody_knows_is_no_reason_of_ours():
    for details in ({"reason": "mood"}, None):
        whole = response(status="incomplete", incomplete_details=details)
        with pytest.raises(UntranslatableError):
            read(stream(end={"type": "response.incomplete", "response": whole}))


def test_a_call_cut_by_a_limit_has_not_ended():
    cut = {**CALL, "status": "incomplete", "arguments": '{"a"'}
    whole = response(cut, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    end = {"type": "response.incomplete", "response": whole}
    for events in ([added({**cut, "arguments": ""}), done(cut)], [added(cut)]):
        *said, _ = read(stream(*events, end=end))
        assert CallEnded(0) not in said
        assert CallBegan(0, "c1", "f") in said


def test_only_the_last_event_is_an_end():
    *events, last = STREAMS["text"]("a")
    reader = ResponsesEventReader()
    for value in events:
        reader.read(ServerSentEvent(value["type"], json.dumps(value)))
        assert (reader.terminal, reader.done) == (False, False)
        with pytest.raises(TruncatedError):
            reader.receive_eof()
    assert isinstance(reader.read(ServerSentEvent(last["type"], json.dumps(last)))[-1], Ended)
    assert (reader.terminal, reader.done, reader.receive_eof()) == (True, True, ())
    assert reader.read(ServerSentEvent("message", "[DONE]")) == ()


def test_done_is_no_end():
    reader = ResponsesEventReader()
    value = STREAMS["text"]("a")[0]
    reader.read(ServerSentEvent(value["type"], json.dumps(value)))
    with pytest.raises(TruncatedError):
        reader.read(ServerSentEvent("message", "[DONE]"))


def test_a_failed_response_is_an_error():
    failed = {"type": "response.failed", "response": response(status="failed", error={"message": "no"})}
    with pytest.raises(ErrorEventError, match="no"):
        read(stream(end=failed))


def test_a_character_cut_in_two_is_whole():
    at = {"item_id": "m1", "output_index": 0, "content_index": 0}
    halves = [{"type": "response.output_text.delta", **at, "delta": half} for half in ("a\ud83d", "\ude00b")]
    assert read(stream(added({**MESSAGE, "content": []}), *halves))[1:-1] == [
        Wrote("a"),
        Wrote("😀b"),
        CLOSED,
    ]
