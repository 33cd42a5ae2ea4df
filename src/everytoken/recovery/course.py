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
from everytoken.recovery.ending import exhausted, make_presentable, not_continuable, stalled
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

_FOREVER = float("inf")


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
    hedging: bool = False  # whether the driver can have two attempts at a time
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
    _lives: tuple[LiveAttempt, ...] = ()
    _hedges: int = 0
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

    def _wait(self, now: float, live: LiveAttempt, limit: float) -> None:
        before = self.deadline
        live.wait(now, limit)
        if live.deadline < before:
            self.decisions.append(Rearm())

    @property
    def deadline(self) -> float:
        """When to call `tick`."""
        if not self._lives:
            return _FOREVER if self._due is None else self._due[0]
        deadline = self._lives[0].deadline
        if len(self._lives) > 1:
            deadline = min(deadline, self._lives[1].deadline)
        return deadline if self._due is None else min(deadline, self._due[0])

    # Two at a time

    def _advance(self, now: float, live: LiveAttempt, records: Sequence[bytes]) -> None:
        """Take note of content from an attempt that is not steady: it is no longer suspected, and may have won."""
        experience = self.experience(live.plan.target)
        if live.state is State.WAITING:
            experience.has_answered(now - live.mark)
            self.breaker.answers(self._planner.circuit(live.plan.target))
        elif live.suspected:
            experience.has_paused(now - live.mark)
        if live.state is not State.STREAMING:
            live.to(Event.CONTENT)
        live.suspected = False
        self._wait(now, live, live.gap)
        if records:
            self._win(now, live)
        live.steady = len(self._lives) == 1

    def _win(self, now: float, live: LiveAttempt) -> None:
        """Deliver this one from now on: let go of the attempt beside it."""
        self.transcript.history = live.history
        self._due = None
        live.stand_by(False)
        for other in self._lives:
            if other is not live:
                if other.suspected:
                    self.breaker.failed(self._planner.circuit(other.plan.target), now)
                self._close(now, other, None, reusable=False)

    def _suspect(self, now: float, live: LiveAttempt) -> None:
        """A limit has passed: the attempt may be dead, or only slow. Begin another one beside it, or in its place."""
        policy = live.plan.target.policy
        if live.may_think(policy.thinking):
            return
        live.suspected = True
        live.deadline = max(live.mark + policy.give_up, live.deadline)
        if live.deadline <= now:
            return  # it is given up at once
        if len(self._lives) == 1:
            self._hedge(now, live)

    def _hedge(self, now: float, live: LiveAttempt) -> None:
        planner = self._planner
        cause = stalled(live.state, live.last_bytes, now)
        if self.transcript.chunks and not_continuable(cause, self.request, self.transcript) is not None:
            return  # nothing could take its place
        name = live.plan.target.name
        plan = planner.next(now, self.attempts, beside=name)
        if plan is None:
            return
        if self.hedging and planner.policy.hedge:
            if self._hedges < planner.policy.hedges:
                self._hedges += 1
                self._begin(now, plan)
        elif plan.target.name != name or planner.faults[name] < planner.policy.attempts - 1:
            self._fail(now, live, cause, [])

    # How an attempt ends

    def _fail(self, now: float, live: LiveAttempt, error: EverytokenError, records: list[bytes]) -> None:
        if live.complete:
            # The answer was whole before this happened.
            self._complete(now, live, records)
            return
        make_presentable(error, self.redact)
        progressed = self.records > live.attempt.offset
        self._close(now, live, error, reusable=False)
        may_go_on = self._planner.blame(now, error, live.plan, progressed=progressed, jitter=self.jitter())
        if self._lives:
            (other,) = self._lives
            if other.suspected and self._due is None:
                self._hedge(now, other)
        elif may_go_on:
            self._next(now, error)
        else:
            self._end(now, "failed", error)

    def _close(self, now: float, live: LiveAttempt, cause: EverytokenError | None, *, reusable: bool) -> None:
        """Write down how the attempt ended and what it has shown, and let go of its connection."""
        verdict = live.close(now, cause)
        if verdict is not None:
            self.experience(live.plan.target).prefill = verdict
        self._lives = tuple(other for other in self._lives if other is not live)
        self._state = live.state
        self.decisions.append(Disconnect(reusable, live.number))

    def _next(self, now: float, error: EverytokenError | None) -> None:
        """Begin the next attempt, or end the response with what went wrong."""
        delivered = self.transcript.chunks > 0
        if error is not None and delivered:
            ending = not_continuable(error, self.request, self.transcript)
            if ending is not None:
                self._end(now, "interrupted", ending)
                return
        plan = self._planner.next(now, self.attempts)
        if plan is None:
            self._end(now, "interrupted" if delivered else "failed", exhausted(self.attempts))
            return
        self._begin(now, plan)

    def _begin(self, now: float, plan: Plan) -> None:
        if not plan.wait:
            self._connect(now, plan)
            return
        if not self._lives:
            self._to(Event.FAULT)
        self._due = now + plan.wait, plan

    def _connect(self, now: float, plan: Plan) -> None:
        self._due = None
        if not self._lives:
            self._to(Event.BEGIN if self._state is State.BACKING_OFF else Event.RETRY)
        target = plan.target
        number = len(self.attempts) + 1
        attempt = Attempt(number, target.name, plan.strategy, plan.streamed, self.records, now)
        attempt.model = str(plan.body.get("model") or self.request.model)
        live = LiveAttempt(attempt, plan, self.request, self.dialect, self.transcript)
        live.gap = self._patience(plan, self.experience(target).content_gap(target.policy.content_gap))
        live.wait(now, target.policy.connect)
        for other in self._lives:
            other.steady = False
            other.stand_by()
        self._lives = (*self._lives, live)
        self.attempts.append(attempt)
        self._planner.begun(now, plan)
        self.decisions.append(Connect(target, plan.body, plan.streamed, number))

    def _patience(self, plan: Plan, limit: float) -> float:
        return max(limit, plan.target.policy.thinking) if self.request.reasons else limit

    def _complete(self, now: float, live: LiveAttempt, records: list[bytes]) -> None:
        self._win(now, live)
        more = live.take_held()
        self._close(now, live, None, reusable=True)
        self.breaker.succeeded(self._planner.circuit(live.plan.target))
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
        for live in self._lives:
            self._close(now, live, None, reusable=False)
        self._due = None
        self._to(Event.COMPLETE if error is None else Event.GIVE_UP)
        self.outcome, self.error, self.usage = outcome, error, self._total_usage()
        self.decisions.append(End(outcome, error))

    def _to(self, event: Event) -> None:
        self._state, _ = TRANSITIONS[self._state, event]

    def stop(self, now: float, error: EverytokenError | None = None) -> None:
        """End the response: somebody entitled to has stopped it, or it cannot go on because of `error`."""
        if self.outcome is not None:
            return
        if error is None:
            self._end(now, "cancelled", CancelledError("the response was stopped"))
        else:
            self._end(now, "interrupted" if self.transcript.chunks else "failed", error)
