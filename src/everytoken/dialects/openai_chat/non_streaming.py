"""A response in one piece, read as the chunks it would have been."""

from __future__ import annotations

from typing import Any

from everytoken.dialects.openai_chat import chunks_of
from everytoken.dialects.openai_chat.inband import in_band_error
from everytoken.errors import ErrorEventError, MalformedEventError, NotAnEventStreamError
from everytoken.errors.reason import reason_in
from everytoken.json import loads
from everytoken.json.bounds import excess_in

__all__ = ["chunks_in"]

_MAX_MESSAGE = 65_536


def chunks_in(body: bytes) -> list[bytes]:
    """Return the chunks of the chat completion in `body`. Raises `NotAnEventStreamError`, `ErrorEventError`."""
    excess = excess_in(body)
    if excess is not None:
        raise NotAnEventStreamError(f"the upstream's answer cannot be read: {excess}")
    try:
        value = loads(body)
    except MalformedEventError as error:
        raise NotAnEventStreamError("the upstream answered with neither a stream nor JSON") from error
    reported = in_band_error("message", value)
    if reported is not None:
        raise reported
    if not isinstance(value, dict):
        raise _no_completion()
    choices = value.get("choices")
    if not choices and (words := reason_in(value)):
        raise ErrorEventError(words[:_MAX_MESSAGE], error=value)
    if not isinstance(choices, list) or not choices or not all(_is_finished(choice) for choice in choices):
        raise _no_completion()
    return chunks_of(value)


def _is_finished(choice: Any) -> bool:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        return False
    calls = message.get("tool_calls") or []
    return isinstance(calls, list) and all(isinstance(call, dict) for call in calls)


def _no_completion() -> NotAnEventStreamError:
    return NotAnEventStreamError("the upstream answered with JSON that is no chat completion")
