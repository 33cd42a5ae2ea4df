"""Requests for responses, read: their items, tools and settings."""

from __future__ import annotations

import pytest

from everytoken.errors import InvalidRequestError
from everytoken.translation.openai_responses.read_request import read_request
from everytoken.translation.openai_responses.read_tools import Called, called_in
from everytoken.translation.request import (
    File,
    Image,
    JsonOutput,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}
SEARCH = {"type": "web_search_2025_08_26"}
NAMESPACE = {"type": "namespace", "name": "crm", "description": "", "tools": [FUNCTION]}


def asked(*items, **fields):
    return {"model": "m", "input": list(items) or "Hi", **fields}


def user(*parts):
    return asked({"role": "user", "content": list(parts)})


REFUSED = {
    "a conversation": (asked(conversation="c"), "conversation"),
    "a template": (asked(prompt={"id": "p"}), "prompt"),
    "a response before": (asked(previous_response_id="r"), "previous_response_id"),
    "log probabilities": (asked(top_logprobs=2), "top_logprobs"),
    "log probabilities by another name": (asked(include=["message.output_text.logprobs"]), "include"),
    "moderation": (asked(moderation={"model": "m"}), "moderation"),
    "an unknown field": (asked(min_p=0.1), "min_p"),
    "an unknown field inside another": (asked(text={"tone": "dry"}), "text.tone"),
    "no input": ({"model": "m"}, "input"),
    "an item that is no object": ({"model": "m", "input": ["Hi"]}, "input[0]"),
    "an item at the provider": (asked({"type": "item_reference", "id": "i"}), "input[0]"),
    "an item at the provider, without a type": (asked({"id": "i"}), "input[0]"),
    "an unknown item": (asked({"type": "dream"}), "input[0]"),
    "a call of the shell": (asked({"type": "local_shell_call", "call_id": "a"}), "input[0]"),
    "an unknown role": (asked({"role": "tool", "content": ""}), "input[0]"),
    "a file at the provider": (user({"type": "input_file", "file_id": "f"}), "input[0].content[0].file_id"),
    "an image at the provider": (
        user({"type": "input_image", "file_id": "f"}),
        "input[0].content[0].file_id",
    ),
    "a file that is no data URL": (
        user({"type": "input_file", "file_data": "AAAA"}),
        "input[0].content[0].file_data",
    ),
    "sound": (user({"type": "input_audio", "input_audio": {}}), "input[0].content[0]"),
    "an image of the developer": (
        asked({"role": "developer", "content": [{"type": "input_image", "image_url": "x"}]}),
        "input[0].content[0]",
    ),
    "a refusal in a result": (
        asked(
            {"type": "function_call_output", "call_id": "a", "output": [{"type": "refusal", "refusal": ""}]}
        ),
        "input[0].output[0]",
    ),
    "a call without arguments": (
        asked({"type": "function_call", "call_id": "a", "name": "f"}),
        "input[0].arguments",
    ),
    "the shell": (asked(tools=[{"type": "local_shell"}]), "tools[0]"),
    "an unknown tool": (asked(tools=[{"type": "time"}]), "tools[0]"),
    "a tool without a type": (asked(tools=[{"name": "f"}]), "tools[0]"),
    "a tool that only programs call": (
        asked(tools=[{**FUNCTION, "allowed_callers": ["programmatic"]}]),
        "tools[0].allowed_callers",
    ),
    "a tool without a name in a namespace": (
        asked(tools=[{**NAMESPACE, "tools": [{"type": "function"}]}]),
        "tools[0].tools[0].name",
    ),
    "nothing but a search": (asked(tools=[SEARCH]), "tools[0]"),
    "a search that is forced": (
        asked(tools=[FUNCTION, SEARCH], tool_choice={"type": "web_search"}),
        "tool_choice",
    ),
    "a search that is allowed": (
        asked(
            tools=[FUNCTION, SEARCH], tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [SEARCH]}
        ),
        "tool_choice.tools[0]",
    ),
    "an unknown format": (asked(text={"format": {"type": "xml"}}), "text.format.type"),
    "a format without a schema": (
        asked(text={"format": {"type": "json_schema", "name": "n"}}),
        "text.format.schema",
    ),
    "an unknown effort": (asked(reasoning={"effort": "x"}), "reasoning.effort"),
    "an unknown summary": (asked(reasoning={"summary": "x"}), "reasoning.summary"),
}


