"""Read a chunk whose JSON is valid but not typed as documented, without losing any of the response.

The typed decoder comes first; what it refuses comes here: numbers in the wrong form, a scalar where text belongs,
arguments sent as an object, half a surrogate pair as an escape, numbers beyond 64 bits. RFC 8259 calls all of it
JSON. What a client could not read either (choices that are no list) is malformed.
"""

from __future__ import annotations

import json
from typing import Any

from everytoken.dialects.openai_chat.chunk import (
    Choice,
    Chunk,
    CustomDelta,
    Delta,
    FunctionDelta,
    ToolCallDelta,
)
from everytoken.dialects.openai_chat.heartbeats import is_heartbeat_object
from everytoken.errors import MalformedEventError

__all__ = [
    "lenient_chunk",
    "others_in_chunk",
    "others_in_delta",
    "text_of",
]

_OF_DELTA = frozenset(
    {
        *("role", "content", "refusal", "reasoning_content", "reasoning", "tool_calls", "function_call"),
        *("id", "index", "type", "object", "name", "created", "model", "status", "format"),
        *(
            "token_ids",
            "prompt_token_ids",
            "logprobs",
            "finish_reason",
            "stop_reason",
            "padding",
            "obfuscation",
        ),
    }
)
_OF_CALL = frozenset({"index", "id", "type", "function", "custom", "name", "status"})
_OF_CHOICE = frozenset(
    {
        *("index", "delta", "message", "text", "finish_reason", "error", "logprobs", "usage", "role"),
        *("native_finish_reason", "stop_reason", "matched_stop", "token_ids", "prompt_token_ids", "seed"),
        *("content_filter_results", "content_filter_result", "content_filter_offsets", "content_filter_raw"),
    }
)
_OF_CHUNK = frozenset(
    {
        *(
            "id",
            "object",
            "created",
            "model",
            "choices",
            "usage",
            "error",
            "errors",
            "type",
            "status",
            "code",
        ),
        *(
            "system_fingerprint",
            "service_tier",
            "provider",
            "obfuscation",
            "p",
            "message",
            "detail",
            "request_id",
        ),
        *(
            "timings",
            "time_info",
            "x_groq",
            "nvext",
            "stats",
            "metrics",
            "metadata",
            "everytoken",
            "__verbose",
        ),
        *(
            "prompt_filter_results",
            "prompt_token_ids",
            "prompt_progress",
            "base_resp",
            "kv_transfer_params",
            "conversation_id",
        ),
    }
)


def lenient_chunk(value: dict[str, Any]) -> Chunk:
    """Return `value` as a chunk. Raises `MalformedEventError` where no reading loses nothing."""
    choices = value.get("choices")
    others = {} if choices is None and is_heartbeat_object(value) else others_in_chunk(value)
    alive = bool(value.get("prompt_progress"))
    return Chunk(
        id=text_of(value.get("id")),
        choices=None if choices is None else [_choice(item) for item in _list(choices, "choices")],
        usage=_usage(value),
        error=value.get("error"),
        object=text_of(value.get("object")),
        type=text_of(value.get("type")),
        others=others or None,
        alive=alive,
        odd=alive or bool(others),
    )


def _usage(value: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a chunk says of the usage: at its top, in `x_groq` (Groq), or in a choice (Moonshot)."""
    holders = [value, value.get("x_groq")]
    choices = value.get("choices")
    holders += choices if isinstance(choices, list) else []
    for holder in holders:
        usage = holder.get("usage") if isinstance(holder, dict) else None
        if usage and isinstance(usage, dict):
            return usage
    return None


def others_in_chunk(value: dict[str, Any]) -> dict[str, Any]:
    """Return what stands beside the deltas of a chunk and belongs to the response, by its name.

    That is a list or an object, such as `citations`; a word or a number tells of the response, and is none.
    """
    found = others_in(value, _OF_CHUNK)
    choices = value.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            found |= others_in(choice, _OF_CHOICE)
    return {name: item for name, item in found.items() if not isinstance(item, str)}


def others_in_delta(value: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a delta that we do not know and a reader can see."""
    return others_in(value, _OF_DELTA)


def others_in(value: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """Return the fields that are not `known` and that a reader can see: texts, lists, objects."""
    return {
        name: item
        for name, item in value.items()
        if item and name not in known and isinstance(item, (str, list, dict))
    }


def text_of(value: Any) -> str | None:
    """Return text as it is and anything else as its JSON text."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _choice(value: Any) -> Choice:
    item = _object(value, "a choice")
    reason = item.get("finish_reason")
    # An empty list is how PHP writes an empty object; the client would fail on it as on null.
    delta = item.get("delta") or (None if not isinstance(item.get("delta"), dict) else {})
    return Choice(
        index=_index(item.get("index")),
        delta=None if delta is None else _delta(_object(delta, "a delta")),
        finish_reason=reason if isinstance(reason, str) else None,
        error=item.get("error"),
        message=item.get("message"),
        text=text_of(item.get("text")),
    )


def _delta(value: dict[str, Any]) -> Delta:
    content = value.get("content")
    if isinstance(content, dict):
        content = [content]
    calls = value.get("tool_calls")
    function = value.get("function_call")
    return Delta(
        role=text_of(value.get("role")),
        content=content if isinstance(content, list) else text_of(content),
        refusal=text_of(value.get("refusal")),
        reasoning_content=text_of(value.get("reasoning_content")),
        reasoning=text_of(value.get("reasoning")),
        tool_calls=None if calls is None else [_tool_call(item) for item in _list(calls, "tool_calls")],
        function_call=None if function is None else _function(_object(function, "function_call")),
        others=others_in_delta(value) or None,
    )


def _tool_call(value: Any) -> ToolCallDelta:
    item = _object(value, "a tool call")
    function, custom = item.get("function"), item.get("custom")
    return ToolCallDelta(
        index=_index(item.get("index")),
        id=text_of(item.get("id")),
        function=None if function is None else _function(_object(function, "a function")),
        type=text_of(item.get("type")),
        custom=None if custom is None else _custom(_object(custom, "a custom tool")),
        others=others_in(item, _OF_CALL) or None,
    )


def _custom(value: dict[str, Any]) -> CustomDelta:
    return CustomDelta(name=text_of(value.get("name")), input=text_of(value.get("input")))


def _function(value: dict[str, Any]) -> FunctionDelta:
    return FunctionDelta(name=text_of(value.get("name")), arguments=text_of(value.get("arguments")))


def _index(value: Any) -> int | None:
    """Return a whole number in whatever form it came; None for anything else."""
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise MalformedEventError(f"a chunk's {name} is not a list")
    return value


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedEventError(f"{name} of a chunk is not an object")
    return value
