"""Chunks of a wrong shape, of which nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest

from chat_wire import HELLO, MALFORMED, chunk_of, receive
from everytoken.dialects.openai_chat import ChatDecoder
from everytoken.errors import MalformedEventError


@pytest.mark.parametrize("data", [case[1] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_what_no_client_could_read_is_malformed(data: str):
    with pytest.raises(MalformedEventError):
        receive(ChatDecoder(), data)


# Wrong types in fields that we read, in JSON that is fine: (name, choice, text, index of the first tool call).
LENIENT = [
    ("an index with a fraction of zero", {"index": 0.0, "delta": {"content": "x"}}, "x"),
    ("an index in quotes", {"index": "0", "delta": {"content": "x"}}, "x"),
    ("an index that is nonsense", {"index": "first", "delta": {"content": "x"}}, "x"),
    ("an index beyond 64 bits", {"index": 10**30, "delta": {"content": "x"}}, "x"),
    ("content that is a number", {"delta": {"content": 5}}, "5"),
    ("content that is one part", {"delta": {"content": {"type": "text", "text": "x"}}}, "x"),
    ("content as parts", {"delta": {"content": [{"type": "text", "text": "x"}, {"type": "thinking", "thinking": []}, "y"]}}, "xy"),
    ("a role that is no text", {"delta": {"role": 1, "content": "x"}}, "x"),
    ("a finish reason that is an object", {"delta": {"content": "x"}, "finish_reason": {}}, "x"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "text"), [case[1:] for case in LENIENT], ids=[case[0] for case in LENIENT]
)
def test_a_wrong_type_loses_nothing(choice: dict[str, Any], text: str):
    (chunk,) = receive(ChatDecoder(), {**HELLO, "choices": [choice]})
    assert chunk is not None
    assert chunk.presentable
    assert chunk.has_content
    assert chunk.choices is not None
    assert chunk.choices[0].delta is not None
    assert chunk.choices[0].delta.text == text


def test_arguments_sent_as_an_object_are_their_json_text():
    call = {"index": "1", "id": 7, "function": {"name": "f", "arguments": {"city": "Zürich", "n": 1}}}
    (chunk,) = receive(ChatDecoder(), chunk_of({"tool_calls": [call]}))
    assert chunk is not None
    assert chunk.choices is not None
    assert chunk.choices[0].delta is not None
    (found,) = chunk.choices[0].delta.tool_calls or ()
    assert (found.index, found.id) == (1, "7")
    assert found.function is not None
    assert found.function.arguments == '{"city":"Zürich","n":1}'
