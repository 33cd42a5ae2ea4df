"""Errors inside a stream that began with 200, in every shape in the field.

OpenAI and most: `{"error": {...}}`. vLLM: `{"object": "error", "message", ...}`. Responses API: `{"type": "error"}`.
Anthropic and others: an event named `error`. OpenRouter: also an error in the choice. FastAPI servers: `{"detail"}`.
DashScope: `{"code", "message"}`, others `{"code", "msg"}`. Cloudflare: `{"errors": [...]}`. Gemini: a list.
MiniMax: `base_resp` with a status. Baidu: `error_msg`. Spark: `header` with a code. Tencent: `{"Response": {"Error"}}`.
"""

from __future__ import annotations

from typing import Any, Final

from everytoken.dialects.openai_chat.statuses import status_of
from everytoken.errors import ErrorEventError
from everytoken.errors.reason import reason_in
from everytoken.json import join_surrogates

__all__ = ["FAILED_REASONS", "in_band_error"]

FAILED_REASONS: Final = frozenset({"error", "abort", "insufficient_system_resource"})
"""Values of `finish_reason` by which a server says that it broke off (OpenRouter; vLLM and SGLang; DeepSeek)."""

_MAX_MESSAGE: Final = 65_536
_ERROR_TEXTS: Final = (
    "detail",
    "error_msg",
    "error_message",
    "errorMsg",
    "errorMessage",
    "error_description",
)
_TEXTS: Final = ("message", "msg", "Message", "status_msg")
_CODES: Final = ("code", "Code", "error_code", "errorCode", "status_code", "statusCode")
_SUCCESS: Final = frozenset({"", "0", "200", "20000", "ok", "success", "none", "null", "true"})
_FAILURE: Final = frozenset({"error", "fail", "failed", "failure"})


def in_band_error(name: str, value: Any) -> ErrorEventError | None:
    """Return the error in an event called `name` with the parsed data `value`, or None when there is none."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        error = _find(value[0])
    else:
        error = _find(value) if isinstance(value, dict) else None
    if error is None:
        if name != "error":
            return None
        error = value
    return ErrorEventError(_message(error)[:_MAX_MESSAGE], error=error, upstream_status=status_of(error))


def _find(value: dict[str, Any]) -> Any:
    """Return the error object in `value`, which may be `value` itself, or None."""
    if error := value.get("error") or value.get("errors"):
        return error
    if value.get("object") == "error" or value.get("type") == "error":
        return value
    for holder in ("base_resp", "header"):
        inner = value.get(holder)
        if isinstance(inner, dict) and _has_failed(inner):
            return inner
    choices = value.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and choice.get("error"):
                return choice["error"]
    # What has choices is a chunk, or a response, whatever stands beside them.
    return None if choices else _find_bare(value)


def _find_bare(value: dict[str, Any]) -> Any:
    """Return the error in what has no choices; these keys are what error bodies are made of."""
    response = value.get("Response")
    if isinstance(response, dict) and response.get("Error"):
        return response["Error"]
    if value.get("choices") is None and any(value.get(name) for name in _ERROR_TEXTS):
        return value
    failed = value.get("success") is False or any(
        str(value.get(name)).lower() in _FAILURE for name in ("status", "event")
    )
    if (failed or _has_failed(value)) and any(value.get(name) for name in _TEXTS):
        return value
    return None


def _has_failed(value: dict[str, Any]) -> bool:
    """Whether an object has a code that is not that of a success."""
    codes = [value[name] for name in _CODES if isinstance(value.get(name), (str, int))]
    return any(str(code).lower() not in _SUCCESS for code in codes)


def _message(error: Any) -> str:
    """Return the human part of an error, whatever its shape."""
    words: Any = reason_in(error)
    while not words and isinstance(error, (dict, list)) and error:
        inner = (
            error[0]
            if isinstance(error, list)
            else error.get("error") or error.get("code") or error.get("type")
        )
        words, error = (None, inner) if isinstance(inner, (dict, list)) else (inner, None)
    return join_surrogates(str(words)) if words else "the upstream reported an error without a message"
