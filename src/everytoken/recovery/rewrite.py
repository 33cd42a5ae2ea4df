"""Change a later attempt's chunk so that it is part of the one response. Works on any JSON a chunk was read from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.chat import lenient

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["cut", "loads", "rejoin", "with_deltas"]


def loads(raw: str | bytes) -> dict[str, Any]:
    """Return a chunk that has been read before as a dictionary."""
    try:
        value: dict[str, Any] = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        value = lenient.loads(raw)
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
) -> bytes:
    """Return the chunk with nothing but the choice at `position`, and of that only what is new.

    `texts` are the new ends of the delta's texts ("": nothing new), `calls` the new fragments of tool calls.
    """
    value = loads(raw)
    choice = value["choices"][position]
    value["choices"] = [choice]
    delta = choice["delta"]
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


def with_deltas(raw: str) -> str:
    """Return the chunk with an empty delta wherever it has none, so that a reader may look into it."""
    value = loads(raw)
    for choice in value["choices"]:
        if not choice.get("delta"):
            choice["delta"] = {}
    return lenient.dumps(value).decode()


def _joined(value: dict[str, Any], identity: Mapping[str, Any]) -> bytes:
    value.update({name: identity[name] for name in ("id", "created") if name in identity})
    for choice in value["choices"]:
        if isinstance(choice.get("delta"), dict):
            choice["delta"].pop("role", None)
    return lenient.dumps(value)
