"""Chat completion requests, read."""

from __future__ import annotations

import pytest

from everytoken.errors import InvalidRequestError
from everytoken.translation.openai_chat.read_request import read_request
from everytoken.translation.request import (
    File,
    Image,
    JsonOutput,
    Message,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)

USER = {"role": "user", "content": "Hi"}
FUNCTION = {"type": "function", "function": {"name": "f"}}


def chat(*messages, **fields):
    return {"model": "m", "messages": list(messages) or [USER], **fields}


def user(*parts):
    return chat({"role": "user", "content": list(parts)})


REFUSED = {
    "n": (chat(n=2), "n"),
    "log probabilities": (chat(logprobs=True), "logprobs"),
    "a penalty": (chat(presence_penalty=0.1), "presence_penalty"),
    "sound": (chat(modalities=["text", "audio"]), "modalities"),
    "an old function": (chat(functions=[{"name": "f"}]), "functions"),
    "a vendor's field": (chat(chat_template_kwargs={"x": 1}), "chat_template_kwargs"),
    "an old function's result": (chat(USER, {"role": "function", "name": "f", "content": ""}), "messages[1]"),
    "an unknown role": (chat({"role": "narrator", "content": ""}), "messages[0]"),
    "an old function's call": (
        chat(USER, {"role": "assistant", "function_call": {"name": "f", "arguments": ""}}),
        "messages[1].function_call",
    ),
    "sound of an earlier answer": (
        chat(USER, {"role": "assistant", "audio": {"id": "a"}}),
        "messages[1].audio",
    ),
    "sound in": (user({"type": "input_audio", "input_audio": {}}), "messages[0].content[0]"),
    "a part without a type": (user({"text": "Hi"}), "messages[0].content[0]"),
    "a part that is no object": (user("Hi"), "messages[0].content[0]"),
    "a video": (user({"type": "video_url", "video_url": {"url": "x"}}), "messages[0].content[0]"),
    "a file at the provider": (
        user({"type": "file", "file": {"file_id": "f"}}),
        "messages[0].content[0].file.file_id",
    ),
    "a file that is no data URL": (
        user({"type": "file", "file": {"file_data": "x"}}),
        "messages[0].content[0].file.file_data",
    ),
    "an image without a URL": (
        user({"type": "image_url", "image_url": {}}),
        "messages[0].content[0].image_url.url",
    ),
    "an image of the system": (
        chat({"role": "system", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, USER),
        "messages[0].content[0]",
    ),
    "content that is a number": (chat({"role": "user", "content": 3}), "messages[0].content"),
    "a result of no call": (chat(USER, {"role": "tool", "content": ""}), "messages[1].tool_call_id"),
    "a call of no tool": (
        chat(USER, {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {}}]}),
        "messages[1].tool_calls[0].function.name",
    ),
    "a call of another type": (
        chat(USER, {"role": "assistant", "tool_calls": [{"id": "a", "type": "mcp"}]}),
        "messages[1].tool_calls[0]",
    ),
    "a tool of another type": (chat(tools=[{"type": "web_search"}]), "tools[0]"),
    "a tool without a name": (chat(tools=[{"type": "function", "function": {}}]), "tools[0].function.name"),
    "tools that are no list": (chat(tools={}), "tools"),
    "a schema that is no object": (
        chat(tools=[{"type": "function", "function": {"name": "f", "parameters": []}}]),
        "tools[0].function.parameters",
    ),
    "a choice of another type": (chat(tool_choice={"type": "mcp"}), "tool_choice"),
    "a choice without a name": (chat(tool_choice={"type": "function"}), "tool_choice.function"),
    "an unknown format": (chat(response_format={"type": "grammar"}), "response_format.type"),
    "a format without a schema's place": (
        chat(response_format={"type": "json_schema"}),
        "response_format.json_schema",
    ),
    "an unknown effort": (chat(reasoning_effort="extreme"), "reasoning_effort"),
    "a limit that is text": (chat(max_tokens="many"), "max_tokens"),
    "a temperature that is text": (chat(temperature="hot"), "temperature"),
    "a stop that is a number": (chat(stop=[1]), "stop"),
    "no messages": ({"model": "m"}, "messages"),
}


