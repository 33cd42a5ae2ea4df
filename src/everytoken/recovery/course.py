"""Which attempts a response takes, and how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.errors import (
    CancelledError,
    EverytokenError,
)
from everytoken.recovery.attempt import Attempt
from everytoken.recovery.decisions import Connect, Disconnect, End, Rearm
from everytoken.recovery.ending import exhausted, make_presentable, not_continuable, stalled
from everytoken.recovery.response_state import ResponseState
from everytoken.recovery.transitions import TRANSITIONS, Event, State
from everytoken.recovery.translated import live_attempt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.recovery.live import LiveAttempt
    from everytoken.recovery.plan import Plan
    from everytoken.recovery.policy import Outcome

__all__ = ["Course"]

_FOREVER = float("inf")
_UNDER_WAY = (State.WAITING, State.STREAMING)


class Course(ResponseState):
    """What a response takes: its attempts, one after the other, and its end. `Recovery` has the events that lead there."""

    __slots__ = ()

    def _wait(self, now: float, live: LiveAttempt, limit: float) -> None:
        before = self.deadline
        live.wait(now, limit)
        if live.deadline < before:
            self.decisions.append(Rearm())

    def patience(self, now: float) -> float:
        """Return until when to read the one attempt that is live, for a driver that loses its connection to a time-out.

        That is when another attempt would take its place, or when it is given up.
        """
        (live,) = self._lives
        if live.suspected or live.state not in _UNDER_WAY:
            return live.deadline
        policy = live.plan.target.policy
        mark = live.deadline - live.gap if live.steady else live.mark
        limit = live.gap if live.steady else live.limit
        if live.replaceable is None:
            live.replaceable = self._replacement(now, live) is not None
        if not live.replaceable:
            return max(live.deadline, mark + policy.give_up)
        if live.last_bytes is None or live.last_bytes <= mark:
            return live.deadline
        return max(live.deadline, min(live.last_bytes + limit, mark + policy.thinking))

    # Two at a time

    def _advance(self, now: float, live: LiveAttempt, records: Sequence[bytes]) -> None:
        """Record content from an attempt that is not steady: it is no longer suspected, and may have won."""
        learned = self._planner.of(live.plan.target).learned
        if live.state is State.WAITING:
            learned.has_answered(now - live.mark, now)
            live.began = now
            self.breaker.answers(self._planner.circuit(live.plan.target))
        elif live.suspected:
            learned.has_paused(now - live.mark)
        if live.state is not State.STREAMING:
            live.to(Event.CONTENT)
        live.suspected, live.replaceable = False, None
        self._wait(now, live, live.gap)
        if records:
            self._win(now, live)
        live.steady = len(self._lives) == 1

    def _win(self, now: float, live: LiveAttempt) -> None:
        """Deliver this one from now on: let go of the attempt beside it."""
        self.transcript.history = live.history
        self._due = None
        live.counted = None
        for other in self._lives:
            if other is not live:
                if other.suspected:
                    self.breaker.failed(self._planner.circuit(other.plan.target), now)
                self._close(now, other, None, reusable=False)

    def _suspect(self, now: float, live: LiveAttempt) -> bool:
        """A limit has passed: the attempt may be dead, or only slow. Begin another one beside it, or in its place.

        Returns False when it is to be given up at once.
        """
        policy = live.plan.target.policy
        if live.may_think(policy.thinking):
            return True
        live.suspected, live.steady = True, False
        live.deadline = max(live.mark + policy.give_up, live.deadline)
        if live.deadline <= now:
            return False
        if len(self._lives) == 1:
            self._hedge(now, live)
        return True

    def _hedge(self, now: float, live: LiveAttempt) -> None:
        plan = self._replacement(now, live)
        if plan is None:
            return
        if self.hedging and self._planner.policy.hedge:
            if self._hedges < self._planner.policy.hedges:
                self._hedges += 1
                self._begin(now, plan)
        else:
            self._fail(now, live, stalled(live.state, live.last_bytes, now), [])

    def _replacement(self, now: float, live: LiveAttempt) -> Plan | None:
        """Return what could run beside a suspected attempt, or in its place; None where nothing could."""
        planner = self._planner
        cause = stalled(live.state, live.last_bytes, now)
        if self.transcript.chunks and not_continuable(cause, self.request, self.transcript) is not None:
            return None
        name = live.plan.target.name
        live.share.credit()
        plan = planner.next(now, self.attempts, beside=name)
        if plan is None or (self.hedging and planner.policy.hedge) or plan.target.name != name:
            return plan
        # The last attempt that may be made is not given up for one that may not.
        return plan if planner.of(live.plan.target).faults < planner.policy.attempts - 1 else None

    # How an attempt ends

    def _fail(self, now: float, live: LiveAttempt, error: EverytokenError, records: list[bytes]) -> None:
        if live.complete:
            # The response was whole before this happened.
            self._complete(now, live, records)
            return
        make_presentable(error, self.redact)
        progressed = self.records > live.attempt.offset
        live.share.credit()
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
        if live.share.other_model:
            self._planner.of(live.plan.target).other_model = True
        if verdict is not None:
            self._planner.of(live.plan.target).learned.prefill = verdict
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
            nothing_left = exhausted(self.attempts, self._planner.refusal)
            self._end(now, "interrupted" if delivered else "failed", nothing_left)
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
        attempt.api = "" if target.translation is None else target.translation.dialect.name
        attempt.model = str(plan.body.get("model") or self.request.model)
        attempt.continues = plan.continues
        live = live_attempt(attempt, plan, self)
        learned = self._planner.of(target).learned
        live.gap = self._patience(plan, learned.content_gap(target.policy.content_gap))
        live.wait(now, target.policy.connect)
        for other in self._lives:
            other.steady = False
            other.stand_by()
        self._lives = (*self._lives, live)
        self.attempts.append(attempt)
        self._planner.begun(now, plan)
        self.decisions.append(Connect(target, plan.body, plan.streamed, number))
        plan.body = {}  # the driver has it, and sends it once

    def _patience(self, plan: Plan, limit: float) -> float:
        return max(limit, plan.target.policy.thinking) if self.request.reasons else limit

    def _complete(self, now: float, live: LiveAttempt, records: list[bytes]) -> None:
        self._take_rest(live, records)
        if live.wrong is not None:
            self._fail(now, live, live.wrong, records)
            return
        self._win(now, live)
        more = live.take_held()
        self._close(now, live, None, reusable=True)
        self.breaker.succeeded(self._planner.circuit(live.plan.target))
        if live.last_bytes is not None:
            self._planner.of(live.plan.target).learned.has_sent(live.chunks, live.last_bytes - live.began)
        self.transcript.count(more)
        records += more
        if not live.decoder.shown_usage:
            closing = self._closing()
            self.transcript.count(closing)
            records += closing
        elif len(self.attempts) > 1 and records:
            usage = self.usage = self._total_usage()
            records[-1] = self.dialect.with_total(records[-1], usage=usage, attempts=self._described())
        self._end(now, "completed", None)

    def _take_rest(self, live: LiveAttempt, records: list[bytes]) -> None:
        """Take what an attempt has only told once nothing more is to be read."""
        more = live.finish()
        if more:
            self.transcript.count(more)
            records += more

    def _closing(self) -> list[bytes]:
        """Return the records behind the last one of a complete response."""
        self.usage = self._total_usage()
        transcript = self.transcript
        return self.dialect.closing(
            self.request,
            transcript.history,
            transcript.first,
            usage=self.usage,
            attempts=self._described(),
        )

    def _described(self) -> list[dict[str, Any]]:
        origin = self.attempts[0].started
        return [attempt.describe(origin) for attempt in self.attempts]

    def _total_usage(self) -> dict[str, Any] | None:
        return self.dialect.total_usage([(attempt.usage, attempt.chunks) for attempt in self.attempts])

    def _end(self, now: float, outcome: Outcome, error: EverytokenError | None) -> None:
        for live in self._lives:
            self._close(now, live, None, reusable=False)
        self._due = None
        self._to(Event.COMPLETE if error is None else Event.GIVE_UP)
        self.outcome, self.error = outcome, error
        self.usage = self.usage or self._total_usage()
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
