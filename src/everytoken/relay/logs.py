"""What the log says of responses."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import CancelledError, error_body, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.journal import StreamInfo
    from everytoken.recovery import Recovery
    from everytoken.recovery.attempt import Attempt

__all__ = ["ENDS", "log_attempt", "log_end", "name_of", "result_of"]

ENDS: Final = "everytoken.relay.ends"
"""The logger that says how responses have ended. Disabled, nothing is spent on it."""

logger = logging.getLogger("everytoken.relay")
_ends = logging.getLogger(ENDS)

_MAX_MODEL = 100  # characters of a model's name, which callers choose
_MAX_LOGGED = 500  # characters of a message, which may be an upstream's whole error page


def name_of(info: StreamInfo) -> str:
    """Return what a response is called in the log: its stream, and the request it answers."""
    request_id = info.meta.get("request_id")
    return f"response {info.id} (request {request_id})" if request_id else f"response {info.id}"


def log_attempt(info: StreamInfo, attempts: Sequence[Attempt]) -> None:
    """Log why there is another attempt, if there is one."""
    if len(attempts) < 2:
        return
    before, following = attempts[-2:]
    cause = before.cause
    if before.ended is None:
        why, beside = "is slow", " beside it"
    elif cause is not None:
        why, beside = f"failed: {one_line(cause.message)[:_MAX_LOGGED]} ({cause.code})", ""
    else:
        return
    logger.warning(
        "%s: attempt %d at %s %s%s; attempt %d%s: %s at %s from offset %d%s",
        name_of(info),
        before.number,
        before.upstream or "another process",
        why,
        _described(before),
        following.number,
        beside,
        following.strategy,
        following.upstream,
        following.offset,
        _mixes(following),
        extra={"stream_id": info.id, "attempt": before.describe(attempts[0].started)},
    )


def _described(attempt: Attempt) -> str:
    """Return the model of an attempt and its strategy, if they are known."""
    if not attempt.upstream:
        return ""
    return f" ({one_line(attempt.model)[:_MAX_MODEL]}, {attempt.strategy})"


def _mixes(attempt: Attempt) -> str:
    """Return that the attempt continues what another model has written, if it does."""
    written = one_line(attempt.continues)[:_MAX_MODEL]
    return f", behind text of another model ({written})" if written else ""


def result_of(recovery: Recovery) -> dict[str, Any]:
    """Return what a response's stream is closed with: the outcome, its error, the usage, and every attempt.

    All of it can be stored: what is an upstream's has been made so when its attempt ended.
    """
    origin = recovery.attempts[0].started if recovery.attempts else 0.0
    return {
        "outcome": recovery.outcome,
        **({} if recovery.error is None else error_body(recovery.error)),
        "usage": recovery.usage,
        "seed": recovery.seed,
        "attempts": [attempt.describe(origin) for attempt in recovery.attempts],
    }


def log_end(info: StreamInfo, recovery: Recovery, result: dict[str, Any], unread_for: float | None) -> None:
    """Log how a response has ended with a `result`; `unread_for`: after how many seconds without a reader, if that is why."""
    error = recovery.error
    level = logging.INFO if error is None or isinstance(error, CancelledError) else logging.WARNING
    if not _ends.isEnabledFor(level):
        return
    told = f"after {recovery.records} records"
    if recovery.attempts:
        last = recovery.attempts[-1]
        told = f"{told}, by attempt {last.number} at {last.upstream or 'another process'}{_described(last)}"
        mixed = next((attempt for attempt in reversed(recovery.attempts) if attempt.continues), None)
        if mixed is not None:
            told = f"{told}{_mixes(mixed)}"
    if error is not None and level == logging.WARNING:
        told = f"{told}: {one_line(error.message)[:_MAX_LOGGED]} ({error.code})"
    elif unread_for is not None:
        told = f"{told}: nobody read it for {unread_for:g} s"
    extra = {"stream_id": info.id, "result": result}
    _ends.log(level, "%s: %s %s", name_of(info), recovery.outcome, told, extra=extra)
