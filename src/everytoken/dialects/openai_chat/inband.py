"""Errors inside a stream that began with 200, in every shape in the field.

OpenAI and most: `{"error": {...}}`. vLLM: `{"object": "error", "message", ...}`. Responses API: `{"type": "error"}`.
Anthropic and others: an event named `error`. OpenRouter: also an error in the choice. FastAPI servers: `{"detail"}`.
DashScope: `{"code", "message"}`. Cloudflare: `{"errors": [...]}`.
"""

from __future__ import annotations

from typing import Any, Final

from everytoken.errors import ErrorEventError
from everytoken.json import join_surrogates

__all__ = ["FAILED_REASONS", "in_band_error"]

FAILED_REASONS: Final = frozenset({"error", "abort", "insufficient_system_resource"})
"""Values of `finish_reason` by which a server says that it broke off (OpenRouter; vLLM and SGLang; DeepSeek)."""

_MAX_MESSAGE: Final = 65_536


def in_band_error(name: str, value: Any) -> ErrorEventError | None:
    """Return the error in an event called `name` with the parsed data `value`, or None when there is none."""
    error = _find(value) if isinstance(value, dict) else None
    if error is None:
        if name != "error":
            return None
        error = value
    return ErrorEventError(_message(error)[:_MAX_MESSAGE], error=error)


def _find(value: dict[str, Any]) -> Any:
    """Return the error object in `value`, which may be `value` itself, or None."""
    if error := value.get("error") or value.get("errors"):
        return error
    if value.get("object") == "error" or value.get("type") == "error":
        return value
    choices = value.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and choice.get("error"):
                return choice["error"]
    # What has no choices is no chunk, and these keys are what error bodies are made of.
    if choices is None and (value.get("detail") or (value.get("message") and value.get("code"))):
        return value
    return None


def _message(error: Any) -> str:
    """Return the human part of an error, whatever its shape."""
    while isinstance(error, (dict, list)):
        if not error:
            break
        if isinstance(error, list):
            error = error[0]
            continue
        error = error.get("message") or error.get("error") or error.get("detail") or error.get("code")
    return join_surrogates(str(error)) if error else "the upstream reported an error without a message"
