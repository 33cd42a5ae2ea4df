"""Chunks of completions as those of chat completions, and back: they differ in where a choice has its text."""

from __future__ import annotations

from typing import Any

from everytoken.dialects.openai_chat.decoder import CHUNK_OBJECT
from everytoken.errors import MalformedEventError
from everytoken.json import dumps, loads

__all__ = ["OBJECT", "as_chat", "as_completion", "whole_as_chat", "whole_as_completion"]

OBJECT = "text_completion"


def as_chat(raw: str) -> str:
    """Return a chunk of a completion as one of a chat completion; what is none, as it is."""
    try:
        value = loads(raw)
    except MalformedEventError:
        return raw
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or not all(_has_text(choice) for choice in choices):
        return raw
    told = {**value, "object": CHUNK_OBJECT, "choices": [_with_delta(choice) for choice in choices]}
    return dumps(told).decode("utf-8", "surrogatepass")


def as_completion(data: str | bytes) -> bytes:
    """Return what `as_chat` has made, or a chunk made from that, as a chunk of a completion."""
    value = loads(data)
    assert isinstance(value, dict)
    value["object"] = OBJECT
    for choice in value["choices"]:
        delta = choice.pop("delta", None) or {}
        choice["text"] = delta.get("content") or ""
    return dumps(value)


def whole_as_chat(body: bytes) -> bytes:
    """Return a completion in one piece as a chat completion; what is none, as it is."""
    try:
        value = loads(body)
    except MalformedEventError:
        return body
    choices = value.get("choices") if isinstance(value, dict) else None
    if not isinstance(choices, list) or not choices or not all(_has_text(choice) for choice in choices):
        return body
    told = [
        {**_without_text(choice), "message": {"role": "assistant", "content": choice["text"] or ""}}
        for choice in choices
    ]
    return dumps({**value, "object": "chat.completion", "choices": told})


def whole_as_completion(value: dict[str, Any]) -> dict[str, Any]:
    """Return a chat completion in one piece as a completion."""
    choices = []
    for choice in value["choices"]:
        rest = {name: item for name, item in choice.items() if name != "message"}
        choices.append({"text": choice["message"]["content"] or "", "logprobs": None, **rest})
    return {**value, "object": OBJECT, "choices": choices}


def _has_text(choice: Any) -> bool:
    return isinstance(choice, dict) and "text" in choice


def _without_text(choice: dict[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in choice.items() if name != "text"}


def _with_delta(choice: dict[str, Any]) -> dict[str, Any]:
    text = choice["text"]
    return {**_without_text(choice), "delta": {} if text is None else {"content": text}}
