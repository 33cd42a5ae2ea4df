"""What a chunk holds: content, nothing, or what no loop can read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat_wire import HELLO, chunk_of
from everytoken.dialects.openai_chat import decode_chunk
from everytoken.errors import MalformedEventError

CONTENT = [
    ("text", {"content": "x"}, True),
    ("parts", {"content": [{"type": "text", "text": "x"}]}, True),
    ("reasoning_content", {"reasoning_content": "x"}, True),
    ("reasoning", {"reasoning": "x"}, True),
    ("a refusal", {"refusal": "x"}, True),
    ("a tool call", {"tool_calls": [{"index": 0}]}, True),
    ("a function call", {"function_call": {"name": "f"}}, True),
    ("nothing", {}, False),
    ("a role", {"role": "assistant", "content": "", "refusal": None}, False),
    ("no tool calls", {"content": None, "tool_calls": [], "reasoning": ""}, False),
]


@pytest.mark.parametrize(
    ("delta", "content"), [case[1:] for case in CONTENT], ids=[case[0] for case in CONTENT]
)
def test_whether_a_chunk_has_content(delta: dict[str, Any], *, content: bool):
    assert decode_chunk(json.dumps(chunk_of(delta))).has_content is content


PRESENTABLE = [
    ("one delta", [{"delta": {}}], True),
    ("no choices", [], False),
    ("null choices", None, False),
    ("a null delta", [{"delta": None}], False),
    ("no delta", [{"index": 0}], False),
    ("an empty list as delta", [{"delta": []}], False),
    ("a null delta in the second choice", [{"delta": {}}, {"delta": None}], False),
]


@pytest.mark.parametrize(
    ("choices", "presentable"), [case[1:] for case in PRESENTABLE], ids=[case[0] for case in PRESENTABLE]
)
def test_whether_the_usual_loop_can_read_a_chunk(choices: Any, *, presentable: bool):
    assert decode_chunk(json.dumps({**HELLO, "choices": choices}).encode()).presentable is presentable


@pytest.mark.parametrize("data", ["[]", "1", "{", '{"choices": 1}'])
def test_a_record_that_is_no_chunk_is_malformed(data: str):
    with pytest.raises(MalformedEventError):
        decode_chunk(data)
