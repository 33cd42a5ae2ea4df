"""What one response tells its observers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from everytoken.observer import (
    AttemptAccepted,
    AttemptBegun,
    AttemptEnded,
    FirstContent,
    ReaderCame,
    ReaderWent,
    ResponseBegun,
    ResponseEnded,
    ResponseHandedOver,
    Seam,
)
from everytoken.relay.gaps import Gaps

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.journal import Log, StreamInfo
    from everytoken.observer import Event, Observers
    from everytoken.recovery import Recovery
    from everytoken.recovery.attempt import Attempt

__all__ = ["ResponseEvents"]


class ResponseEvents:
    """Makes events of what the relay of one response does. `clock` is the relay's, in seconds.

    Nothing here is called chunk by chunk: of an attempt's first content it hears by a subscription to the log, which ends
    with it.
    """

    def __init__(
        self, observers: Observers, info: StreamInfo, recovery: Recovery, log: Log, clock: Callable[[], float]
    ) -> None:
        self._observers = observers
        self._info = info
        self._recovery = recovery
        self._log = log
        self._clock = clock
        self._began = clock()
        self._first_content: float | None = None
        self.gaps = Gaps()
        self._readers = 0  # that have come
        self._attempts: dict[int, Attempt] = {}  # those under way: two while one is suspected
        self._chunks = 0  # delivered before the last of them
        self._awaited = False  # whether its first content has not come yet
        self._silent_since = (
            self._began
        )  # when the last attempt before the present one ended, or that began beside it

    def _tell(self, kind: type[Event], **values: object) -> None:
        if self._observers.of(kind):
            self._observers.tell(kind(at=time.time(), response=self._info.id, **values))  # type: ignore[call-arg]

    def begun(self, offset: int | None = None) -> None:
        """It begins, or was taken over at `offset`."""
        info, request = self._info, self._recovery.request
        headers = info.meta.get("headers") or {}
        self._tell(
            ResponseBegun,
            request_id=info.meta.get("request_id", ""),
            owner=info.owner,
            dialect=request.dialect,
            model=request.model,
            offset=offset,
            streamed=request.stream,
            traceparent=headers.get("traceparent", ""),
            tracestate=headers.get("tracestate", ""),
        )

    def attempt_begun(self, number: int, headers: dict[str, str] | None) -> dict[str, str] | None:
        """An attempt begins that is to send these headers; return those that it sends."""
        if self._attempts:
            self._silent_since = self._clock()
        attempt = self._attempts[number] = self._recovery.attempts[number - 1]
        self._chunks = self._recovery.transcript.chunks
        if not self._awaited:
            self._awaited = True
            self._log.subscribe(self._moved)
        self._tell(
            AttemptBegun,
            attempt=attempt.number,
            upstream=attempt.upstream,
            strategy=attempt.strategy,
            streamed=attempt.streamed,
            offset=attempt.offset,
        )
        sent = self._observers.attempt_headers
        return headers if sent is None else sent(self._info.id, number, headers)

    def attempt_accepted(self, number: int) -> None:
        """The upstream of an attempt has answered with success."""
        if (attempt := self._attempts.get(number)) is not None:
            seconds = max(0.0, self._clock() - attempt.started)
            self._tell(AttemptAccepted, attempt=attempt.number, seconds=seconds)

    def _moved(self) -> None:
        if self._awaited and self._has_content:
            for attempt in self._attempts.values():
                # The one that has lost has ended by now.
                if attempt.ended is None and self._log.tail > attempt.offset:
                    self._has_first_content(attempt)
                    return

    @property
    def _has_content(self) -> bool:
        return self._recovery.transcript.chunks > self._chunks

    def _has_first_content(self, attempt: Attempt) -> None:
        self._no_longer_awaited()
        now = self._clock()
        if self._first_content is None:
            self._first_content = now - self._began
        self._tell(FirstContent, attempt=attempt.number, seconds=max(0.0, now - attempt.started))
        if attempt.offset:
            self._tell(
                Seam,
                attempt=attempt.number,
                upstream=attempt.upstream,
                strategy=attempt.strategy,
                offset=attempt.offset,
                seconds=max(0.0, now - self._silent_since),
            )

    def _no_longer_awaited(self) -> None:
        self._awaited = False
        self._log.unsubscribe(self._moved)

    def attempt_ended(self, number: int) -> None:
        """An attempt is over, and its connection is let go of."""
        attempt = self._attempts.pop(number, None)
        if attempt is None:
            return
        if self._awaited and not self._attempts:
            if self._has_content:
                self._has_first_content(attempt)  # it is on its way into the journal
            else:
                self._no_longer_awaited()
        cause = attempt.cause
        ended = self._clock() if attempt.ended is None else attempt.ended
        if not self._attempts:
            self._silent_since = ended
        self._tell(
            AttemptEnded,
            attempt=attempt.number,
            upstream=attempt.upstream,
            strategy=attempt.strategy,
            cause=None if cause is None else cause.code,
            message=None if cause is None else cause.message,
            usage=attempt.usage,
            seconds=max(0.0, ended - attempt.started),
        )

    def reader_came(self, readers: int) -> None:
        """There are now so many readers."""
        self._readers += 1
        self._tell(ReaderCame, readers=readers)

    def reader_went(self, readers: int) -> None:
        """There are still so many readers."""
        self._tell(ReaderWent, readers=readers)

    def ended(self, told: list[dict[str, Any]], *, handed_over: bool, received: int) -> None:
        """It is written here no more: it has ended, or was handed over. `told`: its attempts, `received`: bytes of them all."""
        seconds = self._clock() - self._began
        if handed_over:
            self._tell(ResponseHandedOver, seconds=seconds)
            return
        recovery = self._recovery
        error = recovery.error
        self._tell(
            ResponseEnded,
            dialect=recovery.request.dialect,
            outcome=recovery.outcome,
            error=None if error is None else error.code,
            message=None if error is None else error.message,
            usage=recovery.usage,
            attempts=len(recovery.attempts),
            records=recovery.records,
            seconds=seconds,
            first_content=self._first_content,
            received=received,
            readers=self._readers,
            gap_median=self.gaps.median,
            gap_longest=self.gaps.longest or None,
            told=told,
        )
