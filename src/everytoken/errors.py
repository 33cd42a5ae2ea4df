"""The whole exception tree, and what each code means to an HTTP caller.

Everything this package raises on purpose is an `EverytokenError` with a stable kebab-case `code`. `TABLE` is the
one place where a code gets its HTTP status, its OpenAI error type and whether the same call may succeed later.
Errors are classified by status, code and type, never by message text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "TABLE",
    "AuthenticationError",
    "CancelledError",
    "ConfigurationError",
    "ConnectError",
    "ContentTypeMismatchError",
    "DivergedError",
    "ErrorEventError",
    "ErrorInfo",
    "EventTooLargeError",
    "EverytokenError",
    "FencedError",
    "HeadTooLargeError",
    "HostNotAllowedError",
    "IdempotencyConflictError",
    "InvalidRequestError",
    "JournalError",
    "JournalFullError",
    "JournalUnavailableError",
    "LocalProtocolError",
    "MalformedEventError",
    "MediaTypeError",
    "MethodNotAllowedError",
    "ModelNotFoundError",
    "NodeLostError",
    "NotAnEventStreamError",
    "NotContinuableError",
    "NotImplementedHereError",
    "NotStorableError",
    "OffsetExpiredError",
    "OffsetInvalidError",
    "OriginNotAllowedError",
    "OverloadedError",
    "ProducerGapError",
    "ProducerStaleError",
    "ProtocolError",
    "QuotaExceededError",
    "RecoveryExhaustedError",
    "RemoteProtocolError",
    "RequestTimeoutError",
    "RequestTooLargeError",
    "ResponseTooLargeError",
    "ResponseTooLongError",
    "RouteNotFoundError",
    "SequenceConflictError",
    "StalledError",
    "StatusError",
    "StreamClosedError",
    "StreamExistsError",
    "StreamFullError",
    "StreamNotFoundError",
    "TruncatedError",
    "UpstreamError",
    "UpstreamUnavailableError",
    "UrlTooLongError",
    "error_body",
    "one_line",
]


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


class EverytokenError(Exception):
    """The root of everything this package raises on purpose."""

    code: ClassVar[str] = "internal-error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param

    @property
    def info(self) -> ErrorInfo:
        """The row of `TABLE` for this error."""
        return TABLE[self.code]

    @property
    def status(self) -> int:
        """The HTTP status this error is answered with."""
        return self.info.status

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.info.retryable


class ConfigurationError(EverytokenError):
    """The configuration cannot be used; the message names the setting."""

    code = "configuration-invalid"


class ProtocolError(EverytokenError):
    """Somebody broke a protocol: `LocalProtocolError` is us or our caller, `RemoteProtocolError` the peer."""

    code = "protocol-error"


class LocalProtocolError(ProtocolError):
    """We or our caller broke the protocol."""


class InvalidRequestError(LocalProtocolError):
    """The request cannot be understood; `param` names the part that is wrong."""

    code = "invalid-request"


class AuthenticationError(LocalProtocolError):
    """No API key, or one we do not know."""

    code = "authentication-failed"


class OriginNotAllowedError(LocalProtocolError):
    """A web page of another origin, which `origins` does not list."""

    code = "origin-not-allowed"


class HostNotAllowedError(LocalProtocolError):
    """A gateway on loopback was addressed by a name that is not its own."""

    code = "host-not-allowed"


class MediaTypeError(LocalProtocolError):
    """The body is not said to be JSON."""

    code = "media-type-not-supported"


class RouteNotFoundError(LocalProtocolError):
    """There is nothing at this path."""

    code = "route-not-found"


class ModelNotFoundError(LocalProtocolError):
    """No upstream serves this model."""

    code = "model-not-found"


class MethodNotAllowedError(LocalProtocolError):
    """The path exists, the method does not; `allow` lists the methods that do."""

    code = "method-not-allowed"

    def __init__(self, message: str, *, allow: Sequence[str]) -> None:
        super().__init__(message)
        self.allow = tuple(allow)


class RequestTooLargeError(LocalProtocolError):
    """The request body is over the limit."""

    code = "request-too-large"


class RequestTimeoutError(LocalProtocolError):
    """The request did not come in time."""

    code = "request-timeout"


class UrlTooLongError(LocalProtocolError):
    """The URL is over the limit."""

    code = "url-too-long"


class HeadTooLargeError(LocalProtocolError):
    """The request's headers are over the limit."""

    code = "head-too-large"


class NotImplementedHereError(LocalProtocolError):
    """The request needs a part of HTTP that is not supported."""

    code = "not-implemented"


class IdempotencyConflictError(LocalProtocolError):
    """An `Idempotency-Key` came back with another body."""

    code = "idempotency-conflict"


class OverloadedError(EverytokenError):
    """This node takes no more requests now."""

    code = "overloaded"


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol."""

    code = "remote-protocol-error"


class NotAnEventStreamError(RemoteProtocolError):
    """A streamed request was answered with something else than an event stream."""

    code = "not-an-event-stream"


class MalformedEventError(RemoteProtocolError):
    """An event's data is not what the protocol says."""

    code = "malformed-event"


