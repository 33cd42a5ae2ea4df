"""Requests: what is refused, and what we make of them for an upstream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from everytoken.dialects.openai_chat import ChatRequest
from everytoken.errors import InvalidRequestError

USER = {"role": "user", "content": "Hi"}

# Each case: its name, the body, the field that is named.
REFUSED = [
    ("no JSON", "{", None),
    ("not UTF-8", b"\xff", None),
    ("a bomb", '{"messages":' + "[" * 100_000, None),
    ("a list", "[]", None),
    ("no messages", {}, "messages"),
    ("null messages", {"messages": None}, "messages"),
    ("empty messages", {"messages": []}, "messages"),
    ("messages that are text", {"messages": "Hi"}, "messages"),
    ("a message that is text", {"messages": [USER, "Hi"]}, "messages[1]"),
    ("a message without a role", {"messages": [{"content": "Hi"}]}, "messages[0].role"),
    ("a model that is a number", {"messages": [USER], "model": 1}, "model"),
    ("stream in words", {"messages": [USER], "stream": "yes"}, "stream"),
    ("no choices", {"messages": [USER], "n": 0}, "n"),
    ("too many choices", {"messages": [USER], "n": 129}, "n"),
    ("true choices", {"messages": [USER], "n": True}, "n"),
    ("stream options that are true", {"messages": [USER], "stream_options": True}, "stream_options"),
]


@pytest.mark.parametrize(("body", "param"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_request_is_refused(body: Any, param: str | None):
    data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    with pytest.raises(InvalidRequestError) as raised:
        ChatRequest.from_json(data)
    assert raised.value.param == param


def request(**fields: Any) -> ChatRequest:
    return ChatRequest({"messages": [USER], "model": "m", **fields})


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, False),
        ({"stream": True}, False),
        ({"stream_options": {"include_usage": True}}, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True),
    ],
    ids=str,
)
def test_who_asked_for_usage(fields: dict[str, Any], *, asked: bool):
    assert request(**fields).include_usage is asked


@pytest.mark.parametrize(("seed", "read"), [(5, 5), (0, 0), (None, None), ("5", None), (True, None)], ids=str)
def test_the_callers_seed(seed: Any, read: int | None):
    assert request(seed=seed).seed == read
