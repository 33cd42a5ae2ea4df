"""The requests we send upstream: the caller's own, and those that continue what was already delivered.

All are pure: they return a new body and leave the one they are given alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everytoken.dialects.dialect import Request

__all__ = ["non_streaming", "prefill", "streaming"]

_NOTHING: Mapping[str, Any] = {}


def streaming(
    request: Request,
    *,
    model: str | None = None,
    seed: int | None = None,
    usage: bool = True,
    extra: Mapping[str, Any] = _NOTHING,
) -> dict[str, Any]:
    """Return the body of a streamed attempt.

    `model` replaces the caller's; `seed` is used if the caller gave none; with `usage` the upstream is asked for the
    usage chunk, the caller's other stream options staying; `extra` adds fields but overrides none of the caller's.
    """
    body = {**extra, **request.body, "stream": True}
    if model is not None:
        body["model"] = model
    if seed is not None and body.get("seed") is None:
        body["seed"] = seed
    options = body.pop("stream_options", None) or {}
    if usage:
        options = {**options, "include_usage": True}
    if options:
        body["stream_options"] = options
    return body


def prefill(
    body: Mapping[str, Any],
    text: str,
    *,
    extra: Mapping[str, Any] = _NOTHING,
    message_extra: Mapping[str, Any] = _NOTHING,
    delivered_tokens: int = 0,
) -> dict[str, Any]:
    """Return `body` asking to go on behind `text`, the response delivered so far.

    The last message becomes an assistant message that ends in exactly `text`, with the fields of `message_extra`
    (`{"prefix": True}` for Mistral and DeepSeek). `extra` goes into the body and overrides, because it says how this
    server continues a message (`{"continue_final_message": True, "add_generation_prompt": False}` for vLLM). The
    limits on the response's length are lowered by `delivered_tokens`, to no less than 1.
    """
    result = {**body, **extra}
    result["messages"] = _with_prefix(list(body["messages"]), text, message_extra)
    for name in ("max_tokens", "max_completion_tokens"):
        limit = result.get(name)
        if isinstance(limit, int) and not isinstance(limit, bool):
            result[name] = max(1, limit - delivered_tokens)
    return result


def non_streaming(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return `body` asking for the response in one piece."""
    return {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}


def _with_prefix(messages: list[Any], text: str, message_extra: Mapping[str, Any]) -> list[Any]:
    last = messages[-1] if messages else {}
    content = last.get("content") if last.get("role") == "assistant" else None
    if isinstance(content, str):
        messages[-1] = {**last, "content": content + text, **message_extra}
    elif isinstance(content, list):
        messages[-1] = {**last, "content": [*content, {"type": "text", "text": text}], **message_extra}
    else:
        messages.append({"role": "assistant", "content": text, **message_extra})
    return messages
