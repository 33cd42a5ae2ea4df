"""Requests for messages, written: turns that the API takes, tools and settings."""

from __future__ import annotations

import base64

import pytest

from everytoken.errors import InvalidRequestError
from everytoken.translation.anthropic_messages.fields import DEFAULT_MAX_TOKENS
from everytoken.translation.anthropic_messages.write_request import write_request
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


def call(call_id, arguments="{}", **fields):
    return ToolCall(id=call_id, name="f", arguments=arguments, at=f"call of {call_id}", **fields)


def result(call_id, *parts, is_error=False):
    return ToolResult(call_id=call_id, parts=list(parts), is_error=is_error, at=f"result of {call_id}")


def used(call_id, **given):
    return {"type": "tool_use", "id": call_id, "name": "f", "input": given}


def returned(call_id, **fields):
    return {"type": "tool_result", "tool_use_id": call_id, **fields}


def user(*content):
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else list(content)}


def assistant(*content):
    return {"role": "assistant", "content": content[0] if isinstance(content[0], str) else list(content)}


def block(value):
    return {"type": "text", "text": value}


def written(*turns, **fields):
    messages = [Message(role=role, parts=list(parts)) for role, *parts in turns]
    return write_request(NeutralRequest(model="m", messages=messages, **fields))


HI = ("user", text("Hi"))
CASES = {
    "neighbours become one turn": (
        [("user", text("A")), ("user", text("B")), ("assistant", text("C")), ("assistant", text("D"))],
        [user(block("A"), block("B")), assistant(block("C"), block("D"))],
    ),
    "results of parallel calls come first in one turn": (
        [
            HI,
            ("assistant", call("a"), call("b")),
            ("user", result("a", text("1"))),
            ("user", text("C")),
            ("user", result("b")),
        ],
        [
            user("Hi"),
            assistant(used("a"), used("b")),
            user(returned("a", content="1"), returned("b"), block("C")),
        ],
    ),
    "a result behind another answer is moved to its call": (
        [
            HI,
            ("assistant", call("a"), call("b")),
            ("user", result("a")),
            ("assistant", text("C")),
            ("user", result("b")),
            HI,
        ],
        [
            user("Hi"),
            assistant(used("a"), used("b")),
            user(returned("a"), returned("b")),
            assistant("C"),
            user("Hi"),
        ],
    ),
    "ids that the API refuses": (
        [HI, ("assistant", call("call.1:0"), call("x" * 99)), ("user", result("call.1:0"), result("x" * 99))],
        [
            user("Hi"),
            assistant(used("call_1_0"), used("call_d0621fdd5f0673d6e2b5f823b2791ada")),
            user(returned("call_1_0"), returned("call_d0621fdd5f0673d6e2b5f823b2791ada")),
        ],
    ),
    "ids that come again with every turn": (
        [
            HI,
            ("assistant", call("call_0")),
            ("user", result("call_0", text("1"))),
            ("assistant", call("call_0")),
            ("user", result("call_0", text("2"))),
        ],
        [
            user("Hi"),
            assistant(used("call_0")),
            user(returned("call_0", content="1")),
            assistant(used("call_0_2")),
            user(returned("call_0_2", content="2")),
        ],
    ),
    "empty text, and messages of nothing else": (
        [("user", text("A")), ("assistant", text(" \n")), ("user", text(""), text("B"))],
        [user(block("A"), block("B"))],
    ),
    "reasoning of another provider": (
        [("user", text("A")), ("assistant", Reasoning(text="Hm"), text("B"))],
        [user("A"), assistant("B")],
    ),
    "a refusal": ([HI, ("assistant", Refusal(text="No"))], [user("Hi"), assistant("No")]),
    "a prefill stays the last, and as it is": (
        [HI, ("assistant", text("A "))],
        [user("Hi"), assistant("A ")],
    ),
    "arguments that are no JSON": (
        [
            HI,
            ("assistant", call("a", "{oops"), call("b", ""), call("c", "[1]")),
            ("user", result("a"), result("b"), result("c")),
        ],
        [
            user("Hi"),
            assistant(used("a", arguments="{oops"), used("b"), used("c", arguments="[1]")),
            user(returned("a"), returned("b"), returned("c")),
        ],
    ),
    "a custom tool's call": (
        [HI, ("assistant", call("a", "text", custom=True)), ("user", result("a"))],
        [user("Hi"), assistant(used("a", input="text")), user(returned("a"))],
    ),
    "images and errors in a result": (
        [HI, ("assistant", call("a")), ("user", result("a", text("A"), Image(url="u"), is_error=True))],
        [
            user("Hi"),
            assistant(used("a")),
            user(
                returned(
                    "a",
                    content=[block("A"), {"type": "image", "source": {"type": "url", "url": "u"}}],
                    is_error=True,
                )
            ),
        ],
    ),
    "documents": (
        [
            (
                "user",
                File(url="u", name="N"),
                File(data="AAAA", media_type="application/pdf"),
                File(data=base64.b64encode(b"a,b").decode(), media_type="text/csv"),
            )
        ],
        [
            user(
                {"type": "document", "source": {"type": "url", "url": "u"}, "title": "N"},
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"},
                },
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}},
            )
        ],
    ),
    "an image by the name that is no type": (
        [("user", Image(data="AAAA", media_type="image/jpg"))],
        [user({"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}})],
    ),
}


@pytest.mark.parametrize(("turns", "expected"), CASES.values(), ids=CASES)
def test_turns(turns, expected):
    assert written(*turns)["messages"] == expected


@pytest.mark.parametrize(
    ("turns", "system", "messages"),
    [
        ([("system", text("A")), HI], "A", [user("Hi")]),
        (
            [("system", text("A"), text("")), ("developer", text("B")), HI],
            [block("A"), block("B")],
            [user("Hi")],
        ),
        (
            [HI, ("system", text("A")), ("assistant", text("B")), HI],
            "A",
            [user("Hi"), assistant("B"), user("Hi")],
        ),
        ([HI, ("system", text("A"))], "A", [user("Hi")]),
        # What would be continued otherwise, and not answered.
        (
            [HI, ("assistant", text("B")), ("system", text("A"))],
            None,
            [user("Hi"), assistant("B"), user("A")],
        ),
        ([("system", text("A")), ("system", text("B"))], "A", [user("B")]),
    ],
)
def test_system(turns, system, messages):
    body = written(*turns)
    assert (body.get("system"), body["messages"]) == (system, messages)


REFUSED = {
    "a result of no call": ([HI, ("user", result("a"))], {}, "result of a"),
    "a call without a result": ([HI, ("assistant", call("a")), HI], {}, "call of a"),
    "an image of another type": ([("user", Image(data="", media_type="image/tiff", at="x"))], {}, "x"),
    "a document of another type": ([("user", File(data="", media_type="audio/wav", at="x"))], {}, "x"),
    "a document that is no text": ([("user", File(data="/w==", media_type="text/plain", at="x"))], {}, "x"),
    "nothing at all": ([("user", text(""))], {}, "messages"),
    "a stop of white space": ([HI], {"stop": ["\n"], "paths": {"stop": "stop"}}, "stop"),
    "JSON of any form": ([HI], {"output": JsonOutput(), "paths": {"output": "text.format"}}, "text.format"),
    "a name with a dot": (
        [HI],
        {"tools": [Tool(name="a.b", at="tools[0].function")]},
        "tools[0].function.name",
    ),
}


@pytest.mark.parametrize(("turns", "fields", "param"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_named_as_the_caller_wrote_it(turns, fields, param):
    with pytest.raises(InvalidRequestError) as caught:
        written(*turns, **fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"temperature": 1.7}, {"temperature": 1}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"user": "u", "safety_identifier": "s"}, {"metadata": {"user_id": "s"}}),
        ({"metadata": {"a": "b"}, "verbosity": "low", "service_tier": "flex", "prompt_cache_key": "k"}, {}),
        ({"reasons": False}, {"thinking": {"type": "disabled"}}),
        (
            {"reasons": True, "effort": "minimal"},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
        ({"reasons": True, "budget": 2048}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ({"reasons": True, "shown": "detailed"}, {"thinking": {"type": "adaptive", "display": "summarized"}}),
        ({"shown": "auto"}, {}),
        (
            {"output": JsonOutput(schema={"type": "object"}, name="n", strict=False)},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"tool_choice": "auto", "parallel_calls": False}, {}),  # both are refused without tools
    ],
)
def test_fields(fields, expected):
    plain = {"model": "m", "max_tokens": DEFAULT_MAX_TOKENS, "messages": [user("Hi")]}
    assert written(HI, **fields) == {**plain, **expected}


@pytest.mark.parametrize(
    ("fields", "choice", "names"),
    [
        ({}, None, ["f", "g"]),
        ({"tool_choice": "none", "parallel_calls": False}, {"type": "none"}, ["f", "g"]),
        ({"tool_choice": "required"}, {"type": "any"}, ["f", "g"]),
        ({"parallel_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}, ["f", "g"]),
        ({"tool_choice": "required", "allowed": ["g"]}, {"type": "tool", "name": "g"}, ["f", "g"]),
        ({"tool_choice": "auto", "allowed": ["g"]}, {"type": "auto"}, ["g"]),
    ],
)
def test_choices_of_a_tool(fields, choice, names):
    body = written(HI, tools=[Tool(name="f"), Tool(name="g")], **fields)
    assert (body.get("tool_choice"), [tool["name"] for tool in body["tools"]]) == (choice, names)


def test_tools():
    tools = [
        Tool(name="f", description="F", schema={"properties": {}}, strict=True),
        Tool(name="g", custom=True, description="G"),
    ]
    body = written(HI, tools=tools)
    assert body["tools"][0] == {
        "name": "f",
        "description": "F",
        "input_schema": {"type": "object", "properties": {}},
        "strict": True,
    }
    assert body["tools"][1]["input_schema"]["required"] == ["input"]


def test_thinking_is_left_out_where_a_tool_is_forced():
    body = written(HI, tools=[Tool(name="f")], tool_choice="required", reasons=True, effort="high")
    assert "thinking" not in body
    assert body["output_config"] == {"effort": "high"}
