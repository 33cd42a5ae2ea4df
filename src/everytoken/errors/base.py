"""The root of all errors, and those that belong to no part in particular."""

from __future__ import annotations

from typing import ClassVar

from everytoken.errors.table import TABLE, ErrorInfo

__all__ = [
    "CancelledError",
    "ConfigurationError",
    "EverytokenError",
    "OverloadedError",
    "RateLimitedError",
]


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


class OverloadedError(EverytokenError):
    """This node takes no more requests now; `retry_after`: seconds to wait, None if unknown."""

    code = "overloaded"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateLimitedError(EverytokenError):
    """The caller has asked too often, or for too much at once; `retry_after`: seconds to wait, None if unknown."""

    code = "rate-limited"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class CancelledError(EverytokenError):
    """The response was stopped by somebody entitled to (not `asyncio.CancelledError`)."""

    code = "cancelled"
