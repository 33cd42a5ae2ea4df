"""What a response ends with: why it cannot be continued, the error of all attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.errors import (
    ConnectError,
    ErrorEventError,
    EverytokenError,
    NotContinuableError,
    RecoveryExhaustedError,
    StalledError,
    StatusError,
)
from everytoken.json.bounds import storable
from everytoken.recovery.transitions import State
from everytoken.redaction import redact_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.dialects.dialect import Request
    from everytoken.recovery.attempt import Attempt
    from everytoken.recovery.transcript import Transcript

__all__ = ["exhausted", "make_presentable", "not_continuable", "stalled"]

_MAX_MESSAGE = 500  # characters of what an upstream says inside a stream


def not_continuable(
    cause: EverytokenError, request: Request, transcript: Transcript
) -> NotContinuableError | None:
    """Return the error of a response that `cause` interrupted, if what was delivered cannot be continued."""
    reason = _obstacle(request, transcript)
    if reason is None:
        return None
    error = NotContinuableError(f"{cause.message}; {reason}")
    error.__cause__ = cause
    return error


def _obstacle(request: Request, transcript: Transcript) -> str | None:
    if request.obstacle is not None:
        return request.obstacle
    if transcript.long:
        return "it is too long to be compared with another attempt"
    if transcript.obstacle is not None:
        return transcript.obstacle
    if transcript.halved or not _is_unicode(transcript.text):
        return "it was cut inside a character"
    return None


def _is_unicode(text: str) -> bool:
    """Whether a text can be sent on: it holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def exhausted(attempts: Sequence[Attempt], refusal: EverytokenError | None = None) -> EverytokenError:
    """Return the error of a response for which nothing is left to try: the only cause, or all of them.

    `refusal`: why upstreams could not be asked, which is the cause where none was.
    """
    causes = [attempt.cause for attempt in attempts if attempt.cause is not None]
    if not causes:
        return refusal or ConnectError("there is no upstream to ask")
    # When all of them were refusals of the same kind, such as 429, the caller's client knows what to do.
    refusals = (StatusError, ErrorEventError)
    if len(causes) == 1 or all(isinstance(cause, refusals) and cause.status < 500 for cause in causes):
        return causes[-1]
    message = f"{len(causes)} attempts failed; the first: {causes[0].message}; the last: {causes[-1].message}"
    error = RecoveryExhaustedError(message, attempts=causes)
    error.__cause__ = causes[0]
    return error


def stalled(state: State, last_bytes: float | None, now: float) -> StalledError:
    """Return the error of an attempt whose deadline has passed; `last_bytes`: when it sent its last, None if nothing."""
    if state is State.CONNECTING:
        return StalledError("no connection within the limit", phase="connect")
    streaming = state is State.STREAMING
    heard = (
        "it sent nothing at all" if last_bytes is None else f"its last byte came {now - last_bytes:.1f} s ago"
    )
    return StalledError(
        f"no {'further ' if streaming else ''}content within the limit ({heard})",
        phase="gap" if streaming else "first-content",
    )


def make_presentable(error: EverytokenError, redact: Callable[[str], str]) -> None:
    """Take secrets out of an upstream's words, and make them short enough to be shown and stored."""
    redact_error(error, redact)
    error.message = storable(error.message)
    if isinstance(error, ErrorEventError):
        error.message = error.message[:_MAX_MESSAGE]  # not before: half a secret would be none
        error.args = (error.message,)
