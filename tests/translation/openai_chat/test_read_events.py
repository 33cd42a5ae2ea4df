"""Chunks of a chat completion as neutral events: calls however servers send them, reasons, usage, ends."""

from __future__ import annotations

import json

import pytest

from everytoken.errors import ErrorEventError, MalformedEventError, TruncatedError, UntranslatableError
from everytoken.sse import ServerSentEvent
from everytoken.translation.events import (
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
from everytoken.translation.openai_chat.read_events import ChatEventReader

BEGAN = Began("chatcmpl-1", "m", 7)
DONE = ServerSentEvent("message", "[DONE]")


def chunk(delta=None, finish=None, **more):
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish, **more.pop("choice", {})}
    whole = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m",
        "choices": [choice],
    }
    return ServerSentEvent("message", json.dumps({**whole, **more}))


def call(index=0, name=None, arguments=None, **more):
    function = {"name": name, "arguments": arguments}
    return {
        "index": index,
        **more,
        "function": {key: value for key, value in function.items() if value is not None},
    }


def calls(*fragments):
    return chunk({"tool_calls": list(fragments)})


def read(*events, **options):
    reader = ChatEventReader(**options)
    return [said for event in events for said in reader.read(event)]


def told(*events, finish="tool_calls"):
    """Return what a stream of these says, without how it begins and ends."""
    begin, *rest, end = read(*events, chunk(finish=finish), DONE)
    assert begin == BEGAN
    assert isinstance(end, Ended)
    return rest


FIRST = call(0, "look", "", id="c1", type="function")


@pytest.mark.parametrize(
    ("events", "said"),
    [
        pytest.param(
            [calls(FIRST), calls(call(0, None, '{"a"')), calls(call(0, None, ":1}"))],
            [CallBegan(0, "c1", "look"), Arguments(0, '{"a"'), Arguments(0, ":1}"), CallEnded(0)],
            id="a call in pieces",
        ),
        pytest.param(
            [calls(FIRST)],
            [CallBegan(0, "c1", "look"), Arguments(0, "{}"), CallEnded(0)],
            id="a call without arguments has none",
        ),
        pytest.param(
            [calls(call(0, "lo", "", id="c1")), calls(call(0, "ok", "")), calls(call(0, None, "{}"))],
            [CallBegan(0, "c1", "look"), Arguments(0, "{}"), CallEnded(0)],
            id="a name in pieces",
        ),
        pytest.param(
            [calls(call(0, "look", "{", id="c1")), calls(call(0, "look", "}"))],
            [CallBegan(0, "c1", "look"), Arguments(0, "{"), Arguments(0, "}"), CallEnded(0)],
            id="a name with every fragment",
        ),
        pytest.param(
            [calls(call(0, None, "{", id="c1")), calls(call(0, "look", "}"))],
            [CallBegan(0, "c1", "look"), Arguments(0, "{"), Arguments(0, "}"), CallEnded(0)],
            id="arguments before the name",
        ),
        pytest.param(
            [calls(FIRST, call(1, "see", '{"b":2}', id="c2")), calls(call(0, None, '{"a":1}'))],
            [
                *(CallBegan(0, "c1", "look"), CallBegan(1, "c2", "see"), Arguments(1, '{"b":2}')),
                *(CallEnded(1), Arguments(0, '{"a":1}'), CallEnded(0)),
            ],
            id="calls in turns",
        ),
        pytest.param(
            [
                calls(call(0, "look", "{}", id="c1")),
                calls(call(0, None, "\n")),
                calls(call(1, "see", "{}", id="c2")),
            ],
            [
                *(CallBegan(0, "c1", "look"), Arguments(0, "{}"), Arguments(0, "\n"), CallEnded(0)),
                *(CallBegan(1, "c2", "see"), Arguments(1, "{}"), CallEnded(1)),
            ],
            id="one call behind the other",
        ),
        pytest.param(
            [calls(call(0, "look", "{}", id="c1")), chunk({"content": "So."}), calls(call(0, None, " "))],
            [CallBegan(0, "c1", "look"), Arguments(0, "{}"), CallEnded(0), Wrote("So.")],
            id="blanks behind a call that has ended",
        ),
        pytest.param(
            [calls(call(0, "look", '{"a"', id="c1")), chunk({"content": "So."}), calls(call(0, None, ":1}"))],
            [
                CallBegan(0, "c1", "look"),
                Arguments(0, '{"a"'),
                Wrote("So."),
                Arguments(0, ":1}"),
                CallEnded(0),
            ],
            id="text inside a call",
        ),
        pytest.param(
            [
                calls(call(0, "f", '{"a"', id="c1")),
                *(calls(call(0, None, more)) for more in ('{"a": 1', '{"a": 1}')),
            ],
            [CallBegan(0, "c1", "f"), Arguments(0, '{"a"'), Arguments(0, ": 1}"), CallEnded(0)],
            id="arguments from their beginning each time",
        ),
        pytest.param(
            [calls(call(0, "f", "{", id="c1")), *(calls(call(0, None, more)) for more in ("{", "}}"))],
            [
                *(
                    CallBegan(0, "c1", "f"),
                    Arguments(0, "{"),
                    Arguments(0, "{"),
                    Arguments(0, "}}"),
                    CallEnded(0),
                )
            ],
            id="a piece like the one before it",
        ),
        pytest.param(
            [
                calls({"function": {"name": "f", "arguments": "{}"}}),
                calls({"function": {"name": "g", "arguments": "{}"}}),
            ],
            [
                *(CallBegan(0, "call_chatcmpl_1_0", "f"), Arguments(0, "{}"), CallEnded(0)),
                *(CallBegan(1, "call_chatcmpl_1_1", "g"), Arguments(1, "{}"), CallEnded(1)),
            ],
            id="neither index nor id",
        ),
        pytest.param(
            [chunk({"function_call": {"name": "f", "arguments": "{}"}})],
            [CallBegan(0, "call_chatcmpl_1_0", "f"), Arguments(0, "{}"), CallEnded(0)],
            id="as it was before there were tools",
        ),
        pytest.param(
            [calls({"index": 0, "id": "c1", "type": "custom", "custom": {"name": "sh", "input": ""}})],
            [CallBegan(0, "c1", "sh", custom=True), CallEnded(0)],
            id="a custom tool without input",
        ),
        pytest.param(
            [calls({**call(0, "f", "{}", id="c1"), "extra_content": {"google": {"thought_signature": "x"}}})],
            [CallBegan(0, "c1", "f"), Arguments(0, "{}"), CallEnded(0)],
            id="a signature on a call",
        ),
        pytest.param(
            [calls({**call(0, "f", "{}", id="c1"), "later": {"x": 1}})],
            [CallBegan(0, "c1", "f"), Arguments(0, "{}"), Other("tool_calls.later", {"x": 1}), CallEnded(0)],
            id="a field of next year on a call",
        ),
        pytest.param(
            [calls(call(0, "f", '{"a":"\ud83d', id="c1")), calls(call(0, None, '\ude00"}'))],
            [CallBegan(0, "c1", "f"), Arguments(0, '{"a":"'), Arguments(0, '😀"}'), CallEnded(0)],
            id="a character cut in two",
        ),
    ],
)
def test_calls(events, said):
    assert told(*events) == said


