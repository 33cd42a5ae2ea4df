"""Broken protocols: by our caller or by us, and by the peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.errors.base import EverytokenError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AuthenticationError",
    "EventTooLargeError",
    "HeadTooLargeError",
    "HostNotAllowedError",
    "IdempotencyConflictError",
    "InvalidRequestError",
    "KeyNotFoundError",
    "LocalProtocolError",
    "MalformedEventError",
    "MediaTypeError",
    "MethodNotAllowedError",
    "ModelNotFoundError",
    "NotAllowedError",
    "NotAnEventStreamError",
    "NotImplementedHereError",
    "OriginNotAllowedError",
    "ProtocolError",
    "RemoteProtocolError",
    "RequestTimeoutError",
    "RequestTooLargeError",
    "RouteNotFoundError",
    "UrlTooLongError",
]


class ProtocolError(EverytokenError):
    """Somebody broke a protocol: `LocalProtocolError` is us or our caller, `RemoteProtocolError` the peer."""

    code = "protocol-error"


class LocalProtocolError(ProtocolError):
    """We or our caller broke the protocol."""


class InvalidRequestError(LocalProtocolError):
    """The request cannot be understood; `param` names the part that is wrong."""

    code = "invalid-request"


class AuthenticationError(LocalProtocolError):
    """No API key, or one we do not know; `guessed`: one was given."""

    code = "authentication-failed"

    def __init__(self, message: str, *, guessed: bool = False) -> None:
        super().__init__(message)
        self.guessed = guessed


class NotAllowedError(LocalProtocolError):
    """The caller's API key is not for this API, or not for this model."""

    code = "not-allowed"


class KeyNotFoundError(LocalProtocolError):
    """There is no such API key to be administered."""

    code = "key-not-found"


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
