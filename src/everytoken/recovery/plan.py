"""Which upstream to ask next, and how: retry, prefill, replay, streamed or not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

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

    from everytoken.dialects.dialect import Dialect, Request
    from everytoken.recovery.attempt import Attempt
    from everytoken.recovery.breaker import Breaker
    from everytoken.recovery.policy import LearnedCapabilities, Policy, Strategy, Target
    from everytoken.recovery.transcript import Transcript

__all__ = ["Plan", "Planner", "is_fault", "refuses_streaming"]

_STREAM = re.compile(r"\bstream(ed|ing)?\b", re.IGNORECASE)

_OVERLAP = 12  # characters a continuation has to give back before it is believed: three or four tokens
_LEAST_OVERLAP = 3  # of a short text; less could come back by chance


@dataclass(slots=True)
class Plan:
    """The next attempt: whom to ask, what, and how long to wait before it (seconds).

    `overlap`: how many delivered characters a prefill leaves out, for the upstream to prove itself by; None where it
    is trusted. `added`: the body carries fields of ours.
    """

    target: Target
    strategy: Strategy
    streamed: bool
    body: dict[str, Any]
    overlap: int | None = None
    wait: float = 0.0
    added: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What is not tried a second time when it has turned out not to be faithful."""
        return self.target.name, "proof" if self.overlap is not None else self.strategy


