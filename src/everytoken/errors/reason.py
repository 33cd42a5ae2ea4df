"""The words in an error's JSON, in whatever field a server puts them."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["reason_in"]

# The most telling first. Where there is none, what holds errors is searched.
_WORDS: Final = (
    *(
        "message",
        "Message",
        "msg",
        "Msg",
        "error_msg",
        "error_message",
        "errorMsg",
        "errorMessage",
        "ErrorMessage",
    ),
    *("status_msg", "error_description", "detail", "details", "reason", "title"),
)
_HOLDERS: Final = ("error", "Error", "errors", "Errors", "base_resp", "header", "Response", "response")
_MAX_DEPTH: Final = 12
_MAX_REASONS: Final = 4  # of a list


def reason_in(value: Any, *, depth: int = 0) -> str | None:
    """Return what an error in JSON says, None if it says nothing.

    Of a list what its first items say; of FastAPI's `detail` each with the field that it is about.
    """
    if isinstance(value, str):
        return value.strip() or None
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, list):
        reasons = [reason_in(item, depth=depth + 1) for item in value[:_MAX_REASONS]]
        return "; ".join(reason for reason in reasons if reason) or None
    if not isinstance(value, dict):
        return None
    for name in (*_WORDS, *_HOLDERS):
        item = value.get(name)
        reason = reason_in(item, depth=depth + 1) if item else None
        if reason:
            return _located(value.get("loc"), reason)
    return None


def _located(place: Any, reason: str) -> str:
    if not isinstance(place, list) or not all(isinstance(part, (str, int)) for part in place):
        return reason
    where = ".".join(str(part) for part in place if part != "body")
    return f"{where}: {reason}" if where else reason
