"""Which upstream to ask next, and how: retry, prefill, replay, streamed or whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from everytoken.chat import continuation
from everytoken.errors import (
    ConnectError,
    DivergedError,
    EverytokenError,
    NotAnEventStreamError,
    StalledError,
    StatusError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.chat import ChatRequest
    from everytoken.recovery.breaker import Breaker
    from everytoken.recovery.policy import Experience, Policy, Strategy, Target
    from everytoken.recovery.transcript import Transcript

__all__ = ["Attempt", "Plan", "Planner"]

OVERLAP = 12  # characters a continuation has to give back before it is believed: three or four tokens


@dataclass(slots=True)
class Attempt:
    """One upstream connection serving the response. Times are the driver's; `offset` counts records (the seam)."""

    number: int
    upstream: str
    strategy: Strategy
    streamed: bool
    offset: int
    started: float
    ended: float | None = None
    cause: EverytokenError | None = None
    usage: dict[str, Any] | None = None
    chunks: int = 0
    only_done: bool = False  # its bytes ended with [DONE] but without a finish_reason

    def describe(self, origin: float) -> dict[str, Any]:
        """Return what logs and metadata show of it; times in seconds since `origin`."""
        cause = self.cause
        usage = self.usage or ({"completion_tokens": self.chunks, "estimated": True} if self.chunks else None)
        return {
            "number": self.number,
            "upstream": self.upstream,
            "strategy": self.strategy,
            "streamed": self.streamed,
            "offset": self.offset,
            "started": round(self.started - origin, 3),
            "ended": None if self.ended is None else round(self.ended - origin, 3),
            "cause": None if cause is None else {"code": cause.code, "message": cause.message},
            "usage": usage,
        }


@dataclass(slots=True)
class Plan:
    """The next attempt: whom to ask, what, and how long to wait before it (seconds)."""

    target: Target
    strategy: Strategy
    streamed: bool
    body: dict[str, Any]
    overlap: int | None = None  # set where a prefill must prove itself
    wait: float = 0.0
    added: bool = False  # the body carries fields of ours


@dataclass(slots=True)
class Planner:
    """Chooses the attempts of one response. Pure: `now` and the jitter are arguments."""

    request: ChatRequest
    targets: Sequence[Target]
    seed: int | None
    breaker: Breaker
    experience: Callable[[Target], Experience]
    transcript: Transcript
    policy: Policy
    faults: int = 0
    bare: bool = False
    spent: set[tuple[str, str]] = field(default_factory=set)
    unusable: set[str] = field(default_factory=set)

    @property
    def last(self) -> bool:
        """Whether the next fault would be the last one allowed."""
        return self.faults >= self.policy.attempts - 1

    def next(self, now: float, attempts: Sequence[Attempt], jitter: float) -> Plan | None:
        """Return the next attempt, or None when nothing is left that would be faithful."""
        if self.faults >= self.policy.attempts:
            return None
        failed = attempts[-1] if attempts else None
        for target in self._order(now, failed):
            for strategy in self._strategies(target, first=failed is None):
                if (target.name, strategy) in self.spent:
                    continue
                wait = self._wait(target, failed, jitter)
                if wait is None:
                    break
                plan = self._plan(target, strategy, attempts)
                if plan is None:
                    continue
                plan.wait = wait
                return plan
        return None

    def _order(self, now: float, failed: Attempt | None) -> list[Target]:
        """Return the targets to try: as listed, but after a failure of its own an upstream goes to the end."""
        targets = [target for target in self.targets if target.name not in self.unusable]
        if failed is not None:
            here = next((i for i, target in enumerate(targets) if target.name == failed.upstream), 0)
            if _speaks_of_the_upstream(failed.cause):
                here += 1
            targets = targets[here:] + targets[:here]
        return sorted(targets, key=lambda target: not self.breaker.allows(target.name, now))

    def _strategies(self, target: Target, *, first: bool) -> list[Strategy]:
        if not self.transcript.chunks:
            return ["first" if first else "retry"]
        allowed = self.policy.strategies
        known = self.experience(target).prefill
        strategies: list[Strategy] = ["replay"] if "replay" in allowed else []
        if "prefill" in allowed and target.prefill != "no" and known not in {"refused", "restarts"}:
            # An upstream that has not shown what it does with a prefill is asked to repeat first: a repetition is
            # checked from its first byte, a continuation only by the overlap it gives back.
            trusted = target.prefill == "yes" or known == "continues"
            strategies.insert(0 if trusted else len(strategies), "prefill")
        return strategies

    def _wait(self, target: Target, failed: Attempt | None, jitter: float) -> float | None:
        """Return the seconds to wait before asking `target`; None when it asks for more than is allowed."""
        if failed is None or failed.upstream != target.name or isinstance(failed.cause, DivergedError):
            return 0.0
        cause = failed.cause
        if isinstance(cause, StatusError):
            if not cause.retryable:
                return 0.0
            if cause.retry_after is not None:
                return cause.retry_after if cause.retry_after <= self.policy.retry_after_max else None
        ceiling: float = min(
            self.policy.backoff * 2 ** min(max(self.faults - 1, 0), 16), self.policy.backoff_max
        )
        return ceiling * (0.5 + 0.5 * jitter)

    def _plan(self, target: Target, strategy: Strategy, attempts: Sequence[Attempt]) -> Plan | None:
        seed = self.seed if target.seeds and not self.bare else None
        usage = target.usage and not self.bare
        if self.experience(target).additions == "refused":
            seed, usage = None, False
        request = self.request
        body = continuation.streaming(request, model=target.model, seed=seed, usage=usage, extra=target.extra)
        added = (seed is not None and "seed" not in request.body) or (usage and not request.include_usage)
        overlap: int | None = None
        if strategy == "prefill":
            text = self.transcript.text
            if not self.transcript.text_only or not text or _asks_for_json(request):
                return None
            if target.prefill != "yes" and self.experience(target).prefill != "continues":
                overlap = self.transcript.overlap(OVERLAP)
                if not overlap:
                    return None
            body = continuation.prefill(
                body,
                text[: len(text) - (overlap or 0)],
                extra=target.prefill_extra,
                message_extra=target.prefill_message,
                delivered_tokens=self.transcript.chunks,
            )
        streamed = not self._streaming_keeps_failing(attempts)
        if not streamed:
            body = continuation.whole(body)
        return Plan(target, strategy, streamed, body, overlap=overlap, added=added)

    def _streaming_keeps_failing(self, attempts: Sequence[Attempt]) -> bool:
        """Whether the last allowed attempt should do without streaming: all before it broke while streaming."""
        if "non-streaming" not in self.policy.strategies or not self.last or self.faults < 2:
            return False
        causes = [attempt.cause for attempt in attempts if not isinstance(attempt.cause, DivergedError)]
        return all(attempt.streamed for attempt in attempts) and not any(
            isinstance(cause, (ConnectError, StatusError)) for cause in causes
        )


def _speaks_of_the_upstream(cause: EverytokenError | None) -> bool:
    """Whether `cause` says that the upstream itself is in trouble, rather than this one stream."""
    if isinstance(cause, StalledError):
        return True
    return isinstance(cause, (ConnectError, StatusError, NotAnEventStreamError))


def _asks_for_json(request: ChatRequest) -> bool:
    """Whether the answer is bound to a grammar, which would begin anew after a prefill."""
    form = request.body.get("response_format")
    return isinstance(form, dict) and form.get("type") in {"json_object", "json_schema"}