@pytest.mark.parametrize(("body", "param"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_named(body, param):
    with pytest.raises(InvalidRequestError) as caught:
        read_request(body)
    assert caught.value.param == param


def test_a_whole_conversation():
    read = read_request(
        chat(
            {"role": "developer", "content": "Be brief."},
            {
                "role": "user",
                "name": "ann",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/png;base64,AAAA", "detail": "auto"},
                    },
                    {
                        "type": "file",
                        "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "refusal": None,
                "reasoning_content": "Hm.",
                "tool_calls": [
                    {
                        "id": "a",
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"x":1}'},
                        "index": 0,
                    },
                    {"id": "b", "type": "custom", "custom": {"name": "g", "input": "text"}},
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
            {"role": "assistant", "content": "", "refusal": "No."},
        )
    )
    assert [(one.role, one.at) for one in read.messages] == [
        ("developer", "messages[0]"),
        ("user", "messages[1]"),
        ("assistant", "messages[2]"),
        ("user", "messages[3]"),
        ("user", "messages[4]"),
        ("assistant", "messages[5]"),
    ]
    assert read.messages[1].parts[1:] == [
        Image(url="https://x/y.png", detail="low", at="messages[1].content[1]"),
        Image(data="AAAA", media_type="image/png", at="messages[1].content[2]"),
        File(data="AAAA", media_type="application/pdf", name="a.pdf", at="messages[1].content[3]"),
    ]
    assert read.messages[2].parts == [
        ToolCall(id="a", name="f", arguments='{"x":1}', at="messages[2].tool_calls[0]"),
        ToolCall(id="b", name="g", arguments="text", custom=True, at="messages[2].tool_calls[1]"),
    ]
    assert read.messages[4].parts == [
        ToolResult(call_id="b", parts=[Text(text="2", at="messages[4].content[0]")], at="messages[4]")
    ]
    assert read.messages[5].parts[1] == Refusal(text="No.", at="messages[5].refusal")


def test_arguments_that_are_an_object_are_taken_as_json():
    call = {"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}
    read = read_request(chat(USER, {"role": "assistant", "tool_calls": [call]}))
    assert read.messages[1].parts == [
        ToolCall(id="a", name="f", arguments='{"x":1}', at="messages[1].tool_calls[0]")
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, (None, [])),
        ("auto", ("auto", [])),
        ("none", ("none", [])),
        ("required", ("required", [])),
        ("any", ("required", [])),
        ({"type": "function", "function": {"name": "f"}}, ("required", ["f"])),
        ({"type": "custom", "custom": {"name": "f"}}, ("required", ["f"])),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [FUNCTION]}},
            ("required", ["f"]),
        ),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [FUNCTION]}}, ("auto", ["f"])),
    ],
)
def test_choices_of_a_tool(choice, expected):
    read = read_request(chat(tools=[FUNCTION], tool_choice=choice))
    assert (read.tool_choice, read.allowed) == expected


def test_limits_stops_efforts_and_formats():
    read = read_request(chat(max_tokens=1, max_completion_tokens=2, stop="a", reasoning_effort="none"))
    assert (read.max_tokens, read.stop, read.reasons, read.effort) == (2, ["a"], False, None)
    assert read_request(chat(reasoning_effort="xhigh")).effort == "xhigh"
    assert read_request(chat(response_format={"type": "text"})).output is None
    assert read_request(chat(response_format={"type": "json_object"})).output == JsonOutput()
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}}
    assert read_request(chat(response_format=form)).output == JsonOutput(
        schema={"type": "object"}, name="n", strict=True
    )


def test_half_an_emoji_is_passed_on():
    read = read_request(chat({"role": "user", "content": "\ud83d"}))
    assert read.messages == [
        Message(role="user", parts=[Text(text="\ud83d", at="messages[0].content")], at="messages[0]")
    ]
