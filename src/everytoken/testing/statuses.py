"""Faults that are a status: some are worth another attempt, some are a refusal that is passed on."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Literal

from everytoken.testing.fault import Fault, Kind
from everytoken.testing.plan import to_json
from everytoken.testing.steps import Status, Step

if TYPE_CHECKING:
    from everytoken.testing.plan import Plan, Position

__all__ = ["ALL"]

_RETRY_AFTER_SECONDS = 2
_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def _json_status(code: int, kind: Kind, retry_after: Literal["seconds", "date"] | None = None) -> Fault:
    """Return an error status as model servers send it."""
    name = _ERROR_TYPES.get(code, "invalid_request_error")
    told_error = {"error": {"message": f"scripted {code}", "type": name, "param": None, "code": None}}
    suffix = f"-{retry_after}" if retry_after else ""
    told = {
        None: "with an error object" if code != 429 else "without Retry-After",
        "seconds": "with Retry-After in seconds",
        "date": "with Retry-After as a date",
    }

    def build(plan: Plan, _position: Position) -> list[Step]:
        after: float | str | None = None
        if retry_after == "seconds":
            after = _RETRY_AFTER_SECONDS
        elif retry_after == "date":
            after = formatdate(plan.now + _RETRY_AFTER_SECONDS, usegmt=True)
        return [Status(code, after, to_json({**plan.error_frame, **told_error}).encode())]

    return Fault(f"status-{code}{suffix}", kind, f"{code} {told[retry_after]}.", build)


def _html_status(code: int) -> Fault:
    """Return an error status as proxies send it."""
    body = f"<!doctype html><title>{code}</title><h1>Scripted {code}</h1>\n".encode()

    def build(_plan: Plan, _position: Position) -> list[Step]:
        return [Status(code, body=body, content_type="text/html")]

    return Fault(f"status-{code}", Kind.BROKEN, f"{code} with a page of HTML.", build)


def _redirect(code: int, location: str, description: str) -> Fault:
    """Return a redirect; "" for the location means the path that was asked."""

    def build(plan: Plan, _position: Position) -> list[Step]:
        return [Status(code, headers=(("Location", location or plan.path),))]

    return Fault(f"redirect-{code}", Kind.BROKEN, description, build)


ALL = [
    _json_status(429, Kind.BROKEN),
    _json_status(429, Kind.BROKEN, "seconds"),
    _json_status(429, Kind.BROKEN, "date"),
    *(_html_status(code) for code in (500, 502, 503)),
    _redirect(302, "/elsewhere", "302 to another path."),
    _redirect(307, "", "307 to the same address."),
    *(_json_status(code, Kind.REFUSED) for code in (400, 401, 403, 404, 422)),
]
