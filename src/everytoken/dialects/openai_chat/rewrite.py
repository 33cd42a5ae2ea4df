"""Change a later attempt's chunk so that it is part of the one response. Works on any JSON a chunk was read from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.dialects.openai_chat import lenient
from everytoken.json import dumps
from everytoken.json import loads as loads_any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["cut", "loads", "rejoin", "says_more", "with_choice", "with_deltas"]

_FRAME = frozenset({"index", "delta", "finish_reason", "logprobs"})


def loads(raw: str | bytes) -> dict[str, Any]:
    """Return a chunk that has been read before as a dictionary."""
    try:
        value: dict[str, Any] = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        value = loads_any(raw)
    return value


def rejoin(raw: str, identity: Mapping[str, Any]) -> bytes:
    """Return the chunk with the response's identity, and without a second role."""
    return _joined(loads(raw), identity)


def cut(
    raw: str,
    identity: Mapping[str, Any],
    *,
    position: int,
    texts: Mapping[str, str],
    calls: list[dict[str, Any]],
    others: Mapping[str, Any],
    beside: Mapping[str, Any],
) -> bytes:
    """Return the chunk with nothing but the choice at `position`, and of that only what is new.

    `texts` are the new ends of the delta's texts ("": nothing new), `calls` the new fragments of tool calls, `others` what
    is new in its other fields, `beside` in those that stand beside the deltas.
    """
    value = loads(raw)
    choice = value["choices"][position]
    for name in lenient.others_in_chunk(value):
        for holder in (value, choice):
            if name in holder and name not in beside:
                del holder[name]
    value["choices"] = [choice]
    delta = choice["delta"]
    for name in lenient.others_in_delta(delta):
        del delta[name]
    delta.update(others)
    for name, text in texts.items():
        if text:
            delta[name] = text
        else:
            del delta[name]
    if delta.pop("tool_calls", None) is not None and calls:
        delta["tool_calls"] = calls
    if delta.pop("function_call", None) is not None and calls:
        delta["function_call"] = calls[0]["function"]
    return _joined(value, identity)


def with_choice(raw: str, *, usage: bool) -> str:
    """Return a chunk that has no choices with an empty one; `usage`: whether its usage may be seen."""
    value = loads(raw)
    value["choices"] = [{"index": 0, "delta": {}, "finish_reason": None}]
    if not usage:
        value.pop("usage", None)
    return dumps(value).decode()


def says_more(raw: str) -> bool:
    """Whether the choices of a chunk have anything besides a place and an end, such as a verdict of a filter."""
    return any(
        value for choice in loads(raw)["choices"] for name, value in choice.items() if name not in _FRAME
    )


def with_deltas(raw: str) -> str:
    """Return the chunk with an empty delta wherever it has none, so that a reader may look into it."""
    value = loads(raw)
    for choice in value["choices"]:
        if not choice.get("delta"):
            choice["delta"] = {}
    return dumps(value).decode()


def _joined(value: dict[str, Any], identity: Mapping[str, Any]) -> bytes:
    value.update({name: identity[name] for name in ("id", "created") if name in identity})
    for choice in value["choices"]:
        if isinstance(choice.get("delta"), dict):
            choice["delta"].pop("role", None)
    return dumps(value)
