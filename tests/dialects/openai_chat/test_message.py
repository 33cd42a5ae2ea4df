"""Chunks joined into the finished message, and taken apart again."""

from __future__ import annotations

import time
from typing import Any

import pytest

from calls import calls_of
from chat_joined import joined, message_of
from everytoken.dialects.openai_chat import Accumulator
from everytoken.errors import MalformedEventError

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


def join(chunks: int, size: int) -> None:
    data = b'{"choices":[{"index":0,"delta":{"content":"' + b"x" * size + b'"}}]}'
    accumulator = Accumulator()
    for _ in range(chunks):
        accumulator.add(data)
    assert len(accumulator.message()["choices"][0]["message"]["content"]) == size * chunks


def test_twice_the_chunks_cost_twice_the_calls():
    once = calls_of(lambda: join(500, 10))
    assert calls_of(lambda: join(1000, 10)) <= 2.1 * once
    assert calls_of(lambda: join(2000, 10)) <= 4.2 * once


def test_what_is_joined_is_not_copied_again_for_each_chunk():
    # Copies are not calls. Anew for each chunk they would move 200 GB.
    before = time.process_time()
    join(10_000, 4096)
    assert time.process_time() - before < 5
