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
from everytoken.recovery.align import PrefillAligner, aligner_for
from everytoken.recovery.attempt import Attempt
from everytoken.recovery.decisions import Connect, Decision, Disconnect, End, Rearm
from everytoken.recovery.ending import exhausted, make_presentable, stalled, why_not_continuable
from everytoken.recovery.live import LiveAttempt
from everytoken.recovery.plan import Plan, Planner
from everytoken.recovery.transcript import Transcript
from everytoken.recovery.transitions import Event, State

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
_CONNECTING = State.CONNECTING


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
    accepted: bool = False
    records: int = 0
    outcome: Outcome | None = None
    error: EverytokenError | None = None
    usage: dict[str, Any] | None = None
    dialect: Dialect = field(init=False)
    transcript: Transcript = field(init=False)
    _planner: Planner = field(init=False)
    _live: LiveAttempt | None = None
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

    @property
    def state(self) -> State:
        """Where the response stands."""
        if self._live is not None:
            return self._live.state
        return State.ENDED if self.outcome is not None else State.BACKING_OFF

    @property
    def deadline(self) -> float:
        """When to call `tick`."""
        if self._live is not None:
            return self._live.deadline
        return _FOREVER if self._due is None else self._due[0]

    def connected(self, now: float) -> None:
        """The request is on its way."""
        live = self._live
        if live is not None and live.state is State.CONNECTING:
            limits = live.plan.target.policy
            live.to(Event.CONNECTED)
            limit = self._time(limits.first_content) if live.plan.streamed else limits.non_streaming
            self._set_deadline(live, now + limit)

    def accept(self, now: float) -> None:
        """The upstream has answered with success; its body follows."""
        self.connected(now)
        if self._live is not None:
            self.accepted = True
            self._planner.accepted(self._live.plan)

    def receive_data(self, now: float, data: bytes) -> list[bytes]:
        """Take bytes of a streamed answer; return the records to deliver, in order."""
        live = self._live
        if live is None or live.state is _CONNECTING:
            return []
        records = live.receive_data(now, data)
        if records:
            if not self.records:
                self.transcript.first = records[0]
            self.records += len(records)
        decoder = live.decoder
        if (
            live.state is not _STREAMING
            or decoder.terminal
            or decoder.done
            or live.error
            or live.quiet > _MAX_QUIET
        ):
            self._settle(now, live, records)
        return records

    def receive_eof(self, now: float) -> list[bytes]:
        """The streamed answer's bytes have ended, by the transport's own rules properly."""
        records: list[bytes] = []
        if self._live is not None and self._live.is_listening:
            self._receive_end(now, self._live, records)
        return records

    def receive_whole(self, now: float, body: bytes) -> list[bytes]:
        """Take an answer that came in one piece: asked for so, or sent instead of a stream."""
        live = self._live
        if live is None or not live.is_listening:
            return []
        live.last_bytes = now
        records = live.receive_whole(body)
        self._count(records)
        if live.error is not None:
            self._fail(now, live, live.error, records)
        else:
            self._receive_end(now, live, records)
        return records

    def fail(self, now: float, error: EverytokenError) -> list[bytes]:
        """The attempt has failed: no connection, a status, a break."""
        records: list[bytes] = []
        if self._live is not None:
            self._fail(now, self._live, error, records)
        return records

    def tick(self, now: float) -> list[bytes]:
        """Act on a deadline that has passed; does nothing before it."""
        records: list[bytes] = []
        live = self._live
        if now < self.deadline:
            return records
        if live is None:
            assert self._due is not None
            self._connect(now, self._due[1])
        elif live.state is State.LINGERING:
            self._complete(now, live, records)
        else:
            self._fail(now, live, stalled(live.state, live.last_bytes, now), records)
        return records

    def stop(self, now: float, error: EverytokenError | None = None) -> None:
        """End the response: somebody entitled to has stopped it, or it cannot go on because of `error`."""
        if self.outcome is not None:
            return
        if error is None:
            self._end(now, "cancelled", CancelledError("the response was stopped"))
        else:
            self._end(now, "interrupted" if self.transcript.chunks else "failed", error)

    # Within an attempt

    def _settle(self, now: float, live: LiveAttempt, records: list[bytes]) -> None:
        """Act on the first content, an end mark, an error or a flood in the bytes."""
        if live.content and live.state is not _STREAMING:
            live.to(Event.CONTENT)
            self._set_deadline(live, now + live.gap)
            self.breaker.answers(live.plan.target.name)
        decoder = live.decoder
        if live.error is not None:
            self._fail(now, live, live.error, records)
        elif decoder.done:
            self._receive_end(now, live, records)
        elif decoder.terminal:
            if live.state is not State.LINGERING:
                # The answer is whole; usage and the end mark may still follow.
                live.to(Event.FINISH)
                self._set_deadline(live, now + live.plan.target.policy.linger)
        elif live.quiet > _MAX_QUIET:
            self._fail(
                now, live, UpstreamError(f"the upstream sent {live.quiet} bytes without content"), records
            )

    def _receive_end(self, now: float, live: LiveAttempt, records: list[bytes]) -> None:
        """The bytes of the attempt have ended, or its end mark has come."""
        try:
            live.decoder.receive_eof()
        except TruncatedError as error:
            self._fail(now, live, error, records)
            return
        if live.caught_up:
            self._complete(now, live, records)
        else:
            shorter = DivergedError("the repeated response is shorter than what was delivered")
            self._fail(now, live, shorter, records)

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
        attempt, decoder = live.attempt, live.decoder
        attempt.ended, attempt.cause = now, cause
        attempt.usage = storable(decoder.usage)
        attempt.chunks = live.chunks
        attempt.estimate = self.dialect.total_usage([(None, live.chunks)])
        self.transcript.halved = self.transcript.halved or decoder.holds_half
        if isinstance(live.aligner, PrefillAligner) and live.aligner.verdict is not None and attempt.streamed:
            self.experience(live.plan.target).prefill = live.aligner.verdict
        self._live = None
        self.decisions.append(Disconnect(reusable))

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
        if plan.wait:
            self._due = now + plan.wait, plan
        else:
            self._connect(now, plan)

    def _connect(self, now: float, plan: Plan) -> None:
        self._due = None
        target, transcript = plan.target, self.transcript
        aligner = aligner_for(plan, self.dialect, transcript) if self.records else None
        if aligner is None:
            transcript.history = self.dialect.history()  # what came before was never delivered
        decoder = self.dialect.decoder(
            self.request,
            transcript.history,
            first=aligner is None,
            # Of several attempts the usage is told together, at the end.
            usage=self.request.shows_usage and not self.attempts,
            omits_end=target.omits_finish_reason,
        )
        number = len(self.attempts) + 1
        attempt = Attempt(number, target.name, plan.strategy, plan.streamed, self.records, now)
        gap = self._time(target.policy.content_gap)
        self._live = LiveAttempt(attempt, plan, self.dialect, transcript, decoder, aligner, gap=gap)
        self._live.deadline = now + self._time(target.policy.connect)
        self.breaker.claim(target.name, now)
        self.attempts.append(attempt)
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
        self.outcome, self.error, self.usage = outcome, error, self._total_usage()
        self.decisions.append(End(outcome, error))

    def _time(self, limit: float) -> float:
        return limit * 2 if self._planner.last else limit
