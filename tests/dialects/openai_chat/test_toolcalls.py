"""Fragments of tool calls joined."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chat_joined import message_of
from everytoken.dialects.openai_chat import Accumulator


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
