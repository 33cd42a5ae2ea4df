"""A message in one piece, read as the events it would have been."""

from __future__ import annotations

from typing import Any, Final

from everytoken.dialects.anthropic_messages.blocks import is_tool
from everytoken.dialects.openai_chat.inband import in_band_error
from everytoken.errors import MalformedEventError, NotAnEventStreamError
from everytoken.json import dumps, loads
from everytoken.json.bounds import excess_in

__all__ = ["events_in"]

_ENDING: Final = ("stop_reason", "stop_sequence", "stop_details", "container")
"""Fields of a message that come with its end: in the `delta` of `message_delta`."""

_BESIDE: Final = ("context_management",)
"""The same, beside the `delta`."""


def events_in(body: bytes) -> list[bytes]:
    """Return the events of the message in `body`. Raises `NotAnEventStreamError`, `ErrorEventError`."""
    excess = excess_in(body)
    if excess is not None:
        raise NotAnEventStreamError(f"the upstream's answer cannot be read: {excess}")
    try:
        value = loads(body)
    except MalformedEventError as error:
        raise NotAnEventStreamError("the upstream answered with neither a stream nor JSON") from error
    reported = None if isinstance(value, dict) and "content" in value else in_band_error("message", value)
    if reported is not None:
        raise reported
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, list) or not all(_is_block(block) for block in content):
        raise NotAnEventStreamError("the upstream answered with JSON that is no message")
    if not value.get("stop_reason"):
        raise NotAnEventStreamError("the upstream answered with a message that has no stop_reason")
    return [dumps(event) for event in _events(value, content)]


def _is_block(block: Any) -> bool:
    return isinstance(block, dict) and isinstance(block.get("type"), str)


def _events(message: dict[str, Any], content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    usage = message.get("usage")
    begin = {name: item for name, item in message.items() if name not in {*_ENDING, *_BESIDE}}
    begin |= {"content": [], "stop_reason": None, "stop_sequence": None}
    if isinstance(usage, dict) and "output_tokens" in usage:
        begin["usage"] = usage | {"output_tokens": 0}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begin}]
    for index, block in enumerate(content):
        start, deltas = _parts(block)
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events.append(
        {
            "type": "message_delta",
            "delta": {name: message[name] for name in _ENDING if name in message},
            **{name: message[name] for name in _BESIDE if name in message},
            **({"usage": usage} if isinstance(usage, dict) else {}),
        }
    )
    return [*events, {"type": "message_stop"}]


def _parts(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return how a block begins, and what is added to it."""
    kind = block["type"]
    if kind == "text" and isinstance(block.get("text"), str):
        deltas: list[dict[str, Any]] = [{"type": "text_delta", "text": block["text"]}]
        citations = block.get("citations")
        if not isinstance(citations, list):
            return {**block, "text": ""}, deltas
        deltas = [{"type": "citations_delta", "citation": citation} for citation in citations] + deltas
        return {**block, "text": "", "citations": []}, deltas
    if kind == "thinking" and isinstance(block.get("thinking"), str):
        deltas = [{"type": "thinking_delta", "thinking": block["thinking"]}]
        if "signature" in block:
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return {**block, "thinking": "", **({"signature": ""} if "signature" in block else {})}, deltas
    if is_tool(kind) and isinstance(block.get("input"), dict):
        given = dumps(block["input"]).decode()
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": given}]
    return block, []
