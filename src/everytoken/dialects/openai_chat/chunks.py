"""A non-streamed `chat.completion` as the chunks of a stream: what the non-streaming fallback delivers."""

from __future__ import annotations

from typing import Any, Final

from everytoken.json import dumps

__all__ = ["chunks_of"]

_ENVELOPE: Final = ("id", "created", "model", "system_fingerprint", "service_tier")
_REASONING: Final = ("reasoning_content", "reasoning", "reasoning_details")


def chunks_of(completion: dict[str, Any]) -> list[bytes]:
    """Return `completion` as chunks, in JSON: accumulated they are `completion` again.

    For each choice: its reasoning, its content (with the log probabilities), its tool calls, its finish reason; in
    the end the usage, with empty `choices`. Without a finish reason there is none here either.
    """
    envelope: dict[str, Any] = {name: completion[name] for name in _ENVELOPE if name in completion}
    envelope["object"] = "chat.completion.chunk"
    chunks = [
        {**envelope, "choices": [choice]}
        for position, whole in enumerate(completion.get("choices") or ())
        for choice in _choices_of(whole, position)
    ]
    known = {*_ENVELOPE, "object", "choices", "usage"}
    extra = {name: value for name, value in completion.items() if name not in known}
    if chunks:
        chunks[-1] |= extra
    elif extra:
        chunks.append({**envelope, "choices": [], **extra})
    if usage := completion.get("usage"):
        chunks.append({**envelope, "choices": [], "usage": usage})
    return [dumps(chunk) for chunk in chunks]


def _choices_of(whole: dict[str, Any], position: int) -> list[dict[str, Any]]:
    """Return the choices of the chunks that make up one finished choice."""
    index = whole.get("index")
    index = position if index is None else index
    parts: list[dict[str, Any]] = [
        {"index": index, "delta": delta, "finish_reason": None}
        for delta in _deltas_of(whole.get("message") or {})
    ]
    if "logprobs" in whole:
        parts[_content_position(parts)]["logprobs"] = whole["logprobs"]
    known = {"index", "message", "logprobs", "finish_reason"}
    extra = {name: value for name, value in whole.items() if name not in known}
    if extra or whole.get("finish_reason"):
        parts.append({"index": index, "delta": {}, "finish_reason": whole.get("finish_reason"), **extra})
    return parts


def _deltas_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    fields = {name: value for name, value in message.items() if name not in {"role", "tool_calls"}}
    fields.setdefault("content", None)
    reasoning = {name: fields.pop(name) for name in _REASONING if fields.get(name)}
    calls = [{**call, "index": index} for index, call in enumerate(message.get("tool_calls") or ())]
    deltas = [delta for delta in (reasoning, fields, {"tool_calls": calls} if calls else {}) if delta]
    deltas[0] = {"role": message.get("role") or "assistant", **deltas[0]}
    return deltas


def _content_position(parts: list[dict[str, Any]]) -> int:
    return next(position for position, part in enumerate(parts) if "content" in part["delta"])