@pytest.mark.parametrize(
    ("events", "said"),
    [
        pytest.param([chunk({"content": "a"}), chunk({"content": "b"})], [Wrote("a"), Wrote("b")], id="text"),
        pytest.param(
            [chunk({"reasoning_content": "a", "reasoning": "a"}), chunk({"content": "b"})],
            [Reasoned("a"), Wrote("b")],
            id="reasoning under two names",
        ),
        pytest.param(
            [chunk({"reasoning": "\ud83d"}), chunk({"reasoning": "\ude00"})],
            [Reasoned("😀")],
            id="reasoning with a character cut in two",
        ),
        pytest.param(
            [
                chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]}),
                chunk({"content": [{"type": "text", "text": "b"}, "c"]}),
            ],
            [Reasoned("a"), Wrote("b"), Wrote("c")],
            id="parts as Mistral sends them",
        ),
        pytest.param(
            [chunk({"content": [{"type": "reference", "reference_ids": [1]}]})],
            [Other("content.reference", {"type": "reference", "reference_ids": [1]})],
            id="a part of another kind",
        ),
        pytest.param([chunk({"refusal": "no"})], [Refused("no")], id="a refusal"),
        pytest.param(
            [
                chunk({"content": "a"}, citations=["http://a"], search_results=[{"url": "http://a", "title": "A"}]),
                chunk({"content": "b"}, citations=["http://a", "http://b"]),
            ],
            [Wrote("a"), Wrote("b"), Citation("http://a", "A"), Citation("http://b")],
            id="sources beside the text, at its end",
        ),
        pytest.param(
            [
                chunk({"annotations": [{"type": "url_citation", "url_citation": {"url": "u", "start_index": 1, "end_index": 4, "title": "T"}}]}),
            ],
            [Citation("u", "T", 1, 4)],
            id="a source of a part of the text",
        ),
        pytest.param([chunk({"annotations": [{"type": "file"}]})], [Other("annotations", {"type": "file"})], id="a file"),
        pytest.param([chunk({"content": "a"}, "stop"), chunk({"content": "b"})], [Wrote("a"), Wrote("b")], id="text behind a finish_reason"),
        pytest.param([chunk({"content": "a"}, choice={"index": 1})], [Wrote("a")], id="counted from 1"),
    ],
)  # fmt: skip
def test_texts(events, said):
    last = chunk(
        finish="stop",
        choice={"index": 1} if '"index": 1' in events[0].data and "content" in events[0].data else {},
    )
    begin, *rest, end = read(*events, last, DONE)
    assert (begin, rest, end) == (BEGAN, said, Ended("stop"))


