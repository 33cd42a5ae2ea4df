"""Chat completion requests, written."""

from __future__ import annotations

import base64

import pytest

from everytoken.errors import InvalidRequestError
from everytoken.translation.openai_chat.write_request import write_request
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

A = ToolCall(id="a", name="f", arguments="{}", at="there")
B = ToolCall(id="b", name="f", arguments="", at="there")
IMAGE = Image(data="AAAA", media_type="image/png")
WRITTEN_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
FUNCTION = {"type": "function", "function": {"name": "f", "arguments": "{}"}}


def text(value):
    return Text(text=value)


def result(call_id, *parts, is_error=False):
    return ToolResult(call_id=call_id, parts=list(parts), is_error=is_error, at=f"result of {call_id}")


def messages(*turns):
    request = NeutralRequest(messages=[Message(role=role, parts=list(parts)) for role, *parts in turns])
    return write_request(request)["messages"]


CASES = {
    "leading system and developer messages are one": (
        [("system", text("A"), text("B")), ("developer", text("C")), ("user", text("D"))],
        [{"role": "system", "content": "A\n\nB\n\nC"}, {"role": "user", "content": "D"}],
    ),
    "one in the middle stays there": (
        [("user", text("A")), ("developer", text("B"))],
        [{"role": "user", "content": "A"}, {"role": "system", "content": "B"}],
    ),
    "neighbours of the assistant are one": (
        [
            ("user", text("A")),
            ("assistant", text("B")),
            ("assistant", A),
            ("assistant", B),
            ("user", result("a")),
            ("user", result("b")),
        ],
        [
            {"role": "user", "content": "A"},
            {
                "role": "assistant",
                "content": "B",
                "tool_calls": [{"id": "a", **FUNCTION}, {"id": "b", **FUNCTION}],
            },
            {"role": "tool", "tool_call_id": "a", "content": ""},
            {"role": "tool", "tool_call_id": "b", "content": ""},
        ],
    ),
    "results come before what else the user says": (
        [("assistant", A), ("user", text("B"), result("a", text("C")))],
        [
            {"role": "assistant", "content": None, "tool_calls": [{"id": "a", **FUNCTION}]},
            {"role": "tool", "tool_call_id": "a", "content": "C"},
            {"role": "user", "content": "B"},
        ],
    ),
    "images of results follow the last of them": (
        [("assistant", A, B), ("user", result("a", IMAGE), result("b", text("B")), text("C"))],
        [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "a", **FUNCTION}, {"id": "b", **FUNCTION}],
            },
            {
                "role": "tool",
                "tool_call_id": "a",
                "content": "(what it has returned follows in the next message)",
            },
            {"role": "tool", "tool_call_id": "b", "content": "B"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "From the result of the tool call a:"},
                    WRITTEN_IMAGE,
                    {"type": "text", "text": "C"},
                ],
            },
        ],
    ),
    "images of results at the end": (
        [("assistant", A), ("user", result("a", text("A"), IMAGE))],
        [
            {"role": "assistant", "content": None, "tool_calls": [{"id": "a", **FUNCTION}]},
            {"role": "tool", "tool_call_id": "a", "content": "A"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "From the result of the tool call a:"}, WRITTEN_IMAGE],
            },
        ],
    ),
    "a failed tool says so": (
        [
            ("assistant", A, B),
            (
                "user",
                result("a", text("No file"), is_error=True),
                result("b", text("ERROR 3"), is_error=True),
            ),
        ],
        [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "a", **FUNCTION}, {"id": "b", **FUNCTION}],
            },
            {"role": "tool", "tool_call_id": "a", "content": "Error: No file"},
            {"role": "tool", "tool_call_id": "b", "content": "ERROR 3"},
        ],
    ),
    "reasoning is left out, and a message of nothing else": (
        [
            ("user", text("A")),
            ("assistant", Reasoning(text="Hm"), text("B")),
            ("user", text("C")),
            ("assistant", Reasoning()),
        ],
        [
            {"role": "user", "content": "A"},
            {"role": "assistant", "content": "B"},
            {"role": "user", "content": "C"},
        ],
    ),
    "a refusal": (
        [("user", text("A")), ("assistant", Refusal(text="No"))],
        [
            {"role": "user", "content": "A"},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No"}]},
        ],
    ),
    "a prefill stays what it is": (
        [("user", text("A")), ("assistant", text("B "))],
        [{"role": "user", "content": "A"}, {"role": "assistant", "content": "B "}],
    ),
    "a custom tool's call": (
        [
            ("assistant", ToolCall(id="a", name="f", arguments='say "x"', custom=True)),
            ("user", result("a", text("1"))),
        ],
        [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "a",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"input":"say \\"x\\""}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "1"},
        ],
    ),
    "a plain text document": (
        [("user", File(data=base64.b64encode(b"text").decode(), media_type="text/plain", name="a.txt"))],
        [{"role": "user", "content": "a.txt:\ntext"}],
    ),
    "the detail of another API": (
        [("user", Image(url="x", detail="original"))],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x", "detail": "high"}}]}],
    ),
}


@pytest.mark.parametrize(("turns", "expected"), CASES.values(), ids=CASES)
def test_messages(turns, expected):
    assert messages(*turns) == expected


def test_what_is_refused_is_named_as_the_caller_wrote_it():
    for request, param in (
        (NeutralRequest(top_k=3, paths={"top_k": "top_k"}), "top_k"),
        (NeutralRequest(messages=[Message(role="user", parts=[File(url="x", at="there")])]), "there"),
        (NeutralRequest(messages=[Message(role="user", parts=[result("a")])]), "result of a"),
        (NeutralRequest(messages=[Message(role="assistant", parts=[Image(url="x", at="there")])]), "there"),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            write_request(request)
        assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"reasons": False}, {"reasoning_effort": "none"}),
        ({"reasons": True}, {}),
        ({"reasons": True, "budget": 2048}, {"reasoning_effort": "low"}),
        ({"reasons": True, "budget": 10_000}, {"reasoning_effort": "medium"}),
        ({"reasons": True, "budget": 32_000}, {"reasoning_effort": "high"}),
        ({"reasons": True, "budget": 2048, "effort": "max"}, {"reasoning_effort": "max"}),
        ({"output": JsonOutput()}, {"response_format": {"type": "json_object"}}),
        ({"user": "ann"}, {"user": "ann"}),
        ({"tool_choice": "auto", "parallel_calls": True}, {}),  # both are refused without tools
    ],
)
def test_fields(fields, expected):
    assert write_request(NeutralRequest(model="m", **fields)) == {"model": "m", "messages": [], **expected}


def test_tools():
    request = NeutralRequest(
        tools=[
            Tool(name="f", description="F", schema={"type": "object"}, strict=True),
            Tool(name="g", custom=True, grammar={"syntax": "lark", "definition": "start: /x/"}),
        ],
        tool_choice="required",
        allowed=["g"],
        parallel_calls=False,
    )
    body = write_request(request)
    assert body["tools"][0] == {
        "type": "function",
        "function": {"name": "f", "description": "F", "parameters": {"type": "object"}, "strict": True},
    }
    assert body["tools"][1]["function"]["description"].endswith("lark grammar:\nstart: /x/")
    assert list(body["tools"][1]["function"]["parameters"]["properties"]) == ["input"]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "g"}}
    assert body["parallel_tool_calls"] is False
    request.tool_choice = "auto"
    assert write_request(request)["tool_choice"]["allowed_tools"]["mode"] == "auto"
