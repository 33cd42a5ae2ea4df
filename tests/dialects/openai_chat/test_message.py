"""Chunks joined into the finished message, and taken apart again."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from everytoken.dialects.openai_chat import Accumulator, chunks_of, usage_estimate
from everytoken.errors import MalformedEventError


def joined(*chunks: dict[str, Any] | bytes | str) -> dict[str, Any]:
    accumulator = Accumulator()
    for chunk in chunks:
        accumulator.add(json.dumps(chunk) if isinstance(chunk, dict) else chunk)
    return accumulator.message()


def message_of(*deltas: dict[str, Any]) -> dict[str, Any]:
    (choice,) = joined(*({"choices": [{"index": 0, "delta": delta}]} for delta in deltas))["choices"]
    return choice["message"]


def calls_of(*fragments: dict[str, Any]) -> list[tuple[str | None, str, str]]:
    message = message_of(*({"tool_calls": [fragment]} for fragment in fragments))
    return [
        (call.get("id"), call["function"]["name"], call["function"]["arguments"])
        for call in message["tool_calls"]
    ]


def fragment(
    index: int | None = None, call_id: str | None = None, name: str | None = None, arguments: str = ""
) -> dict[str, Any]:
    found: dict[str, Any] = {"function": {"arguments": arguments}}
    if name is not None:
        found["function"]["name"] = name
    return found | ({} if index is None else {"index": index}) | ({} if call_id is None else {"id": call_id})


# Each case: its name, the fragments, the calls they make.
CALLS = [
    ("one call in pieces", [fragment(0, "a", "f"), fragment(0, arguments="{"), fragment(0, arguments="}")], [("a", "f", "{}")]),
    ("two calls by index", [fragment(0, "a", "f"), fragment(1, "b", "g"), fragment(0, arguments="x"), fragment(1, arguments="y")], [("a", "f", "x"), ("b", "g", "y")]),
    ("an index that starts at 1", [fragment(1, "a", "f", "{"), fragment(1, arguments="}")], [("a", "f", "{}")]),
    ("no index: a new id starts a call", [fragment(None, "a", "f", "x"), fragment(None, "b", "g", "y")], [("a", "f", "x"), ("b", "g", "y")]),
    ("no index: no id continues the last call", [fragment(None, "a", "f"), fragment(None, "b", "g"), fragment(arguments="y")], [("a", "f", ""), ("b", "g", "y")]),
    ("no index: a known id continues its call", [fragment(None, "a", "f"), fragment(None, "b", "g"), fragment(None, "a", arguments="x")], [("a", "f", "x"), ("b", "g", "")]),
    ("no index in the continuation of an indexed call", [fragment(0, "a", "f"), fragment(None, "a", arguments="x"), fragment(arguments="y")], [("a", "f", "xy")]),
    ("neither index nor id: a second name starts a call", [fragment(name="f", arguments="x"), fragment(name="g", arguments="y")], [(None, "f", "x"), (None, "g", "y")]),
    ("one index for all: another id with a name starts a call", [fragment(0, "a", "f", "x"), fragment(0, "b", "g", "y"), fragment(0, arguments="z")], [("a", "f", "x"), ("b", "g", "yz")]),
    ("a new id in every fragment of a call", [fragment(0, "a", "f", "x"), fragment(0, "b", arguments="y")], [("a", "f", "xy")]),
    ("id and name repeated in every fragment", [fragment(0, "a", "f", "x"), fragment(0, "a", "f", "y")], [("a", "f", "xy")]),
    ("empty ids are none", [fragment(0, "", "f", "x"), fragment(0, "", arguments="y")], [(None, "f", "xy")]),
    ("a name in pieces", [fragment(0, "a", "get_"), fragment(0, None, "weather")], [("a", "get_weather", "")]),
    ("an empty name is none", [fragment(0, "a", ""), fragment(0, None, "f")], [("a", "f", "")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fragments", "calls"), [case[1:] for case in CALLS], ids=[case[0] for case in CALLS]
)
def test_tool_calls(fragments: list[dict[str, Any]], calls: list[tuple[str | None, str, str]]):
    assert calls_of(*fragments) == calls


def test_a_tool_call_gets_the_type_it_must_have_and_no_index():
    message = message_of({"tool_calls": [fragment(0, "a", "f")]})
    assert message["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}
    ]


# Each case: its name, the deltas, the message.
MESSAGES = [
    ("texts are joined", [{"content": "a"}, {"content": "b"}], {"content": "ab"}),
    ("the role is not joined", [{"role": "assistant", "content": "a"}, {"role": "assistant"}], {"content": "a"}),
    ("an empty answer is empty", [{"content": ""}], {"content": ""}),
    ("no content is null", [{}], {"content": None}),
    ("a number is text", [{"content": "a"}, {"content": 5}], {"content": "a5"}),
    ("a refusal leaves no content", [{"content": "", "refusal": None}, {"refusal": "N"}, {"refusal": "o"}], {"content": None, "refusal": "No"}),
    ("a null refusal stays", [{"content": "a", "refusal": None}], {"content": "a", "refusal": None}),
    ("reasoning is joined", [{"reasoning_content": "a"}, {"reasoning_content": "b", "reasoning": "c"}], {"content": None, "reasoning_content": "ab", "reasoning": "c"}),
    ("a function call is joined", [{"function_call": {"name": "f", "arguments": "{"}}, {"function_call": {"arguments": "}"}}], {"content": None, "function_call": {"name": "f", "arguments": "{}"}}),
    ("parts of plain text are a string", [{"content": [{"type": "text", "text": "a"}]}, {"content": "b"}], {"content": "ab"}),
    (
        "thinking parts become one and stay parts",
        [{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": t}]}]} for t in "ab"] + [{"content": "c"}, {"content": "d"}],
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "ab"}]}, {"type": "text", "text": "cd"}]},
    ),
    ("other parts stay as they are", [{"content": [{"type": "image", "url": "u"}, {"type": "image", "url": "v"}]}], {"content": [{"type": "image", "url": "u"}, {"type": "image", "url": "v"}]}),
    ("unknown texts are joined", [{"content": "", "thought": "a"}, {"thought": "b"}], {"content": "", "thought": "ab"}),
    ("unknown objects: the last counts", [{"content": "", "meta": {"a": 1}}, {"meta": {"b": 2}}], {"content": "", "meta": {"b": 2}}),
    ("unknown lists are extended", [{"content": "", "annotations": [{"u": 1}]}, {"annotations": [{"u": 2}]}], {"content": "", "annotations": [{"u": 1}, {"u": 2}]}),
    (
        "unknown lists with an index are merged",
        [{"content": "", "reasoning_details": [{"type": "t", "text": t, "index": 0}]} for t in "ab"],
        {"content": "", "reasoning_details": [{"type": "t", "text": "ab", "index": 0}]},
    ),
    ("audio is joined", [{"audio": {"id": "i", "data": "AA"}}, {"audio": {"data": "BB", "expires_at": 1}}], {"content": None, "audio": {"id": "i", "data": "AABB", "expires_at": 1}}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("deltas", "message"), [case[1:] for case in MESSAGES], ids=[case[0] for case in MESSAGES]
)
def test_the_message(deltas: list[dict[str, Any]], message: dict[str, Any]):
    assert message_of(*deltas) == {"role": "assistant", **message}


def test_the_envelope():
    chunks = [
        {"id": "", "created": 0, "model": "", "object": "", "choices": [], "filter": 1},
        {"id": "a", "created": 1, "model": "m", "system_fingerprint": "f", "obfuscation": "xx", "usage": None, "choices": []},
        {"id": "b", "created": 2, "model": "n", "system_fingerprint": None, "choices": [], "usage": {"total_tokens": 1}, "extra": 1},
        {"id": "b", "choices": None, "usage": None, "extra": 2, "service_tier": "default"},
    ]  # fmt: skip
    assert joined(*chunks) == {
        "id": "a", "object": "chat.completion", "created": 1, "model": "m", "choices": [], "filter": 1,
        "system_fingerprint": "f", "extra": 2, "service_tier": "default", "usage": {"total_tokens": 1},
    }  # fmt: skip


def test_choices_are_sorted_and_their_own_fields_kept():
    def chunk(index: int, **fields: Any) -> dict[str, Any]:
        return {"choices": [{"index": index, "delta": {"content": str(index)}, **fields}]}

    entry = {"token": "t", "logprob": -1}
    whole = joined(
        chunk(1, finish_reason="", logprobs=None, filter={"hate": "safe"}),
        chunk(0, logprobs={"content": [entry], "refusal": None}),
        chunk(0, finish_reason="stop", logprobs={"content": [entry], "refusal": None}),
        chunk(0, finish_reason=None, logprobs=None),
        chunk(1, finish_reason="null", filter={"hate": "safe"}, stop_reason=None),
    )
    assert whole["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "000"},
            "finish_reason": "stop",
            "logprobs": {"content": [entry, entry], "refusal": None},
        },
        {
            "index": 1,
            "message": {"role": "assistant", "content": "11"},
            "finish_reason": None,
            "logprobs": None,
            "filter": {"hate": "safe"},
            "stop_reason": None,
        },
    ]


def test_a_character_sent_as_two_surrogates_is_joined():
    halves = [
        '{"choices":[{"index":0,"delta":{"content":"' + half + '"}}]}' for half in ("\\ud83d", "\\ude00")
    ]
    assert joined(*halves)["choices"][0]["message"]["content"] == "\N{GRINNING FACE}"


@pytest.mark.parametrize("data", ["[]", "{", "null", '{"a":' + "[" * 100_000])
def test_what_is_no_object_is_malformed(data: str):
    with pytest.raises(MalformedEventError):
        Accumulator().add(data)


def test_joining_is_linear():
    def cost(chunks: int) -> float:
        data = b'{"choices":[{"index":0,"delta":{"content":"' + b"x" * 100 + b'"}}]}'
        accumulator = Accumulator()
        start = time.process_time()
        for _ in range(chunks):
            accumulator.add(data)
        assert len(accumulator.message()["choices"][0]["message"]["content"]) == 100 * chunks
        return time.process_time() - start

    small = min(cost(4_000) for _ in range(3))
    large = min(cost(16_000) for _ in range(3))
    assert large < 8 * small, "four times the chunks cost far more than four times the time"


def test_a_usage_estimate_says_that_it_is_one():
    assert usage_estimate(7, prompt_tokens=3) == {
        "prompt_tokens": 3,
        "completion_tokens": 7,
        "total_tokens": 10,
        "estimated": True,
    }


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
some_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
entries = st.fixed_dictionaries(
    {"token": texts, "logprob": st.floats(-9, 0), "bytes": st.just([120]), "top_logprobs": st.just([])}
)


@st.composite
def completions(draw: st.DrawFn) -> dict[str, Any]:
    """Answers as OpenAI and its followers give them when not streaming."""
    choices = []
    for index in range(draw(st.integers(1, 3))):
        calls = draw(st.lists(st.tuples(some_text, texts), max_size=3))
        message: dict[str, Any] = {"role": "assistant", "content": None if calls else draw(texts)}
        message |= draw(st.fixed_dictionaries({}, optional={"refusal": st.none(), "reasoning_content": some_text, "reasoning": some_text, "thought": some_text}))  # fmt: skip
        if calls:
            message["tool_calls"] = [
                {
                    "id": f"call_{number}",
                    "type": "function",
                    "function": {"name": name, "arguments": arguments},
                }
                for number, (name, arguments) in enumerate(calls)
            ]
        choice = {
            "index": index,
            "message": message,
            "finish_reason": draw(st.sampled_from(["stop", "length"])),
        }
        choice |= draw(st.fixed_dictionaries({}, optional={"logprobs": st.none() | st.fixed_dictionaries({"content": st.lists(entries, max_size=2), "refusal": st.none()})}))  # fmt: skip
        choices.append(choice)
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
    usage = st.just({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    optional = {"usage": usage, "system_fingerprint": st.none() | texts, "service_tier": st.just("default")}
    return whole | draw(st.fixed_dictionaries({}, optional=optional | {"timings": st.just({"a": 1})}))


@given(completions())
def test_an_answer_taken_apart_and_joined_is_the_same(completion: dict[str, Any]):
    before = json.dumps(completion)
    chunks = chunks_of(completion)
    assert json.dumps(completion) == before, "chunks_of changed its argument"
    assert joined(*chunks) == completion
    for chunk in chunks:
        ChatCompletionChunk.model_validate_json(chunk, strict=True)
    ChatCompletion.model_validate(joined(*chunks), strict=True)


@given(completions(), st.data())
def test_a_text_is_the_same_however_it_is_cut_into_deltas(completion: dict[str, Any], data: st.DataObject):
    chunks = []
    for chunk in map(json.loads, chunks_of(completion)):
        text = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
        cut = data.draw(st.integers(0, len(text or "")))
        if not cut:
            chunks.append(chunk)
            continue
        first = {
            "index": chunk["choices"][0]["index"],
            "delta": {"content": text[:cut]},
            "finish_reason": None,
        }
        chunk["choices"][0]["delta"]["content"] = text[cut:]
        chunks += [{**chunk, "choices": [first]}, chunk]
    assert joined(*chunks) == completion


def test_an_answer_without_a_finish_reason_gets_none():
    completion = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}}]}
    assert joined(*chunks_of(completion))["choices"][0]["finish_reason"] is None


def test_an_answer_without_choices_keeps_its_fields():
    assert joined(*chunks_of({"id": "a", "choices": [], "timings": 1}))["timings"] == 1


def test_chunks_of_an_answer_with_half_a_surrogate_pair_are_json():
    (chunk,) = chunks_of({"choices": [{"index": 0, "message": {"content": "\ud83d"}}]})
    assert json.loads(chunk)["choices"][0]["delta"]["content"] == "\ud83d"


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        (['{"city"', '{"city": "Oslo"}'], '{"city": "Oslo"}'),
        (["", "{", '{"a": 1', '{"a": 1}'], '{"a": 1}'),
        (['{"a": 1}', '{"a": 1}'], '{"a": 1}'),
        (['{"city"', ': "Oslo"}'], '{"city": "Oslo"}'),
        (["{", "{"], "{{"),  # neither is JSON: as it came
        (["1", "1"], "11"),  # pieces of a number
        (["", "{}"], "{}"),
        (["[", "[]"], "[]"),
    ],
)
def test_arguments_that_come_again_and_again_from_their_beginning_are_joined_rightly(pieces, whole):
    accumulator = Accumulator()
    for piece in pieces:
        call = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": piece}}
        accumulator.add(json.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}))
    (call,) = accumulator.message()["choices"][0]["message"]["tool_calls"]
    assert call["function"]["arguments"] == whole
