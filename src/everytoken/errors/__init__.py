"""The whole exception tree, and what each code means to an HTTP caller.

Everything this package raises on purpose is an `EverytokenError` with a stable kebab-case `code`. `TABLE` is the
one place where a code gets its HTTP status, its OpenAI error type and whether the same call may succeed later.
Errors are classified by status, code and type, never by message text.
"""

from __future__ import annotations

from everytoken.errors.base import (
    CancelledError,
    ConfigurationError,
    EverytokenError,
    OverloadedError,
    RateLimitedError,
)
from everytoken.errors.journal import (
    ContentTypeMismatchError,
    FencedError,
    JournalError,
    JournalFullError,
    JournalUnavailableError,
    NotStorableError,
    OffsetExpiredError,
    OffsetInvalidError,
    ProducerGapError,
    ProducerStaleError,
    QuotaExceededError,
    SequenceConflictError,
    StreamClosedError,
    StreamExistsError,
    StreamFullError,
    StreamNotFoundError,
)
from everytoken.errors.protocol import (
    AuthenticationError,
    EventTooLargeError,
    HeadTooLargeError,
    HostNotAllowedError,
    IdempotencyConflictError,
    InvalidRequestError,
    LocalProtocolError,
    MalformedEventError,
    MediaTypeError,
    MethodNotAllowedError,
    ModelNotFoundError,
    NotAnEventStreamError,
    NotImplementedHereError,
    OriginNotAllowedError,
    ProtocolError,
    RemoteProtocolError,
    RequestTimeoutError,
    RequestTooLargeError,
    RouteNotFoundError,
    UrlTooLongError,
)
from everytoken.errors.shown import error_body, one_line
from everytoken.errors.table import TABLE, ErrorInfo
from everytoken.errors.upstream import (
    ConnectError,
    DivergedError,
    ErrorEventError,
    NodeLostError,
    NotContinuableError,
    RecoveryExhaustedError,
    ResponseTooLargeError,
    ResponseTooLongError,
    StalledError,
    StatusError,
    TruncatedError,
    UpstreamError,
    UpstreamUnavailableError,
)

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
    "RateLimitedError",
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

# Tracebacks and logs name an error by where it is imported from, not by the file it stands in.
for _name in __all__:
    if isinstance(_kind := globals()[_name], type):
        _kind.__module__ = __name__
