"""Requests with a value of another kind at any place: they are read, or refused by the name of a field, and never break."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from everytoken.errors import InvalidRequestError
from neutral_requests import APIS, CHAT, MESSAGES, READ, RESPONSES, WRITE

if TYPE_CHECKING:
    from collections.abc import Iterator

ODD: list[Any] = [
    None,
    True,
    0,
    1.5,
    "",
    "x",
    [],
    {},
    [None],
    [["x"]],
    {"type": "x"},
    {"type": []},
    [{}],
    "\ud83d",
]
SCHEMA = {"type": "object", "properties": {}}
WHOLE: dict[str, dict[str, Any]] = {
    CHAT: {
        "model": "m",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "A"}]},
            {
                "role": "user",
                "name": "n",
                "content": [
                    {"type": "text", "text": "A"},
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"},
                    },
                    {"type": "file", "file": {"file_data": "data:text/plain;base64,AAAA", "filename": "f"}},
                ],
            },
            {
                "role": "assistant",
                "content": "B",
                "refusal": "No",
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "b", "type": "custom", "custom": {"name": "g", "input": "x"}},
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "2"}]},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "description": "F", "parameters": SCHEMA, "strict": True},
            },
            {
                "type": "custom",
                "custom": {
                    "name": "g",
                    "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "d"}},
                },
            },
        ],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
        },
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
        },
        "stop": ["END"],
        "reasoning_effort": "low",
        "temperature": 1,
        "max_tokens": 9,
        "metadata": {"a": "b"},
        "user": "u",
        "prompt_cache_options": {"mode": "explicit"},
        "stream": True,
        "n": 1,
    },
    MESSAGES: {
        "model": "m",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "A"}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
                    },
                    {
                        "type": "document",
                        "title": "T",
                        "source": {"type": "text", "data": "A"},
                        "citations": {},
                    },
                    {
                        "type": "document",
                        "source": {"type": "content", "content": [{"type": "text", "text": "A"}]},
                    },
                    {
                        "type": "search_result",
                        "title": "T",
                        "source": "S",
                        "content": [{"type": "text", "text": "A"}],
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm", "signature": "s"},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "a",
                        "is_error": True,
                        "content": [
                            {"type": "text", "text": "1"},
                            {"type": "image", "source": {"type": "url", "url": "u"}},
                        ],
                    }
                ],
            },
            {"role": "system", "content": "B"},
        ],
        "tools": [{"name": "f", "description": "F", "input_schema": SCHEMA, "allowed_callers": ["direct"]}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u"},
        "stream": True,
    },
    RESPONSES: {
        "model": "m",
        "instructions": "A",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "A"},
                    {"type": "input_image", "image_url": "u", "detail": "low"},
                    {"type": "input_file", "file_data": "data:text/plain;base64,AAAA", "filename": "f"},
                ],
            },
            {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "B"}]},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}", "namespace": "s"},
            {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "1"}]},
            {"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "l"}]},
        ],
        "tools": [
            {"type": "function", "name": "f", "description": "F", "parameters": SCHEMA, "strict": True},
            {
                "type": "custom",
                "name": "g",
                "format": {"type": "grammar", "syntax": "lark", "definition": "d"},
            },
            {"type": "namespace", "name": "s", "tools": [{"type": "function", "name": "f"}]},
            {"type": "web_search"},
        ],
        "tool_choice": {
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "f"}],
        },
        "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}, "verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "metadata": {"a": "b"},
        "stream": True,
    },
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything inside a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def replaced(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    body = copy.deepcopy(body)
    holder: Any = body
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return body


@pytest.mark.parametrize("api", APIS)
def test_a_whole_request_is_taken(api):
    for upstream in APIS:
        said = {
            name: value
            for name, value in WHOLE[api].items()
            if not (upstream == RESPONSES and "stop" in name)
        }
        WRITE[upstream](READ[api](said))


@pytest.mark.parametrize("api", APIS)
def test_an_odd_value_is_taken_or_refused_by_the_name_of_a_field(api):
    for path in places(WHOLE[api]):
        for odd in ODD:
            body = replaced(WHOLE[api], path, odd)
            for upstream in APIS:
                try:
                    WRITE[upstream](READ[api](body))
                except InvalidRequestError as error:
                    assert (error.param or "").partition("[")[0].partition(".")[0] in body, (path, odd, error)  # noqa: PT017
