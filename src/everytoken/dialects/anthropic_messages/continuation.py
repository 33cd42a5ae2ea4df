"""The requests we send upstream: the caller's own, and those that continue what was already delivered.

All are pure: they return a new body and leave the one they are given alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from everytoken.dialects.dialect import Request

__all__ = ["non_streaming", "prefill", "prefix", "streaming"]

_FORCED = frozenset({"any", "tool"})


def streaming(request: Request, *, model: str | None, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a streamed attempt. `model` replaces the caller's; `extra` overrides none of its fields."""
    body = {**extra, **request.body, "stream": True}
    if any(map(_is_unsigned, request.body["messages"])):
        body["messages"] = list(_signed(request.body["messages"]))
    if model is not None:
        body["model"] = model
    return body


def _is_unsigned(message: Any) -> bool:
    """Whether a message holds thinking that nobody has signed: it came from a server of another API.

    Anthropic refuses it ("Extended thinking": blocks are sent back as they came), and other servers do without.
    """
    content = message.get("content")
    return isinstance(content, list) and any(map(_is_unsigned_block, content))


def _is_unsigned_block(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "thinking" and block.get("signature") == ""


def _signed(messages: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for message in messages:
        if not _is_unsigned(message):
            yield message
        elif kept := [block for block in message["content"] if not _is_unsigned_block(block)]:
            yield {**message, "content": kept}


def prefix(request: Request, text: str) -> str:
    """Return as much of `text` as the last message of a request may end in, "" if none.

    The API refuses a prefill that ends in white space, and any prefill of a request for thinking or for a certain tool
    (Anthropic, "Prefill Claude's response", "Extended thinking", "Tool use").
    """
    choice = (request.body.get("tool_choice") or {}).get("type")
    return "" if request.reasons or choice in _FORCED else text.rstrip()


def prefill(
    body: Mapping[str, Any],
    text: str,
    *,
    extra: Mapping[str, Any],
    message_extra: Mapping[str, Any],
    delivered_tokens: int,
) -> dict[str, Any]:
    """Return `body` asking to continue behind `text`, the answer delivered so far.

    The last message becomes an assistant message that ends in exactly `text`, with the fields of `message_extra`. `extra`
    goes into the body and overrides. The limit on the answer's length is lowered by `delivered_tokens`, to no less than 1.
    """
    result = {**body, **extra}
    result["messages"] = _with_prefix(list(body["messages"]), text, message_extra)
    limit = result.get("max_tokens")
    if isinstance(limit, int):
        result["max_tokens"] = max(1, limit - delivered_tokens)
    return result


def non_streaming(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return `body` asking for the answer in one piece."""
    return {name: value for name, value in body.items() if name != "stream"}


def _with_prefix(messages: list[Any], text: str, message_extra: Mapping[str, Any]) -> list[Any]:
    last = messages[-1]
    if last["role"] != "assistant":
        return [*messages, {"role": "assistant", "content": text, **message_extra}]
    content = last.get("content")
    if isinstance(content, list):
        part = content[-1] if content else None
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            content = [*content[:-1], {**part, "text": part["text"] + text}]
        else:
            content = [*content, {"type": "text", "text": text}]
    else:
        content = (content or "") + text
    return [*messages[:-1], {**last, "content": content, **message_extra}]