@dataclass(slots=True)
class Planner:
    """Chooses the attempts of one response. Pure: `now` and the jitter are arguments.

    `faults`: attempts that failed through the upstream's fault. `without_additions`: upstreams that get none of our
    additions. `unstreamed`: those that are asked without streaming. `exhausted`: the keys of plans that turned out not to
    be faithful. `unusable`: upstreams that refuse this request. `not_before`: when one wants to be asked again.
    """

    dialect: Dialect
    request: Request
    targets: Sequence[Target]
    seed: int | None
    breaker: Breaker
    experience: Callable[[Target], LearnedCapabilities]
    transcript: Transcript
    policy: Policy
    faults: int = 0
    without_additions: set[str] = field(default_factory=set)
    unstreamed: set[str] = field(default_factory=set)
    exhausted: set[tuple[str, str]] = field(default_factory=set)
    unusable: set[str] = field(default_factory=set)
    not_before: dict[str, float] = field(default_factory=dict)

    @property
    def last(self) -> bool:
        """Whether the next fault would be the last one allowed, and not the first."""
        return 0 < self.faults >= self.policy.attempts - 1

    def accepted(self, plan: Plan) -> None:
        """Learn from an upstream's having taken a request."""
        experience, name = self.experience(plan.target), plan.target.name
        if name in self.without_additions:
            experience.additions = "refused"
        elif plan.added:
            experience.additions = "accepted"
        if name in self.unstreamed:
            experience.streaming = "refused"

    def blame(self, now: float, error: EverytokenError, plan: Plan) -> bool:
        """Draw the consequences of a failed attempt; returns False when the caller has to be told at once."""
        name, experience = plan.target.name, self.experience(plan.target)
        if isinstance(error, StatusError) and error.retry_after is not None:
            self.not_before[name] = now + error.retry_after
        if is_fault(error, plan.target.policy):
            self.faults += 1
            if not isinstance(error, StatusError) or error.upstream_status >= 500:
                self.breaker.failed(name, now)
        elif not isinstance(error, StatusError):
            self.exhausted.add(plan.key)
        elif error.upstream_status in {400, 422} and plan.streamed and refuses_streaming(error, self.request):
            self.unstreamed.add(name)
        elif error.upstream_status in {400, 422} and plan.strategy == "prefill":
            experience.prefill = "refused"
            self.exhausted.add(plan.key)
        elif (
            error.upstream_status in {400, 422}
            and plan.added
            and experience.additions == "unknown"
            and name not in self.without_additions
        ):
            # Perhaps it was our seed or stream_options that it did not like: once more without.
            self.without_additions.add(name)
        else:
            self.unusable.add(name)
            return bool(self.transcript.chunks)
        return True

    def next(self, now: float, attempts: Sequence[Attempt], jitter: float) -> Plan | None:
        """Return the next attempt, or None when nothing is left that would be faithful."""
        streamed = not self._streaming_keeps_failing(attempts)
        if streamed and self.faults >= self.policy.attempts:
            return None
        failed = attempts[-1] if attempts else None
        for target in self._order(now, failed):
            wanted = max(0.0, self.not_before.get(target.name, now) - now)
            if wanted > self.policy.retry_after_max:
                continue
            here = streamed and not self._refuses_streaming(target)
            for strategy in self._strategies(target, streamed=here, first=failed is None):
                plan = self._plan(target, strategy, streamed=here)
                if plan is not None and plan.key not in self.exhausted:
                    plan.wait = max(wanted, self._back_off(target, failed, jitter))
                    return plan
        return None

    def _refuses_streaming(self, target: Target) -> bool:
        return (
            self.request.needs_whole
            or target.name in self.unstreamed
            or self.experience(target).streaming == "refused"
        )

    def _order(self, now: float, failed: Attempt | None) -> list[Target]:
        """Return the targets to try: as listed, from the one asked last on, those set aside behind the others."""
        targets = [target for target in self.targets if target.name not in self.unusable]
        if failed is not None:
            here = next((i for i, target in enumerate(targets) if target.name == failed.upstream), 0)
            if _in_trouble(failed.cause, self.policy):
                here += 1
            targets = targets[here:] + targets[:here]
        return sorted(targets, key=lambda target: not self.breaker.allows(target.name, now))

    def _strategies(self, target: Target, *, streamed: bool, first: bool) -> list[Strategy]:
        """Return the strategies to try at `target`, the most dependable one first."""
        if not self.transcript.chunks:
            return ["first" if first else "retry"]
        allowed = self.policy.strategies
        strategies: list[Strategy] = ["replay"] if "replay" in allowed else []
        known = self.experience(target).prefill
        if "prefill" in allowed and target.prefill != "no" and known not in {"refused", "restarts"}:
            # A repetition is checked from its first byte, a continuation only by the overlap it gives back. So only
            # those go on at once whose word we have, in text that no tool call can follow.
            trusted = self._trusts(target, streamed=streamed) and not self.request.has_tools
            strategies.insert(0 if trusted else len(strategies), "prefill")
        return strategies

    def _trusts(self, target: Target, *, streamed: bool) -> bool:
        """Whether `target` is known to continue a prefill; without streaming llama.cpp for one repeats it."""
        return streamed and (target.prefill == "yes" or self.experience(target).prefill == "continues")

    def _back_off(self, target: Target, failed: Attempt | None, jitter: float) -> float:
        """Return the seconds `target` is given to recover after a fault of its own that names no time itself."""
        if failed is None or failed.upstream != target.name or not is_fault(failed.cause, target.policy):
            return 0.0
        if isinstance(failed.cause, StatusError) and failed.cause.retry_after is not None:
            return 0.0
        doubled: float = self.policy.backoff * 2 ** min(max(self.faults - 1, 0), 16)
        return min(doubled, self.policy.backoff_max) * (0.5 + 0.5 * jitter)

    def _plan(self, target: Target, strategy: Strategy, *, streamed: bool) -> Plan | None:
        """Return the plan of one strategy, None where it could not be faithful."""
        request = self.request
        plain = target.name in self.without_additions or self.experience(target).additions == "refused"
        seed = self.seed if target.seeds and not plain else None
        usage = target.usage and not plain
        body = self.dialect.body(request, model=target.model, seed=seed, usage=usage, extra=target.extra)
        added = (seed is not None and request.seed is None) or (usage and not request.shows_usage)
        overlap: int | None = None
        if strategy == "prefill":
            text, pieces = self.transcript.text, 0
            if not text or not self.transcript.text_only or request.has_grammar:
                return None
            if not self._trusts(target, streamed=streamed):
                overlap, pieces = self.transcript.overlap(_OVERLAP, _LEAST_OVERLAP)
                if not overlap:
                    return None
            body = self.dialect.prefill(
                body,
                text[: len(text) - (overlap or 0)],
                extra=target.prefill_extra,
                message_extra=target.prefill_message,
                delivered_tokens=self.transcript.chunks - pieces,
            )
        if not streamed:
            body = self.dialect.non_streaming(body)
        return Plan(target, strategy, streamed, body, overlap=overlap, added=added)

    def _streaming_keeps_failing(self, attempts: Sequence[Attempt]) -> bool:
        """Whether the last attempt should do without streaming: it was streaming that broke, every time.

        Not so where no stream began, nor for silence, which would only be a longer silence. A continuation that got on
        before it broke is streamed once more; doing without is then one attempt beyond those allowed.
        """
        faults = [attempt for attempt in attempts if is_fault(attempt.cause, self.policy)]
        if "non-streaming" not in self.policy.strategies or self.faults < 2:
            return False
        if any(isinstance(fault.cause, (ConnectError, StatusError, StalledError)) for fault in faults):
            return False
        got_on = faults[-1].strategy == "prefill" and faults[-1].streamed and faults[-1].chunks > 0
        return self.faults == self.policy.attempts - (0 if got_on else 1)


def is_fault(cause: EverytokenError | None, policy: Policy) -> bool:
    """Whether `cause` is the upstream's failure, rather than a strategy's or a refusal: another try may help."""
    if isinstance(cause, StatusError):
        return cause.upstream_status in policy.retry_statuses
    return not isinstance(cause, DivergedError)


def refuses_streaming(error: StatusError, request: Request) -> bool:
    """Whether an upstream refuses a request because it is to be streamed.

    Its `param` says so; its words only where the caller had not asked for a stream, so that it was our doing.
    """
    try:
        body = msgspec.json.decode(error.body)
    except (msgspec.DecodeError, RecursionError):
        return False
    told = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(told, dict):
        return False
    return told.get("param") == "stream" or (
        not request.stream and _STREAM.search(str(told.get("message"))) is not None
    )


def _in_trouble(cause: EverytokenError | None, policy: Policy) -> bool:
    """Whether `cause` says that the upstream itself is in trouble, rather than this one stream."""
    kinds = (ConnectError, StatusError, StalledError, NotAnEventStreamError)
    return isinstance(cause, kinds) and is_fault(cause, policy)
