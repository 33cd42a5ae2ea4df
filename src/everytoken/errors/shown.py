"""What others get to see of an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everytoken.errors.base import EverytokenError

__all__ = ["error_body", "one_line"]


def one_line(text: str) -> str:
    """Return `text`, which may quote an upstream, as one line: nothing in it for a log or a terminal to obey."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def error_body(error: EverytokenError) -> dict[str, Any]:
    """Return the OpenAI error object for `error`: `{"error": {"message", "type", "param", "code"}}`."""
    return {
        "error": {
            "message": error.message,
            "type": error.info.type,
            "param": error.param,
            "code": error.code,
        }
    }
