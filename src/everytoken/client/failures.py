"""Translates the HTTP client's errors to ours, and ours to the HTTP client's."""

from __future__ import annotations

import httpx2

from everytoken.errors import (
    ConnectError,
    EverytokenError,
    NotContinuableError,
    RecoveryExhaustedError,
    StalledError,
    TruncatedError,
)

__all__ = ["CALLERS_FAULT", "as_ours", "as_theirs"]

CALLERS_FAULT = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)
"""Errors that no later attempt can repair: they are raised as they are."""

_NO_CONNECTION = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)


def as_ours(error: httpx2.TransportError, *, begun: bool) -> EverytokenError:
    """Return what `error` means for an attempt; `begun`: the head of its response has been received."""
    reason = _reason(error)
    ours: EverytokenError
    if begun:
        ours = TruncatedError(f"the connection broke in the middle of the response: {reason}")
    elif isinstance(error, _NO_CONNECTION):
        ours = ConnectError(f"no connection to the upstream: {reason}")
    else:
        ours = ConnectError(f"the connection broke before the response began: {reason}")
    ours.__cause__ = error
    return ours


def as_theirs(error: EverytokenError, request: httpx2.Request) -> httpx2.TransportError:
    """Return what an HTTP client would raise instead of `error`, which becomes its cause."""
    raised = _class_for(error)(error.message, request=request)
    raised.__cause__ = error
    return raised


def _class_for(error: EverytokenError) -> type[httpx2.TransportError]:
    last: BaseException | None = error
    if isinstance(error, RecoveryExhaustedError) and error.attempts:
        last = error.attempts[-1]
    elif isinstance(error, NotContinuableError):
        last = error.__cause__
    if isinstance(last, StalledError):
        return httpx2.ConnectTimeout if last.phase == "connect" else httpx2.ReadTimeout
    if last is not None and isinstance(last.__cause__, httpx2.TransportError):
        return type(last.__cause__)
    return httpx2.ConnectError if isinstance(last, ConnectError) else httpx2.RemoteProtocolError


def _reason(error: Exception) -> str:
    """Return the operating system's message if it is the cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