class EventTooLargeError(RemoteProtocolError):
    """A line or an event is over its limit.

    `events` holds what had become complete in the same read, so that nothing good is lost with it.
    """

    code = "event-too-large"

    def __init__(self, message: str, *, events: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.events = tuple(events)


class UpstreamError(EverytokenError):
    """An upstream failed an attempt."""

    code = "upstream-error"


class UpstreamUnavailableError(UpstreamError):
    """No upstream can be tried now: all that serve this model are set aside."""

    code = "upstream-unavailable"


class ConnectError(UpstreamError):
    """No connection, or it broke before the response began."""

    code = "upstream-connect"


class StatusError(UpstreamError):
    """The upstream answered with a status that is not a success.

    `upstream_status` is its HTTP status, `body` its error body as bytes (cut at a limit), `retry_after` the seconds
    its `Retry-After` asks for, or None. A 4xx is passed on to the caller as it is; a 5xx becomes 502.
    """

    code = "upstream-status"

    def __init__(
        self, message: str, *, upstream_status: int, body: bytes = b"", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.upstream_status = upstream_status
        self.body = body
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The upstream's own 4xx; 502 for everything else."""
        return self.upstream_status if 400 <= self.upstream_status < 500 else self.info.status

    @property
    def retryable(self) -> bool:
        """True for 408, 409, 425, 429 and every 5xx."""
        return self.upstream_status >= 500 or self.upstream_status in {408, 409, 425, 429}


class ErrorEventError(UpstreamError):
    """The upstream reported an error inside a 200 response; `error` is its object as sent."""

    code = "upstream-error-event"

    def __init__(self, message: str, *, error: Any = None) -> None:
        super().__init__(message)
        self.error = error


class TruncatedError(UpstreamError):
    """The bytes ended, or broke off, without the upstream's own end mark."""

    code = "upstream-truncated"


class DivergedError(UpstreamError):
    """A repeated answer differs from what was already delivered; it is never spliced."""

    code = "upstream-diverged"


class StalledError(UpstreamError):
    """Connected, but nothing (or no content) for too long; `phase` is connect, first-content or gap."""

    def __init__(self, message: str, *, phase: str) -> None:
        super().__init__(message)
        self.phase = phase
        self.code = f"upstream-stalled-{phase}"  # type: ignore[misc]  # one class, three rows of the table


class NodeLostError(UpstreamError):
    """The process that wrote the response is gone; another one continues it."""

    code = "node-lost"


class NotContinuableError(UpstreamError):
    """What was cut cannot be continued faithfully (half a tool call, logprobs, several choices)."""

    code = "not-continuable"


class RecoveryExhaustedError(UpstreamError):
    """Every allowed attempt failed; `attempts` holds their causes in order."""

    code = "recovery-exhausted"

    def __init__(self, message: str, *, attempts: Sequence[EverytokenError] = ()) -> None:
        super().__init__(message)
        self.attempts = tuple(attempts)


class ResponseTooLargeError(UpstreamError):
    """The upstream has sent more than `max_response` bytes."""

    code = "response-too-large"


class ResponseTooLongError(UpstreamError):
    """The response has taken longer than `max_duration` seconds."""

    code = "response-too-long"


class CancelledError(EverytokenError):
    """The response was stopped by somebody entitled to (not `asyncio.CancelledError`)."""

    code = "cancelled"


class JournalError(EverytokenError):
    """The journal refused."""

    code = "journal-error"


class NotStorableError(JournalError):
    """Storing this failed, and would fail again; only this stream is affected."""

    code = "not-storable"


class StreamFullError(JournalError):
    """The stream has as many bytes or producers as it may have."""

    code = "stream-full"


class QuotaExceededError(JournalError):
    """The streams of this key take all that they may take."""

    code = "quota-exceeded"


class JournalFullError(JournalError):
    """Open streams and responses take all the room of the journal (`max_journal`), or streams their half of it."""

    code = "journal-full"


class StreamNotFoundError(JournalError):
    """No such stream, or not yours."""

    code = "stream-not-found"


class StreamExistsError(JournalError):
    """The stream exists with another configuration."""

    code = "stream-exists"


class StreamClosedError(JournalError):
    """The stream has ended; nothing can be appended."""

    code = "stream-closed"


class ContentTypeMismatchError(JournalError):
    """The append's content type is not the stream's."""

    code = "content-type-mismatch"


class SequenceConflictError(JournalError):
    """The append's sequence does not come after the last one."""

    code = "sequence-conflict"


class ProducerGapError(JournalError):
    """An idempotent producer left numbers out; `expected` is the one that is due, `received` the one that came."""

    code = "producer-gap"

    def __init__(self, message: str, *, expected: int, received: int) -> None:
        super().__init__(message)
        self.expected = expected
        self.received = received


class ProducerStaleError(JournalError):
    """An idempotent producer with a higher epoch has taken over; `epoch` is that one's."""

    code = "producer-stale"

    def __init__(self, message: str, *, epoch: int) -> None:
        super().__init__(message)
        self.epoch = epoch


class OffsetExpiredError(StreamNotFoundError):
    """Old, and no longer kept: neither the records at this offset nor the stream."""

    code = "offset-expired"


class OffsetInvalidError(JournalError):
    """Not an offset of this stream: malformed, or past its tail."""

    code = "offset-invalid"


class FencedError(JournalError):
    """A writer with a higher epoch has taken over."""

    code = "fenced"


class JournalUnavailableError(JournalError):
    """The journal cannot be reached or cannot store; nothing was acknowledged."""

    code = "journal-unavailable"


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
