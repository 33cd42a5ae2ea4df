"""One response over many attempts: a state machine without a clock, a socket or randomness of its own.

The driver calls it with what happened and when; it returns the records to deliver and queues decisions, which are
values. Times are seconds from any steady origin.

What leads from which state to which is the table in `everytoken.recovery.transitions`. What comes in a state that does
not expect it changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.errors import (
    EverytokenError,
    UpstreamError,
)
from everytoken.recovery.attempt import lost_attempt
from everytoken.recovery.authors import Author, reported_in
from everytoken.recovery.course import Course
from everytoken.recovery.ending import stalled
from everytoken.recovery.live import MAX_QUIET
from everytoken.recovery.transitions import Event, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.recovery.live import LiveAttempt


__all__ = ["Recovery"]

_FOREVER = float("inf")


# A member of an enum is looked up by its class each time, which in Python 3.11 costs as much as four calls.
_STREAMING = State.STREAMING
_CONNECTING = State.CONNECTING


class Recovery(Course):
    """One response.

    `seed` is sent where the caller gave none. `jitter` returns numbers in [0, 1); `experience` and `breaker` are shared by
    responses. `redact` takes secrets out of an upstream's own words before they are kept.

    Attributes for the driver: `decisions` to carry out, in order; `deadline`, when to call `tick`; `accepted`, true
    when an upstream has answered with success; `outcome`, `error` and `usage`, set once, at the end.
    """

    __slots__ = ()

    # What the driver reports

    def start(self, now: float) -> None:
        """Begin the first attempt; call it once, before anything else."""
        self._next(now, None)

    def resume(self, now: float, records: Sequence[bytes], cause: EverytokenError) -> list[bytes]:
        """Begin, instead of with `start`, behind `records`, which another writer has delivered until `cause`.

        That writer counts as the first attempt. Returns the records that are missing if it had all but ended.
        """
        history = self.transcript.history
        for record in records:
            self.transcript.add(history.read(record))
        self.transcript.count(records)
        self.attempts.append(lost_attempt(now, cause, self.dialect, self.transcript))
        if records:
            names = {target.model or self.request.model for target in self.targets}
            asked = names.pop() if len(names) == 1 else None
            self.transcript.authors = (Author(asked, reported_in(self.dialect, records[0])),)
        if not history.is_complete(self.request):
            self._next(now, cause)
            return []
        missing = [] if history.is_closed else self._closing()
        self.transcript.count(missing)
        self._end(now, "completed", None)
        return missing

    @property
    def state(self) -> State:
        """Where the response stands."""
        return self._lives[0].state if self._lives else self._state

    def connected(self, now: float, attempt: int | None = None) -> None:
        """The request is on its way."""
        live = self._find(attempt)
        if live is not None and live.state is State.CONNECTING:
            limits, learned = live.plan.target.policy, self._planner.of(live.plan.target).learned
            live.to(Event.CONNECTED)
            limit = limits.non_streaming
            if live.plan.streamed:
                limit = self._patience(live.plan, learned.first_content(limits.first_content))
            self._wait(now, live, limit)

    def accept(self, now: float, attempt: int | None = None) -> None:
        """The upstream has answered with success; its body follows."""
        self.connected(now, attempt)
        live = self._find(attempt)
        if live is not None:
            self.accepted = True
            self._planner.accepted(live.plan)

    def _find(self, attempt: int | None) -> LiveAttempt | None:
        for live in self._lives:
            if attempt is None or live.number == attempt:
                return live
        return None

    def receive_data(self, now: float, data: bytes, attempt: int | None = None) -> list[bytes]:
        """Take bytes of a streamed response; return the records to deliver, in order."""
        live = self._lives[0] if self._lives else None
        if live is None or live.number != attempt:
            live = self._find(attempt)
        if live is None or live.state is _CONNECTING:
            return []
        records = live.receive_data(now, data)
        if not live.steady:
            self._settle(now, live, records)
        return records

    def attempt(self, number: int) -> LiveAttempt | None:
        """Return a live attempt.

        While it is `steady`, its `receive_data` may be called directly, which saves a call for each chunk; when it
        no longer is, `settle` has to follow.
        """
        return self._find(number)

    def settle(self, now: float, attempt: int) -> list[bytes]:
        """Act on what a steady attempt has just received; return the records that follow."""
        records: list[bytes] = []
        live = self._find(attempt)
        if live is not None:
            self._settle(now, live, records)
        return records

    def receive_eof(self, now: float, attempt: int | None = None) -> list[bytes]:
        """The streamed response's bytes have ended, by the transport's own rules properly."""
        records: list[bytes] = []
        live = self._find(attempt)
        if live is not None and live.is_listening:
            self._receive_end(now, live, records)
        return records

    def receive_non_streaming(self, now: float, body: bytes, attempt: int | None = None) -> list[bytes]:
        """Take a response that came in one piece: asked for so, or sent instead of a stream."""
        live = self._find(attempt)
        if live is None or not live.is_listening:
            return []
        live.last_bytes = now
        records = live.receive_non_streaming(body)
        self.transcript.count(records)
        if live.error is not None:
            self._fail(now, live, live.error, records)
        else:
            self._receive_end(now, live, records)
        return records

    def fail(self, now: float, error: EverytokenError, attempt: int | None = None) -> list[bytes]:
        """The attempt has failed: no connection, a status, a break."""
        records: list[bytes] = []
        live = self._find(attempt)
        if live is not None:
            self._fail(now, live, error, records)
        return records

    def tick(self, now: float) -> list[bytes]:
        """Act on the deadlines that have passed; does nothing before the first."""
        records: list[bytes] = []
        for live in self._lives:
            if now < live.deadline or live not in self._lives:
                continue
            if live.state is State.LINGERING:
                self._complete(now, live, records)
            elif live.state is State.CONNECTING or live.suspected or not self._suspect(now, live):
                self._fail(now, live, stalled(live.state, live.last_bytes, now), records)
        if self._due is not None and now >= self._due[0]:
            self._connect(now, self._due[1])
        return records

    # Within an attempt

    def _settle(self, now: float, live: LiveAttempt, records: list[bytes]) -> None:
        """Act on the first content, an end mark, an error or a flood in the bytes."""
        if live.content:
            self._advance(now, live, records)
        elif live.terminal and live.caught_up:
            self._win(now, live)
        decoder = live.decoder
        if live.error is not None:
            self._fail(now, live, live.error, records)
        elif decoder.done:
            self._receive_end(now, live, records)
        elif live.terminal and live.caught_up:
            if live.state is not State.LINGERING:
                # The response is whole; usage and the end mark may still follow.
                live.to(Event.FINISH)
                live.steady = False
                self._wait(now, live, live.plan.target.policy.linger)
        elif live.quiet > MAX_QUIET:
            self._fail(now, live, UpstreamError("the upstream sent too much without content"), records)

    def _receive_end(self, now: float, live: LiveAttempt, records: list[bytes]) -> None:
        """The bytes of the attempt have ended, or its end mark has come."""
        self._take_rest(live, records)
        error = live.wrong or live.end()
        if error is None:
            self._complete(now, live, records)
        else:
            self._fail(now, live, error, records)
