"""One response over many attempts: a state machine without a clock, a socket or randomness of its own.

The driver calls it with what happened and when; it returns the records to deliver and queues decisions, which are
values. Times are seconds from any steady origin.

What leads from which state to which is the table in `everytoken.recovery.transitions`. What comes in a state that does
not expect it changes nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from everytoken.dialects.registry import dialect_named
from everytoken.errors import (
    CancelledError,
    DivergedError,
    EverytokenError,
    NotContinuableError,
    TruncatedError,
    UpstreamError,
)
from everytoken.json.bounds import storable
from everytoken.recovery.align import Aligner, PrefillAligner, aligner_for
from everytoken.recovery.attempt import Attempt
from everytoken.recovery.decisions import Connect, Decision, Disconnect, End, Rearm
from everytoken.recovery.ending import exhausted, make_presentable, stalled, why_not_continuable
from everytoken.recovery.intake import Intake
from everytoken.recovery.plan import Plan, Planner
from everytoken.recovery.transcript import Transcript
from everytoken.recovery.transitions import TRANSITIONS, Event, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.dialects.dialect import Dialect, Request
    from everytoken.recovery.breaker import Breaker
    from everytoken.recovery.policy import LearnedCapabilities, Outcome, Target

__all__ = ["Recovery", "State"]

_FOREVER = float("inf")
_MAX_QUIET = 16 * 1024 * 1024  # bytes without content: a flood, and no keep-alive


# A member of an enum is looked up by its class each time, which in Python 3.11 costs as much as four calls.
_STREAMING = State.STREAMING
_LISTENING = (State.STREAMING, State.WAITING, State.LINGERING)


@dataclass(slots=True, weakref_slot=True)
class Recovery:
    """One response.

    `seed` is sent where the caller gave none. `jitter` returns numbers in [0, 1); `experience` and `breaker` are shared by
    responses. `redact` takes secrets out of an upstream's own words before they are kept.

    Attributes for the driver: `decisions` to carry out, in order; `deadline`, when to call `tick`; `accepted`, true
    when an upstream has answered with success; `outcome`, `error` and `usage`, set once, at the end.
    """

    request: Request
    targets: Sequence[Target]
    seed: int | None
    jitter: Callable[[], float]
    experience: Callable[[Target], LearnedCapabilities]
    breaker: Breaker
    redact: Callable[[str], str] = str
    decisions: deque[Decision] = field(default_factory=deque)
    attempts: list[Attempt] = field(default_factory=list)
    state: State = State.BACKING_OFF
    deadline: float = _FOREVER
    accepted: bool = False
    records: int = 0
    outcome: Outcome | None = None
    error: EverytokenError | None = None
    usage: dict[str, Any] | None = None
    dialect: Dialect = field(init=False)
    transcript: Transcript = field(init=False)
    _planner: Planner = field(init=False)
    _plan: Plan = field(init=False)
    _aligner: Aligner | None = None
    _intake: Intake = field(init=False)
    _gap: float = 0.0
    _last_bytes: float | None = None
    _quiet: int = 0

    def __post_init__(self) -> None:
        """Set up what depends on the arguments."""
        self.dialect = dialect_named(self.request.dialect)
        self.transcript = Transcript(self.dialect)
        self._planner = Planner(
            dialect=self.dialect,
            request=self.request,
            targets=self.targets,
            seed=self.seed,
            breaker=self.breaker,
            experience=self.experience,
            transcript=self.transcript,
            policy=self.targets[0].policy,
        )

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
        self._count(records)
        lost = Attempt(1, "", "first", streamed=True, offset=0, started=now, ended=now, cause=cause)
        lost.chunks, lost.usage = self.transcript.chunks, history.usage
        lost.estimate = self.dialect.total_usage([(None, lost.chunks)])
        self.attempts.append(lost)
        if not history.is_complete(self.request):
            self._next(now, cause)
            return []
        missing = [] if history.usage else self._closing()
        self._count(missing)
        self._end(now, "completed", None)
        return missing

    def connected(self, now: float) -> None:
        """The request is on its way."""
        if self.state is State.CONNECTING:
            plan = self._plan
            limits = plan.target.policy
            self._to(Event.CONNECTED)
            self._set_deadline(
                now + (self._time(limits.first_content) if plan.streamed else limits.non_streaming)
            )

    def accept(self, now: float) -> None:
        """The upstream has answered with success; its body follows."""
        self.connected(now)
        if self._is_listening():
            self.accepted = True
            self._planner.accepted(self._plan)

    def receive_data(self, now: float, data: bytes) -> list[bytes]:
        """Take bytes of a streamed answer; return the records to deliver, in order."""
        streaming = self.state is _STREAMING
        if not streaming and not self._is_listening():
            return []
        self._last_bytes = now
        intake = self._intake
        records = intake.receive_data(data)
        if records:
            if not self.records:
                self.transcript.first = records[0]
            self.records += len(records)
        if intake.content:
            if streaming:
                self.deadline = now + self._gap
            else:
                self._begin_streaming(now)
            self._quiet = 0
        else:
            self._quiet += len(data)
        decoder = intake.decoder
        if decoder.terminal or decoder.done or intake.error is not None:
            self._settle(now, records)
        elif self._quiet > _MAX_QUIET:
            self._fail(now, UpstreamError(f"the upstream sent {self._quiet} bytes without content"), records)
        return records

    def receive_eof(self, now: float) -> list[bytes]:
        """The streamed answer's bytes have ended, by the transport's own rules properly."""
        records: list[bytes] = []
        if self._is_listening():
            self._receive_end(now, records)
        return records

    def receive_whole(self, now: float, body: bytes) -> list[bytes]:
        """Take an answer that came in one piece: a chat completion asked for so, or sent instead of a stream."""
        if not self._is_listening():
            return []
        self._last_bytes = now
        records = self._intake.receive_whole(body)
        self._count(records)
        if self._intake.error is not None:
            self._fail(now, self._intake.error, records)
        else:
            self._receive_end(now, records)
        return records

    def fail(self, now: float, error: EverytokenError) -> list[bytes]:
        """The attempt has failed: no connection, a status, a break."""
        records: list[bytes] = []
        if self.state is State.CONNECTING or self._is_listening():
            self._fail(now, error, records)
        return records

    def tick(self, now: float) -> list[bytes]:
        """Act on a deadline that has passed; does nothing before it."""
        records: list[bytes] = []
        if now < self.deadline:
            return records
        if self.state is State.BACKING_OFF:
            self._connect(now)
        elif self.state is State.LINGERING:
            self._complete(now, records)
        else:
            self._fail(now, stalled(self.state, self._last_bytes, now), records)
        return records

    def stop(self, now: float, error: EverytokenError | None = None) -> None:
        """End the response: somebody entitled to has stopped it, or it cannot go on because of `error`."""
        if self.state is State.ENDED:
            return
        if error is None:
            self._end(now, "cancelled", CancelledError("the response was stopped"))
        else:
            self._end(now, "interrupted" if self.transcript.chunks else "failed", error)

    # Within an attempt

    def _is_listening(self) -> bool:
        return self.state in _LISTENING

    def _begin_streaming(self, now: float) -> None:
        self._to(Event.CONTENT)
        self._set_deadline(now + self._gap)
        self.breaker.answers(self._plan.target.name)

    def _settle(self, now: float, records: list[bytes]) -> None:
        """Act on an end mark or an error in the bytes."""
        error, decoder = self._intake.error, self._intake.decoder
        if error is not None:
            self._fail(now, error, records)
        elif decoder.done:
            self._receive_end(now, records)
        elif self.state is not State.LINGERING:
            # The answer is whole; usage and [DONE] may still follow.
            self._to(Event.FINISH)
            self._set_deadline(now + self._plan.target.policy.linger)

    def _receive_end(self, now: float, records: list[bytes]) -> None:
        """The bytes of the attempt have ended, or its [DONE] has come."""
        try:
            self._intake.decoder.receive_eof()
        except TruncatedError as error:
            self._fail(now, error, records)
            return
        if self._intake.caught_up:
            self._complete(now, records)
        else:
            self._fail(now, DivergedError("the repeated answer is shorter than what was delivered"), records)

    def _count(self, records: Sequence[bytes]) -> None:
        if records and not self.records:
            self.transcript.first = records[0]
        self.records += len(records)

    def _set_deadline(self, deadline: float) -> None:
        if deadline < self.deadline:
            self.decisions.append(Rearm())
        self.deadline = deadline

    # How an attempt ends

    def _fail(self, now: float, error: EverytokenError, records: list[bytes]) -> None:
        if self._intake.complete:
            # The answer was whole before this happened.
            self._complete(now, records)
            return
        make_presentable(error, self.redact)
        self._close_attempt(now, error)
        self.decisions.append(Disconnect(reusable=False))
        if self._planner.blame(now, error, self._plan):
            self._next(now, error)
        else:
            self._end(now, "failed", error)

    def _close_attempt(self, now: float, cause: EverytokenError | None) -> None:
        """Write down how the attempt ended and what it has shown."""
        attempt, intake = self.attempts[-1], self._intake
        attempt.ended, attempt.cause = now, cause
        attempt.usage = storable(intake.decoder.usage)
        attempt.chunks = intake.chunks
        attempt.estimate = self.dialect.total_usage([(None, intake.chunks)])
        self.transcript.halved = self.transcript.halved or intake.decoder.holds_half
        if (
            isinstance(self._aligner, PrefillAligner)
            and self._aligner.verdict is not None
            and attempt.streamed
        ):
            self.experience(self._plan.target).prefill = self._aligner.verdict

    def _next(self, now: float, error: EverytokenError | None) -> None:
        """Begin the next attempt, or end the response with what went wrong."""
        delivered = self.transcript.chunks > 0
        if error is not None and delivered:
            reason = why_not_continuable(self.request, self.transcript)
            if reason is not None:
                ending = NotContinuableError(f"{error.message}; {reason}")
                ending.__cause__ = error
                self._end(now, "interrupted", ending)
                return
        plan = self._planner.next(now, self.attempts, self.jitter())
        if plan is None:
            self._end(now, "interrupted" if delivered else "failed", exhausted(self.attempts))
            return
        self._plan = plan
        if plan.wait:
            self._to(Event.FAULT)
            self.deadline = now + plan.wait
        else:
            self._connect(now)

    def _connect(self, now: float) -> None:
        plan = self._plan
        target = plan.target
        self._aligner = aligner_for(plan, self.dialect, self.transcript) if self.records else None
        if self._aligner is None:
            self.transcript.history = self.dialect.history()  # what came before was never delivered
        decoder = self.dialect.decoder(
            self.request,
            self.transcript.history,
            first=self._aligner is None,
            # Of several attempts the usage is told together, at the end.
            usage=self.request.shows_usage and not self.attempts,
            omits_end=target.omits_finish_reason,
        )
        self._intake = Intake(self.dialect, self.transcript, decoder, self._aligner)
        self._gap = self._time(target.policy.content_gap)
        self._last_bytes = None
        self._quiet = 0
        self._to(Event.BEGIN if self.state is State.BACKING_OFF else Event.RETRY)
        self.deadline = now + self._time(target.policy.connect)
        self.breaker.claim(target.name, now)
        number = len(self.attempts) + 1
        self.attempts.append(Attempt(number, target.name, plan.strategy, plan.streamed, self.records, now))
        self.decisions.append(Connect(target, plan.body, plan.streamed))

    def _complete(self, now: float, records: list[bytes]) -> None:
        more = self._intake.take_held()
        self._close_attempt(now, None)
        self.breaker.succeeded(self._plan.target.name)
        self._count(more)
        if not self._intake.decoder.shown_usage:
            closing = self._closing()
            self._count(closing)
            more += closing
        records += more
        self.decisions.append(Disconnect(reusable=True))
        self._end(now, "completed", None)

    def _closing(self) -> list[bytes]:
        origin = self.attempts[0].started
        attempts = [attempt.describe(origin) for attempt in self.attempts]
        return self.dialect.closing(
            self.request, self.transcript.first, usage=self._total_usage(), attempts=attempts
        )

    def _total_usage(self) -> dict[str, Any] | None:
        return self.dialect.total_usage([(attempt.usage, attempt.chunks) for attempt in self.attempts])

    def _end(self, now: float, outcome: Outcome, error: EverytokenError | None) -> None:
        if self.attempts and self.attempts[-1].ended is None:
            self._close_attempt(now, None)
            self.decisions.append(Disconnect(reusable=False))
        self._to(Event.COMPLETE if error is None else Event.GIVE_UP)
        self.deadline = _FOREVER
        self.outcome, self.error, self.usage = outcome, error, self._total_usage()
        self.decisions.append(End(outcome, error))

    def _to(self, event: Event) -> None:
        self.state, _ = TRANSITIONS[self.state, event]

    def _time(self, limit: float) -> float:
        return limit * 2 if self._planner.last else limit
