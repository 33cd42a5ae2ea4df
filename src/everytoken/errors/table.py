"""What each code means to an HTTP caller: the one place where a code gets its status and type."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TABLE", "ErrorInfo"]


class ErrorInfo(NamedTuple):
    """What one code means: HTTP status, the `type` of the OpenAI error object, and whether to try again."""

    status: int
    type: str
    retryable: bool


TABLE: dict[str, ErrorInfo] = {
    "internal-error": ErrorInfo(500, "server_error", retryable=False),
    "configuration-invalid": ErrorInfo(500, "server_error", retryable=False),
    # our caller's fault
    "protocol-error": ErrorInfo(400, "invalid_request_error", retryable=False),
    "invalid-request": ErrorInfo(400, "invalid_request_error", retryable=False),
    "authentication-failed": ErrorInfo(401, "authentication_error", retryable=False),
    "not-allowed": ErrorInfo(403, "permission_error", retryable=False),
    "key-not-found": ErrorInfo(404, "invalid_request_error", retryable=False),
    "origin-not-allowed": ErrorInfo(403, "permission_error", retryable=False),
    "host-not-allowed": ErrorInfo(421, "invalid_request_error", retryable=False),
    "media-type-not-supported": ErrorInfo(415, "invalid_request_error", retryable=False),
    "route-not-found": ErrorInfo(404, "invalid_request_error", retryable=False),
    "model-not-found": ErrorInfo(404, "invalid_request_error", retryable=False),
    "method-not-allowed": ErrorInfo(405, "invalid_request_error", retryable=False),
    "request-too-large": ErrorInfo(413, "invalid_request_error", retryable=False),
    "request-timeout": ErrorInfo(408, "invalid_request_error", retryable=True),
    "url-too-long": ErrorInfo(414, "invalid_request_error", retryable=False),
    "head-too-large": ErrorInfo(431, "invalid_request_error", retryable=False),
    "not-implemented": ErrorInfo(501, "invalid_request_error", retryable=False),
    "idempotency-conflict": ErrorInfo(422, "invalid_request_error", retryable=False),
    "overloaded": ErrorInfo(503, "server_error", retryable=True),
    "rate-limited": ErrorInfo(429, "rate_limit_error", retryable=True),
    # the peer's fault
    "remote-protocol-error": ErrorInfo(502, "upstream_error", retryable=True),
    "not-an-event-stream": ErrorInfo(502, "upstream_error", retryable=True),
    "malformed-event": ErrorInfo(502, "upstream_error", retryable=True),
    "event-too-large": ErrorInfo(502, "upstream_error", retryable=False),
    # an upstream's fault
    "upstream-error": ErrorInfo(502, "upstream_error", retryable=True),
    "upstream-unavailable": ErrorInfo(503, "upstream_error", retryable=True),
    "upstream-connect": ErrorInfo(502, "upstream_error", retryable=True),
    "upstream-status": ErrorInfo(502, "upstream_error", retryable=True),
    "upstream-error-event": ErrorInfo(502, "upstream_error", retryable=True),
    "upstream-truncated": ErrorInfo(502, "upstream_error", retryable=True),
    "upstream-diverged": ErrorInfo(502, "upstream_error", retryable=True),
    "upstream-untranslatable": ErrorInfo(502, "upstream_error", retryable=False),
    "upstream-stalled-connect": ErrorInfo(504, "upstream_error", retryable=True),
    "upstream-stalled-first-content": ErrorInfo(504, "upstream_error", retryable=True),
    "upstream-stalled-gap": ErrorInfo(504, "upstream_error", retryable=True),
    "node-lost": ErrorInfo(502, "upstream_error", retryable=True),
    "not-continuable": ErrorInfo(502, "upstream_error", retryable=True),
    "recovery-exhausted": ErrorInfo(502, "upstream_error", retryable=True),
    "response-too-large": ErrorInfo(502, "upstream_error", retryable=False),
    "response-too-long": ErrorInfo(504, "upstream_error", retryable=False),
    # the end somebody asked for
    "cancelled": ErrorInfo(499, "cancelled", retryable=False),
    # the journal
    "journal-error": ErrorInfo(500, "server_error", retryable=False),
    "not-storable": ErrorInfo(500, "server_error", retryable=False),
    "stream-full": ErrorInfo(413, "invalid_request_error", retryable=False),
    "quota-exceeded": ErrorInfo(429, "rate_limit_error", retryable=False),
    "journal-full": ErrorInfo(507, "server_error", retryable=True),
    "stream-not-found": ErrorInfo(404, "invalid_request_error", retryable=False),
    "stream-exists": ErrorInfo(409, "invalid_request_error", retryable=False),
    "stream-closed": ErrorInfo(409, "invalid_request_error", retryable=False),
    "content-type-mismatch": ErrorInfo(409, "invalid_request_error", retryable=False),
    "sequence-conflict": ErrorInfo(409, "invalid_request_error", retryable=False),
    "producer-gap": ErrorInfo(409, "invalid_request_error", retryable=False),
    "producer-stale": ErrorInfo(403, "invalid_request_error", retryable=False),
    "offset-expired": ErrorInfo(410, "invalid_request_error", retryable=False),
    "offset-invalid": ErrorInfo(400, "invalid_request_error", retryable=False),
    "fenced": ErrorInfo(409, "server_error", retryable=False),
    "journal-unavailable": ErrorInfo(503, "server_error", retryable=True),
}
