"""What a further attempt asks for."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from everytoken.dialects.openai_chat import ChatRequest
from everytoken.dialects.openai_chat.continuation import non_streaming, prefill, streaming

USER = {"role": "user", "content": "Hi"}


def request(**fields: Any) -> ChatRequest:
    return ChatRequest({"messages": [USER], "model": "m", **fields})


# Each case: its name, the caller's fields, the arguments, the body beyond messages and model.
STREAMING = [
    ("a bare request", {}, {"usage": False}, {"stream": True}),
    ("usage is asked for", {}, {"usage": True}, {"stream": True, "stream_options": {"include_usage": True}}),
    ("other stream options stay", {"stream_options": {"a": 1, "include_usage": False}}, {"usage": True}, {"stream": True, "stream_options": {"a": 1, "include_usage": True}}),
    ("without usage the caller's stream options stay", {"stream_options": {"a": 1}}, {"usage": False}, {"stream": True, "stream_options": {"a": 1}}),
    ("null stream options go", {"stream_options": None}, {"usage": False}, {"stream": True}),
    ("our seed", {}, {"usage": False, "seed": 7}, {"stream": True, "seed": 7}),
    ("our seed for a null one", {"seed": None}, {"usage": False, "seed": 7}, {"stream": True, "seed": 7}),
    ("the caller's seed stays", {"seed": 0}, {"usage": False, "seed": 7}, {"stream": True, "seed": 0}),
    ("another model", {}, {"usage": False, "model": "n"}, {"stream": True, "model": "n"}),
    ("extra fields are added", {}, {"usage": False, "extra": {"x": 1}}, {"stream": True, "x": 1}),
    ("extra fields do not override", {"x": 0}, {"usage": False, "extra": {"x": 1, "stream": False}}, {"stream": True, "x": 0}),
    ("unknown fields stay", {"top_k": 3}, {"usage": False}, {"stream": True, "top_k": 3}),
    ("a request that was not streamed is", {"stream": False}, {"usage": False}, {"stream": True}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "arguments", "body"), [case[1:] for case in STREAMING], ids=[case[0] for case in STREAMING]
)
def test_a_streamed_attempt(fields: dict[str, Any], arguments: dict[str, Any], body: dict[str, Any]):
    asked = request(**copy.deepcopy(fields))
    before = copy.deepcopy(asked.body)
    assert streaming(asked, **arguments) == {"messages": [USER], "model": "m", **body}
    assert asked.body == before


# Each case: its name, the messages, the fields of the message, the messages sent.
TOOL_USE = {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}


PREFILLS = [
    ("the text is the last message", [USER], {}, [USER, {"role": "assistant", "content": "text"}]),
    ("the message is marked", [USER], {"prefix": True}, [USER, {"role": "assistant", "content": "text", "prefix": True}]),
    ("the caller's own prefix is extended", [USER, {"role": "assistant", "content": "My "}], {"prefix": True}, [USER, {"role": "assistant", "content": "My text", "prefix": True}]),
    ("the caller's own parts are extended", [{"role": "assistant", "content": [{"type": "text", "text": "My "}]}], {}, [{"role": "assistant", "content": [{"type": "text", "text": "My "}, {"type": "text", "text": "text"}]}]),
    ("a message without content is not a prefix", [USER, TOOL_USE], {}, [USER, TOOL_USE, {"role": "assistant", "content": "text"}]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "marks", "sent"), [case[1:] for case in PREFILLS], ids=[case[0] for case in PREFILLS]
)
def test_a_prefill(messages: list[Any], marks: dict[str, Any], sent: list[Any]):
    body = {"messages": copy.deepcopy(messages), "stream": True}
    before = copy.deepcopy(body)
    assert prefill(body, "text", message_extra=marks) == {"messages": sent, "stream": True}
    assert body == before


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("limit", "left"), [(10, 7), (3, 1), (2, 1), (None, None), ("10", "10")], ids=str)
def test_a_prefill_lowers_the_limit_by_what_was_delivered(name: str, limit: Any, left: Any):
    assert prefill({"messages": [USER], name: limit}, "text", delivered_tokens=3)[name] == left


def test_what_a_server_needs_to_continue_overrides():
    body = {"messages": [USER], "add_generation_prompt": True}
    sent = prefill(body, "text", extra={"continue_final_message": True, "add_generation_prompt": False})
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)


def test_an_answer_in_one_piece_is_asked_for_without_any_word_of_streams():
    body = {"messages": [USER], "stream": True, "stream_options": {"include_usage": True}, "seed": 1}
    assert non_streaming(body) == {"messages": [USER], "seed": 1}
    assert "stream" in body