@pytest.mark.parametrize(("body", "param"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_named(body, param):
    with pytest.raises(InvalidRequestError) as caught:
        read_request(body)
    assert caught.value.param == param


def bare(value):
    value.at = ""
    for part in getattr(value, "parts", ()):
        bare(part)
    return value


ITEMS = {
    "a message with a type": (
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "A"}],
            "status": "completed",
        },
        [Text(text="A")],
    ),
    "an image": (
        {
            "role": "user",
            "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}],
        },
        [Image(data="AAAA", media_type="image/png")],
    ),
    "files": (
        {
            "role": "user",
            "content": [
                {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "a"},
                {"type": "input_file", "file_url": "x"},
            ],
        },
        [File(data="AAAA", media_type="application/pdf", name="a"), File(url="x")],
    ),
    "an answer as it came": (
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "phase": "final_answer",
            "content": [
                {"type": "output_text", "text": "A", "annotations": [], "logprobs": []},
                {"type": "refusal", "refusal": "No"},
            ],
        },
        [Text(text="A"), Refusal(text="No")],
    ),
    "a call": (
        {
            "type": "function_call",
            "id": "fc",
            "call_id": "a",
            "name": "f",
            "arguments": "{}",
            "namespace": "crm",
        },
        [ToolCall(id="a", name="crm__f", arguments="{}")],
    ),
    "a custom tool's call": (
        {"type": "custom_tool_call", "call_id": "a", "name": "f", "input": "x"},
        [ToolCall(id="a", name="f", arguments="x", custom=True)],
    ),
    "a result": (
        {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "1"}]},
        [ToolResult(call_id="a", parts=[Text(text="1")])],
    ),
    "a custom tool's result": (
        {"type": "custom_tool_call_output", "call_id": "a", "output": "1"},
        [ToolResult(call_id="a", parts=[Text(text="1")])],
    ),
    "reasoning": (
        {
            "type": "reasoning",
            "id": "r",
            "summary": [{"type": "summary_text", "text": "Hm"}],
            "encrypted_content": "x",
        },
        [Reasoning(text="Hm")],
    ),
    "a search": ({"type": "web_search_call", "id": "w", "status": "completed"}, None),
}


@pytest.mark.parametrize(("item", "expected"), ITEMS.values(), ids=ITEMS)
def test_items(item, expected):
    read = read_request(asked(item))
    assert [[bare(part) for part in one.parts] for one in read.messages] == (
        [] if expected is None else [expected]
    )


def test_instructions_and_input_that_is_text():
    read = read_request(asked(instructions="Be brief."))
    assert [(one.role, one.at) for one in read.messages] == [("system", "instructions"), ("user", "input")]


def test_tools_of_all_kinds():
    custom = {
        "type": "custom",
        "name": "p",
        "format": {"type": "grammar", "syntax": "lark", "definition": "d"},
    }
    added = {"type": "additional_tools", "role": "developer", "tools": [{**FUNCTION, "name": "late"}]}
    body = asked(added, {"role": "user", "content": "Hi"}, tools=[FUNCTION, SEARCH, NAMESPACE, custom])
    read = read_request(body)
    schema = {"type": "object"}
    assert read.tools == [
        Tool(name="f", schema=schema, strict=False, at="tools[0]"),
        Tool(name="crm__f", schema=schema, strict=False, at="tools[2].tools[0]"),
        Tool(name="p", custom=True, grammar={"syntax": "lark", "definition": "d"}, at="tools[3]"),
        Tool(name="late", schema=schema, strict=False, at="input[0].tools[0]"),
    ]
    assert called_in(body) == {
        "f": Called("f", None, custom=False),
        "crm__f": Called("f", "crm", custom=False),
        "p": Called("p", None, custom=True),
        "late": Called("late", None, custom=False),
    }


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("required", ("required", [])),
        ({"type": "function", "name": "f"}, ("required", ["f"])),
        ({"type": "function", "name": "f", "namespace": "crm"}, ("required", ["crm__f"])),
        ({"type": "custom", "name": "p"}, ("required", ["p"])),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
            ("auto", ["f"]),
        ),
    ],
)
def test_choices_of_a_tool(choice, expected):
    read = read_request(asked(tools=[FUNCTION, NAMESPACE], tool_choice=choice))
    assert (read.tool_choice, read.allowed) == expected


def test_settings():
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    read = read_request(
        asked(
            text={"format": form, "verbosity": "low"},
            reasoning={"effort": "high", "generate_summary": "concise", "summary": None},
            include=["reasoning.encrypted_content"],
            store=False,
        )
    )
    assert read.output == JsonOutput(schema={"type": "object"}, name="n", strict=True)
    assert (read.verbosity, read.reasons, read.effort, read.shown) == ("low", True, "high", "concise")
    assert read_request(asked(reasoning={"effort": "none"})).reasons is False
    assert read_request(asked(text={"format": {"type": "text"}})).output is None
    assert read_request(asked(text={"format": {"type": "json_object"}})).output == JsonOutput()
