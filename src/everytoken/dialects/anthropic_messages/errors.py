"""Errors in Anthropic's shape: `{"type": "error", "error": {"type", "message"}}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["error_of"]

_BY_STATUS: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    499: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_TYPES: Final = frozenset({*_BY_STATUS.values(), "invalid_request_error", "api_error"})


def error_of(body: Mapping[str, Any], status: int | None = None) -> dict[str, Any]:
    """Return an error object as Anthropic's SDKs read it.

    `body`: the same in OpenAI's shape, or in this one already. `status`: what it is answered with, None where it comes in a
    stream; there the code tells. What more there is of it stands behind the message.
    """
    if body.get("type") == "error":
        return dict(body)
    told = body.get("error")
    told = told if isinstance(told, dict) else {"message": str(told)}
    rest = {
        name: value for name, value in told.items() if name not in {"type", "message"} and value is not None
    }
    return {
        "type": "error",
        "error": {"type": _type_of(told, status), "message": str(told.get("message") or ""), **rest},
    }


def _type_of(told: Mapping[str, Any], status: int | None) -> str:
    if status is None:
        if told.get("type") in _TYPES:
            return str(told["type"])
        row = TABLE.get(str(told.get("code")))
        status = row.status if row is not None else 500
    return _BY_STATUS.get(status) or ("invalid_request_error" if 400 <= status < 500 else "api_error")
