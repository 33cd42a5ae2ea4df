"""One log line for refused calls: who was refused and why, at most one a second of each kind."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from everytoken.errors import one_line
from everytoken.observer import Observers, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.errors import EverytokenError
    from everytoken.gateway.http import Request

__all__ = ["Refusals"]

logger = logging.getLogger("everytoken.gateway")

STATUSES = frozenset({401, 403, 404, 405, 413, 415, 421, 422, 429})
_EVERY = 1.0  # seconds between two lines of a kind
_MAX_LOGGED = 200  # characters of what the caller has chosen


class Refusals:
    """Counts refusals, and tells `observers` of each; `now` is in seconds from any steady origin."""

    def __init__(self, now: Callable[[], float], observers: Observers | None = None) -> None:
        self._now = now
        self._observers = Observers() if observers is None else observers
        self._last: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def note(self, request: Request, error: EverytokenError) -> None:
        """Log a refusal, or count it for the next line."""
        if self._observers:
            self._observers.tell(
                Refused(
                    at=time.time(),
                    request_id=request.id,
                    code=error.code,
                    status=error.status,
                    path=request.path[:_MAX_LOGGED],
                )
            )
        if error.status not in STATUSES or not logger.isEnabledFor(logging.WARNING):
            return
        kind = error.code  # one of a table: callers cannot make this grow
        now = self._now()
        if now - self._last.get(kind, -_EVERY) < _EVERY:
            self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
            return
        self._last[kind] = now
        more = self._unsaid.pop(kind, 0)
        client = request.scope.get("client")
        logger.warning(
            "refused %s %s from %s with %d: %s (%s, request %s)%s",
            request.method,
            one_line(request.path)[:_MAX_LOGGED],
            client[0] if client else "an unknown address",
            error.status,
            one_line(error.message)[:_MAX_LOGGED],
            error.code,
            request.id,
            f"; and {more} more of this kind" if more else "",
        )
