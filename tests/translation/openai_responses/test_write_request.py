"""Requests for responses, written."""

from __future__ import annotations

import base64

import pytest

from everytoken.errors import InvalidRequestError
from everytoken.translation.openai_responses.write_request import write_request
from everytoken.translation.request import (
    File,
    Image,
    JsonOutput,
    Message,
    NeutralRequest,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)


def text(value):
    return Text(text=value)


def written(*turns, **fields):
    messages = [Message(role=role, parts=list(parts)) for role, *parts in turns]
    return write_request(NeutralRequest(model="m", messages=messages, **fields))


def said(value):
    return {"type": "output_text", "text": value, "annotations": []}


def answer(position, *parts):
    message = {"type": "message", "id": f"msg_{position}", "role": "assistant", "status": "completed"}
    return {**message, "content": list(parts)}


CALL = ToolCall(id="a.1", name="f", arguments="")
CUSTOM = ToolCall(id="b", name="g", arguments="x", custom=True)
CASES = {
    "texts of an answer, refusals and reasoning": (
        [("user", text("A")), ("assistant", Reasoning(text="Hm"), text("B"), Refusal(text="No"))],
        [
            {"role": "user", "content": "A"},
            answer(1, said("B"), {"type": "refusal", "refusal": "No"}),
        ],
    ),
    "calls and results": (
        [
            ("assistant", CALL, CUSTOM),
            (
                "user",
                ToolResult(call_id="a.1", parts=[text("1")]),
                ToolResult(call_id="b", parts=[]),
                text("C"),
            ),
        ],
        [
            {"type": "function_call", "call_id": "a_1", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "b", "name": "g", "input": "x"},
            {"type": "function_call_output", "call_id": "a_1", "output": "1"},
            {"type": "custom_tool_call_output", "call_id": "b", "output": ""},
            {"role": "user", "content": "C"},
        ],
    ),
    "a failed tool, with an image": (
        [("assistant", CUSTOM), ("user", ToolResult(call_id="b", parts=[Image(url="u")], is_error=True))],
        [
            {"type": "custom_tool_call", "call_id": "b", "name": "g", "input": "x"},
            {
                "type": "custom_tool_call_output",
                "call_id": "b",
                "output": [
                    {"type": "input_text", "text": "Error: "},
                    {"type": "input_image", "image_url": "u", "detail": "auto"},
                ],
            },
        ],
    ),
    "a developer in the middle": (
        [("user", text("A")), ("developer", text("B"), text("C"))],
        [{"role": "user", "content": "A"}, {"role": "developer", "content": "B\n\nC"}],
    ),
    "documents": (
        [
            (
                "user",
                File(url="u"),
                File(data="AAAA", media_type="application/pdf"),
                File(data=base64.b64encode(b"t").decode(), media_type="text/plain"),
            )
        ],
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_file", "file_url": "u"},
                    {
                        "type": "input_file",
                        "filename": "document",
                        "file_data": "data:application/pdf;base64,AAAA",
                    },
                    {"type": "input_text", "text": "t"},
                ],
            }
        ],
    ),
    "a prefill stays the last, and as it is": (
        [("user", text("A")), ("assistant", text("B "))],
        [{"role": "user", "content": "A"}, answer(1, said("B "))],
    ),
}


@pytest.mark.parametrize(("turns", "expected"), CASES.values(), ids=CASES)
def test_items(turns, expected):
    assert written(*turns)["input"] == expected


def test_leading_system_messages_are_the_instructions():
    body = written(("system", text("A"), text("B")), ("developer", text("C")), ("user", text("D")))
    assert (body["instructions"], body["input"]) == ("A\n\nB\n\nC", [{"role": "user", "content": "D"}])


def test_a_system_message_alone_is_what_is_answered():
    body = written(("system", text("A")), ("system", text("B")))
    assert (body["instructions"], body["input"]) == ("A", [{"role": "system", "content": "B"}])


def test_what_is_refused_is_named_as_the_caller_wrote_it():
    for fields, param in (
        ({"stop": ["END"], "paths": {"stop": "stop_sequences"}}, "stop_sequences"),
        ({"top_k": 3}, "top_k"),
        ({"messages": [Message(role="assistant", parts=[Image(url="x", at="there")])]}, "there"),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            write_request(NeutralRequest(**fields))
        assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"max_tokens": 99}, {"max_output_tokens": 99}),
        ({"reasons": False}, {"reasoning": {"effort": "none"}}),
        (
            {"reasons": True, "budget": 9999, "shown": "auto"},
            {"reasoning": {"effort": "medium", "summary": "auto"}},
        ),
        ({"reasons": True, "shown": "omitted"}, {}),
        (
            {"output": JsonOutput(), "verbosity": "low"},
            {"text": {"format": {"type": "json_object"}, "verbosity": "low"}},
        ),
        ({"stream": True}, {"stream": True}),
    ],
)
def test_fields(fields, expected):
    """`store` is false whatever the caller says: nobody has asked OpenAI to keep the answer for 30 days."""
    assert written(**fields) == {"model": "m", "input": [], "store": False, **expected}


def test_tools():
    tools = [
        Tool(name="f", description="F"),
        Tool(name="g", custom=True, grammar={"syntax": "regex", "definition": "x"}),
    ]
    body = written(tools=tools, tool_choice="auto", allowed=["f", "g"], parallel_calls=True)
    assert body["tools"] == [
        {
            "type": "function",
            "name": "f",
            "description": "F",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        },
        {"type": "custom", "name": "g", "format": {"type": "grammar", "syntax": "regex", "definition": "x"}},
    ]
    assert body["tool_choice"] == {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "g"}],
    }
    forced = written(tools=tools, tool_choice="required", allowed=["g"])
    assert forced["tool_choice"] == {"type": "custom", "name": "g"}
