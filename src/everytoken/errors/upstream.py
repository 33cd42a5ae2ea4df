"""How an attempt, and a response made of attempts, can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.errors.base import EverytokenError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "ConnectError",
    "DivergedError",
    "ErrorEventError",
    "NodeLostError",
    "NotContinuableError",
    "RecoveryExhaustedError",
    "ResponseTooLargeError",
    "ResponseTooLongError",
    "StalledError",
    "StatusError",
    "TruncatedError",
    "UntranslatableError",
    "UpstreamError",
    "UpstreamUnavailableError",
]


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
    its `Retry-After` asks for, or None; `should_retry` what its `x-should-retry` says, or None. A 4xx is passed on to the
    caller as it is; a 5xx becomes 502.
    """

    code = "upstream-status"

    def __init__(
        self,
        message: str,
        *,
        upstream_status: int,
        body: bytes = b"",
        retry_after: float | None = None,
        should_retry: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.upstream_status = upstream_status
        self.body = body
        self.retry_after = retry_after
        self.should_retry = should_retry

    @property
    def status(self) -> int:
        """The upstream's own 4xx; 502 for everything else."""
        return self.upstream_status if 400 <= self.upstream_status < 500 else self.info.status

    @property
    def retryable(self) -> bool:
        """True for 408, 409, 425, 429 and every 5xx."""
        return self.upstream_status >= 500 or self.upstream_status in {408, 409, 425, 429}


class ErrorEventError(UpstreamError):
    """The upstream reported an error inside a 200 response; `error` is its object as sent.

    `upstream_status` is the HTTP status that it tells by a number or by the name of its kind, such as 400 for a
    content filter, or None. A 4xx is passed on to the caller; everything else becomes 502.
    """

    code = "upstream-error-event"

    def __init__(self, message: str, *, error: Any = None, upstream_status: int | None = None) -> None:
        super().__init__(message)
        self.error = error
        self.upstream_status = upstream_status

    @property
    def status(self) -> int:
        """The upstream's own 4xx; 502 for everything else."""
        told = self.upstream_status
        return told if told is not None and 400 <= told < 500 else self.info.status

    @property
    def retryable(self) -> bool:
        """False for a 4xx but 408, 409, 425 and 429."""
        return self.status >= 500 or self.status in {408, 409, 425, 429}


class TruncatedError(UpstreamError):
    """The bytes ended, or broke off, without the upstream's own end mark."""

    code = "upstream-truncated"


class DivergedError(UpstreamError):
    """A repeated answer differs from what was already delivered; it is never spliced."""

    code = "upstream-diverged"


class UntranslatableError(UpstreamError):
    """The answer has something that the caller's API cannot express; `param` names it in the upstream's API."""

    code = "upstream-untranslatable"


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
