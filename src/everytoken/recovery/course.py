"""Which attempts a response takes, and how it ends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from everytoken.dialects.registry import dialect_named
from everytoken.errors import (
    CancelledError,
    EverytokenError,
)
from everytoken.recovery.attempt import Attempt
from everytoken.recovery.decisions import Connect, Decision, Disconnect, End, Rearm
from everytoken.recovery.ending import exhausted, make_presentable, not_continuable
from everytoken.recovery.live import LiveAttempt
from everytoken.recovery.plan import Plan, Planner
from everytoken.recovery.transcript import Transcript
from everytoken.recovery.transitions import TRANSITIONS, Event, State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.dialects.dialect import Dialect, Request
    from everytoken.recovery.breaker import Breaker
    from everytoken.recovery.policy import LearnedCapabilities, Outcome, Target

__all__ = ["Course"]


@dataclass(slots=True, weakref_slot=True)
class Course:
    """What a response takes: its attempts, one after the other, and its end. `Recovery` has the events that lead there."""

    request: Request
    targets: Sequence[Target]
    seed: int | None
    jitter: Callable[[], float]
    experience: Callable[[Target], LearnedCapabilities]
    breaker: Breaker
    redact: Callable[[str], str] = str
    decisions: deque[Decision] = field(default_factory=deque)
    attempts: list[Attempt] = field(default_factory=list)
    accepted: bool = False
    records: int = 0
    outcome: Outcome | None = None
    error: EverytokenError | None = None
    usage: dict[str, Any] | None = None
    dialect: Dialect = field(init=False)
    transcript: Transcript = field(init=False)
    _planner: Planner = field(init=False)
    _live: LiveAttempt | None = None
    _state: State = State.BACKING_OFF  # while no attempt is live
    _due: tuple[float, Plan] | None = None  # when the next attempt is to begin, and which

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

    def _count(self, records: Sequence[bytes]) -> None:
        if records and not self.records:
            self.transcript.first = records[0]
        self.records += len(records)

    def _set_deadline(self, live: LiveAttempt, deadline: float) -> None:
        if deadline < live.deadline:
            self.decisions.append(Rearm())
        live.deadline = deadline

    # How an attempt ends

    def _fail(self, now: float, live: LiveAttempt, error: EverytokenError, records: list[bytes]) -> None:
        if live.complete:
            # The answer was whole before this happened.
            self._complete(now, live, records)
            return
        make_presentable(error, self.redact)
        self._close(now, live, error, reusable=False)
        if self._planner.blame(now, error, live.plan):
            self._next(now, error)
        else:
            self._end(now, "failed", error)

    def _close(self, now: float, live: LiveAttempt, cause: EverytokenError | None, *, reusable: bool) -> None:
        """Write down how the attempt ended and what it has shown, and let go of its connection."""
        verdict = live.close(now, cause)
        if verdict is not None:
            self.experience(live.plan.target).prefill = verdict
        self._live, self._state = None, live.state
        self.decisions.append(Disconnect(reusable))

    def _next(self, now: float, error: EverytokenError | None) -> None:
        """Begin the next attempt, or end the response with what went wrong."""
        delivered = self.transcript.chunks > 0
        if error is not None and delivered:
            ending = not_continuable(error, self.request, self.transcript)
            if ending is not None:
                self._end(now, "interrupted", ending)
                return
        plan = self._planner.next(now, self.attempts, self.jitter())
        if plan is None:
            self._end(now, "interrupted" if delivered else "failed", exhausted(self.attempts))
            return
        if plan.wait:
            self._to(Event.FAULT)
            self._due = now + plan.wait, plan
        else:
            self._connect(now, plan)

    def _connect(self, now: float, plan: Plan) -> None:
        self._due = None
        self._to(Event.BEGIN if self._state is State.BACKING_OFF else Event.RETRY)
        target = plan.target
        number = len(self.attempts) + 1
        attempt = Attempt(number, target.name, plan.strategy, plan.streamed, self.records, now)
        live = LiveAttempt(attempt, plan, self.request, self.dialect, self.transcript)
        live.gap = self._time(target.policy.content_gap)
        live.deadline = now + self._time(target.policy.connect)
        self._live = live
        self.attempts.append(attempt)
        self.breaker.claim(target.name, now)
        self.decisions.append(Connect(target, plan.body, plan.streamed))

    def _complete(self, now: float, live: LiveAttempt, records: list[bytes]) -> None:
        more = live.take_held()
        self._close(now, live, None, reusable=True)
        self.breaker.succeeded(live.plan.target.name)
        self._count(more)
        if not live.decoder.shown_usage:
            closing = self._closing()
            self._count(closing)
            more += closing
        records += more
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
        if self._live is not None:
            self._close(now, self._live, None, reusable=False)
        self._due = None
        self._to(Event.COMPLETE if error is None else Event.GIVE_UP)
        self.outcome, self.error, self.usage = outcome, error, self._total_usage()
        self.decisions.append(End(outcome, error))

    def _to(self, event: Event) -> None:
        self._state, _ = TRANSITIONS[self._state, event]

    def _time(self, limit: float) -> float:
        return limit * 2 if self._planner.last else limit

    def stop(self, now: float, error: EverytokenError | None = None) -> None:
        """End the response: somebody entitled to has stopped it, or it cannot go on because of `error`."""
        if self.outcome is not None:
            return
        if error is None:
            self._end(now, "cancelled", CancelledError("the response was stopped"))
        else:
            self._end(now, "interrupted" if self.transcript.chunks else "failed", error)
