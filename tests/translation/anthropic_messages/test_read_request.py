"""Requests for messages, read: their blocks, tools and settings."""

from __future__ import annotations

import base64

import pytest

from everytoken.errors import InvalidRequestError
from everytoken.translation.anthropic_messages.read_request import read_request
from everytoken.translation.request import (
    File,
    Image,
    JsonOutput,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)

USER = {"role": "user", "content": "Hi"}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
AT = "messages[0].content[0]"


def asked(*messages, **fields):
    return {"model": "m", "max_tokens": 9, "messages": list(messages) or [USER], **fields}


def user(*blocks):
    return asked({"role": "user", "content": list(blocks)})


def source(**fields):
    return {"type": "document", "source": fields}


REFUSED = {
    "a container": (asked(container="c"), "container"),
    "servers that the provider calls": (asked(mcp_servers=[{"name": "s"}]), "mcp_servers"),
    "a region": (asked(inference_geo="eu"), "inference_geo"),
    "a thread": (asked(thread={"type": "create"}), "thread"),
    "an unknown field": (asked(dreams=1), "dreams"),
    "an unknown field inside another": (asked(output_config={"style": "x"}), "output_config.style"),
    "an object that is none": (asked(output_config=3), "output_config"),
    "a limit of nothing": (asked(max_tokens=0), "max_tokens"),
    "an unknown kind of thinking": (asked(thinking={"type": "deep"}), "thinking.type"),
    "an unknown effort": (asked(output_config={"effort": "x"}), "output_config.effort"),
    "an unknown format": (asked(output_config={"format": {"type": "xml"}}), "output_config.format.type"),
    "an unknown choice": (asked(tool_choice={"type": "some"}), "tool_choice.type"),
    "an unknown role": (asked({"role": "tool", "content": ""}), "messages[0]"),
    "stops that are no list": (asked(stop_sequences="x"), "stop_sequences"),
    "system that is no text": (
        asked(system=[{"type": "image", "source": {"type": "url", "url": "x"}}]),
        "system[0]",
    ),
    "a tool of Anthropic's": (asked(tools=[{"type": "bash_20250124", "name": "bash"}]), "tools[0]"),
    "an unknown tool": (asked(tools=[{"type": "time_20260101", "name": "t"}]), "tools[0]"),
    "a tool without a schema": (asked(tools=[{"name": "f"}]), "tools[0].input_schema"),
    "a tool that only code calls": (
        asked(tools=[{**TOOL, "allowed_callers": ["code_execution_20260120"]}]),
        "tools[0].allowed_callers",
    ),
    "nothing but a search": (asked(tools=[SEARCH]), "tools[0]"),
    "a search that is forced": (
        asked(tools=[TOOL, SEARCH], tool_choice={"type": "tool", "name": "web_search"}),
        "tool_choice",
    ),
    "an unknown block": (user({"type": "hologram"}), AT),
    "an upload": (user({"type": "container_upload", "file_id": "f"}), AT),
    "an image at the provider": (
        user({"type": "image", "source": {"type": "file", "file_id": "f"}}),
        f"{AT}.source.file_id",
    ),
    "an unknown source": (user({"type": "image", "source": {"type": "s3"}}), f"{AT}.source.type"),
    "a document at the provider": (user(source(type="file", file_id="f")), f"{AT}.source.file_id"),
    "citations": (user({**source(type="url", url="x"), "citations": {"enabled": True}}), f"{AT}.citations"),
    "a call by the user": (user({"type": "tool_use", "id": "a", "name": "f", "input": {}}), AT),
    "a call without input": (
        asked(USER, {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f"}]}),
        "messages[1].content[0].input",
    ),
    "a result by the assistant": (
        asked({"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "a"}]}),
        AT,
    ),
    "a result of a call in a result": (
        user(
            {
                "type": "tool_result",
                "tool_use_id": "a",
                "content": [{"type": "tool_result", "tool_use_id": "b"}],
            }
        ),
        f"{AT}.content[0]",
    ),
}


@pytest.mark.parametrize(("body", "param"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_named(body, param):
    with pytest.raises(InvalidRequestError) as caught:
        read_request(body)
    assert caught.value.param == param


BLOCKS = {
    "text": ({"type": "text", "text": "A", "citations": None, "cache_control": {}}, [Text(text="A")]),
    "an image": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        [Image(data="AAAA", media_type="image/png")],
    ),
    "a document": (
        {**source(type="base64", media_type="application/pdf", data="AAAA"), "title": "T", "context": "C"},
        [Text(text="C"), File(data="AAAA", media_type="application/pdf", name="T")],
    ),
    "a document of text": (
        source(type="text", media_type="text/plain", data="é"),
        [File(data=base64.b64encode("é".encode()).decode(), media_type="text/plain")],
    ),
    "a document elsewhere": (source(type="url", url="x"), [File(url="x")]),
    "a document of blocks": (
        {**source(type="content", content=[{"type": "text", "text": "A"}]), "title": "T"},
        [Text(text="T"), Text(text="A")],
    ),
    "a search result": (
        {"type": "search_result", "title": "T", "source": "S", "content": [{"type": "text", "text": "A"}]},
        [Text(text="T\nS\nA")],
    ),
    "a result": (
        {"type": "tool_result", "tool_use_id": "a", "content": "1", "is_error": True},
        [ToolResult(call_id="a", parts=[Text(text="1")], is_error=True)],
    ),
    "a result of nothing": ({"type": "tool_result", "tool_use_id": "a"}, [ToolResult(call_id="a", parts=[])]),
    "a tool that was found": (
        {
            "type": "tool_result",
            "tool_use_id": "a",
            "content": [{"type": "tool_reference", "tool_name": "f"}],
        },
        [ToolResult(call_id="a", parts=[Text(text="The tool f can be called.")])],
    ),
}


def bare(value):
    value.at = ""
    for part in getattr(value, "parts", ()):
        bare(part)
    return value


@pytest.mark.parametrize(("block", "expected"), BLOCKS.values(), ids=BLOCKS)
def test_blocks_of_the_user(block, expected):
    read = read_request(user(block))
    assert all(part.at.startswith(AT) for part in read.messages[0].parts)
    assert [bare(part) for part in read.messages[0].parts] == expected


@pytest.mark.parametrize(
    "around",
    [
        lambda block: {"type": "tool_result", "tool_use_id": "a", "content": [block]},
        lambda block: source(type="content", content=[block]),
        lambda block: {"type": "search_result", "title": "", "source": "", "content": [block]},
    ],
)
def test_blocks_inside_each_other_end(around):
    block = {"type": "text", "text": "A"}
    for _ in range(500):
        block = around(block)
    with pytest.raises(InvalidRequestError):
        read_request(user(block))


def test_blocks_of_the_assistant():
    blocks = [
        {"type": "thinking", "thinking": "Hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "text", "text": "A"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": "é"}, "caller": {"type": "direct"}},
    ]
    read = read_request(asked(USER, {"role": "assistant", "content": blocks}))
    assert [bare(part) for part in read.messages[1].parts] == [
        Reasoning(text="Hm"),
        Reasoning(),
        Text(text="A"),
        ToolCall(id="a", name="f", arguments='{"x":"é"}'),
    ]


def test_system_as_text_as_blocks_and_in_the_middle():
    read = read_request(
        asked(
            USER,
            {"role": "system", "content": "C"},
            system=[
                {"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}},
                {"type": "text", "text": "B"},
            ],
        )
    )
    assert [(one.role, [part.text for part in one.parts]) for one in read.messages] == [
        ("system", ["A", "B"]),
        ("user", ["Hi"]),
        ("system", ["C"]),
    ]
    assert read.messages[0].parts[1].at == "system[1]"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (None, None, None, None)),
        ({"thinking": {"type": "disabled"}}, (False, None, None, None)),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, (True, 2048, None, None)),
        ({"thinking": {"type": "adaptive", "display": "summarized"}}, (True, None, None, "auto")),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, (True, None, None, "omitted")),
        ({"thinking": {"type": "between_tools"}}, (True, None, None, None)),
        ({"output_config": {"effort": "max"}}, (None, None, "max", None)),
    ],
)
def test_thinking(fields, expected):
    read = read_request(asked(**fields))
    assert (read.reasons, read.budget, read.effort, read.shown) == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, ("auto", [], None)),
        ({"type": "any", "disable_parallel_tool_use": True}, ("required", [], False)),
        ({"type": "tool", "name": "f", "disable_parallel_tool_use": False}, ("required", ["f"], True)),
        ({"type": "none"}, ("none", [], None)),
    ],
)
def test_choices_of_a_tool(choice, expected):
    read = read_request(asked(tools=[TOOL], tool_choice=choice))
    assert (read.tool_choice, read.allowed, read.parallel_calls) == expected


def test_tools_of_the_provider_are_left_out_beside_others():
    found = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
    read = read_request(asked(tools=[SEARCH, {**TOOL, "type": "custom", "defer_loading": True}, found]))
    assert read.tools == [Tool(name="f", schema={"type": "object"}, at="tools[1]")]


@pytest.mark.parametrize("name", ["output_config", "output_format"])
def test_a_format(name):
    form = {"type": "json_schema", "schema": {"type": "object"}}
    read = read_request(asked(**{name: {"format": form} if name == "output_config" else form}))
    assert read.output == JsonOutput(schema={"type": "object"}, strict=True)
    assert read.path("output").startswith(name)