@pytest.mark.parametrize(
    ("reason", "meaning"),
    [
        *(
            ("stop", "stop"),
            ("eos_token", "stop"),
            ("STOP", "stop"),
            ("length", "length"),
            ("model_length", "length"),
        ),
        *(
            ("content_filter", "content_filter"),
            ("SAFETY", "content_filter"),
            ("function_call", "tool_calls"),
        ),
    ],
)
def test_reasons(reason, meaning):
    assert read(chunk({"content": "a"}), chunk(finish=reason), DONE)[-1] == Ended(meaning)


def test_a_reason_that_nobody_knows_is_no_reason_of_ours():
    with pytest.raises(UntranslatableError) as raised:
        read(chunk({"content": "a"}), chunk(finish="mood"))
    assert raised.value.param == "finish_reason mood"


def test_what_it_stopped_at_is_told():
    assert (
        read(chunk({"content": "a"}), chunk(finish="stop", choice={"stop_reason": "END"}), DONE)[-1].sequence
        == "END"
    )
    assert (
        read(chunk({"content": "a"}), chunk(finish="stop", choice={"matched_stop": 2}), DONE)[-1].sequence
        is None
    )


def test_several_choices_are_refused():
    with pytest.raises(UntranslatableError) as raised:
        read(chunk({"content": "a"}), chunk({"content": "b"}, choice={"index": 1}))
    assert raised.value.param == "choices"


@pytest.mark.parametrize(
    ("reported", "usage"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, Usage(3, 4)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(9, 4, 2, 1, 3),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 4.0, "prompt_cache_hit_tokens": 2}, Usage(9, 4, 2)),
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 4,
                "total_tokens": 16,
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            Usage(9, 7, reasoning=3),
        ),
        ({"prompt_tokens": -1, "completion_tokens": "many"}, Usage()),
    ],
    ids=["plain", "details", "DeepSeek", "xAI", "nonsense"],
)
def test_usage(reported, usage):
    last = chunk(usage=reported)
    assert read(chunk({"content": "a"}), chunk(finish="stop"), last, DONE)[-1] == Ended("stop", usage)


def test_the_last_usage_counts():
    events = [
        chunk({"content": "a"}, usage={"prompt_tokens": 1, "completion_tokens": 1}),
        chunk(finish="stop"),
    ]
    *_, end = read(*events, chunk(usage={"prompt_tokens": 1, "completion_tokens": 2}), DONE)
    assert end.usage == Usage(1, 2)


def test_the_end_of_the_bytes_is_an_end_behind_a_finish_reason_only():
    reader = ChatEventReader()
    reader.read(chunk({"content": "a"}))
    with pytest.raises(TruncatedError):
        reader.receive_eof()
    assert not reader.read(chunk(finish="stop"))
    assert (reader.terminal, reader.done) == (True, False)
    assert reader.receive_eof() == [Ended("stop")]
    assert reader.receive_eof() == ()


def test_done_without_a_finish_reason_is_a_cut_unless_the_upstream_never_sends_one():
    with pytest.raises(TruncatedError):
        read(chunk({"content": "a"}), DONE)
    assert read(chunk({"content": "a"}), DONE, omits_end=True)[-1] == Ended("stop")
    assert read(calls(FIRST), DONE, omits_end=True)[-1] == Ended("tool_calls")
    assert read(DONE, omits_end=True) == [Began("", ""), Ended("stop")]


def test_a_call_cut_by_a_limit_has_not_ended():
    assert told(calls(call(0, "f", '{"a"', id="c1")), finish="length") == [
        CallBegan(0, "c1", "f"),
        Arguments(0, '{"a"'),
    ]
    assert told(calls(FIRST), finish="length") == [CallBegan(0, "c1", "look")]


@pytest.mark.parametrize(
    "second",
    [calls(call(0, "other", "")), calls(call(0, None, '{"b":2}'))],
    ids=["another name", "arguments behind the end"],
)
def test_a_call_that_says_two_things_is_refused(second):
    events = [calls(call(0, "f", '{"a":1}', id="c1")), chunk({"content": "x"}), second]
    with pytest.raises(UntranslatableError):
        read(*events)


def test_a_call_without_a_name_is_malformed():
    with pytest.raises(MalformedEventError):
        read(calls(call(0, None, "{}", id="c1")), chunk(finish="tool_calls"), DONE)


def test_the_response_begins_with_the_first_chunk_that_says_which_it_is():
    first = chunk(id="", model="", created=0, prompt_filter_results=[{"prompt_index": 0}])
    assert read(first, chunk({"role": "assistant", "content": ""})) == [BEGAN]
    assert read(
        ServerSentEvent("message", '{"object":"chat.completion.chunk","choices":[{"delta":{"content":"a"}}]}')
    ) == [
        Began("", ""),
        Wrote("a"),
    ]


def test_an_error_in_the_stream_is_raised():
    with pytest.raises(ErrorEventError):
        read(chunk({"content": "a"}), ServerSentEvent("message", '{"error":{"message":"busy"}}'))
