"""The events that nearly all of a message consists of, decoded typed; and any other, as a dictionary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.dialects.openai_chat.heartbeats import is_heartbeat, is_heartbeat_object
from everytoken.dialects.openai_chat.inband import in_band_error
from everytoken.errors import MalformedEventError
from everytoken.json import dumps, loads
from everytoken.json.bounds import MAX_UPSTREAM_DEPTH, MAX_VALUES, excess_in

if TYPE_CHECKING:
    from everytoken.sse import ServerSentEvent

__all__ = [
    "InputDelta",
    "TextDelta",
    "ThinkingDelta",
    "TypedDelta",
    "check_large",
    "decode_delta",
    "value_of",
]

_NAMES: Final = frozenset(
    {
        *("message_start", "message_delta", "message_stop"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
    }
)


class TextDelta(msgspec.Struct, tag="text_delta", tag_field="type", forbid_unknown_fields=True, gc=False):
    """More of a text."""

    text: str


class ThinkingDelta(
    msgspec.Struct, tag="thinking_delta", tag_field="type", forbid_unknown_fields=True, gc=False
):
    """More of what the model thinks."""

    thinking: str


class InputDelta(
    msgspec.Struct, tag="input_json_delta", tag_field="type", forbid_unknown_fields=True, gc=False
):
    """More of a tool's input, as JSON."""

    partial_json: str


class TypedDelta(
    msgspec.Struct, tag="content_block_delta", tag_field="type", forbid_unknown_fields=True, gc=False
):
    """A delta as documented, with nothing else in it."""

    index: int
    delta: TextDelta | ThinkingDelta | InputDelta


decode_delta = msgspec.json.Decoder(TypedDelta).decode


def check_large(data: str) -> None:
    """Refuse an event that would hurt to decode."""
    # The brackets tell of nearly every large event, which is text, that it is harmless.
    if data.count("[") + data.count("{") <= MAX_UPSTREAM_DEPTH and len(data) <= MAX_VALUES:
        return
    excess = excess_in(data.encode("utf-8", "surrogatepass"))
    if excess is not None:
        raise MalformedEventError(f"an event of the stream cannot be read: {excess}")


def value_of(event: ServerSentEvent) -> tuple[dict[str, Any], str] | None:
    """Return what an event says, and its record; None for a sign of life. Both have its `type`.

    Raises `ErrorEventError` for an error in any shape, and `MalformedEventError` for what is no event of a message.
    """
    name = event.event
    try:
        value = loads(event.data)
    except MalformedEventError:
        if is_heartbeat(name, event.data):
            return None
        if name != "error":
            raise
        value = event.data
    if not isinstance(value, dict):
        if is_heartbeat(name, event.data):
            return None
        raise in_band_error(name, value) or MalformedEventError("an event of the stream is not a JSON object")
    kind = value.get("type")
    if isinstance(kind, str) and kind in _NAMES and name != "error":
        return value, event.data
    error = in_band_error(name, value)
    if error is not None:
        raise error
    if is_heartbeat_object(value) or not value:
        return None
    if isinstance(kind, str):
        return value, event.data
    if name in _NAMES:
        value = {"type": name, **value}
        return value, dumps(value).decode()
    raise MalformedEventError("an event of the stream has no type")
