"""What one response has seen of its upstreams, and what follows from a failed attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from everytoken.errors import (
    ConnectError,
    DivergedError,
    ErrorEventError,
    EventTooLargeError,
    EverytokenError,
    InvalidRequestError,
    StalledError,
    StatusError,
    UntranslatableError,
)
from everytoken.recovery.refusals import (
    is_in,
    is_only_here,
    lacks_path,
    may_pass,
    refusal_in,
    refused_field,
    refuses_additions,
    refuses_streaming,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.dialects.dialect import Dialect, Request
    from everytoken.recovery.breaker import Breaker
    from everytoken.recovery.plan import Plan
    from everytoken.recovery.policy import LearnedCapabilities, Policy, Target
    from everytoken.recovery.transcript import Transcript

__all__ = ["Standing", "Standings"]

_FOREVER = float("inf")
_MISSES = 3600.0  # seconds for which an upstream is not asked again in an API that it lacks


@dataclass(slots=True)
class Standing:
    """What one response has seen of one upstream.

    `asked`: attempts; `faults`: those that failed through its own fault. `without_additions`: it gets none of our
    additions. `unstreamed`: it is asked without streaming; `asked_non_streaming`: it was, as a last resort. `broken`: its
    streams have broken. `unusable`: it refuses this request. `unfaithful`: kinds of plans that turned out not to repeat or
    continue; `stuck`: of those that broke again where they had broken before. `not_before`: when it may be asked again;
    `told`: the same as far as it said so itself. `other_model`: it has answered with another model than the one that has
    written the text, whatever it was asked for. `learned`: what all responses have learned of it and the model. `request`: the
    caller's in the API that it is asked in, once that was needed.
    """

    learned: LearnedCapabilities
    asked: int = 0
    faults: int = 0
    without_additions: bool = False
    unstreamed: bool = False
    asked_non_streaming: bool = False
    broken: bool = False
    unusable: bool = False
    unfaithful: frozenset[str] = frozenset()
    stuck: frozenset[str] = frozenset()
    not_before: float = -_FOREVER
    told: float = -_FOREVER
    request: Request | None = None
    other_model: bool = False

    def wait(self, now: float) -> float:
        """Return how many seconds to leave it alone."""
        return max(0.0, self.not_before - now)


@dataclass(slots=True)
class Standings:
    """The upstreams of one response, as it has seen them. Pure: `now` and the jitter are arguments.

    `standings`: what was seen of the upstreams, by name and API; `last`: the one asked for last. `oversized`: whether an event was too large. `refusal`:
    why the request cannot be said in the API of an upstream, or None.
    """

    dialect: Dialect
    request: Request
    targets: Sequence[Target]
    seed: int | None
    breaker: Breaker
    experience: Callable[[Target], LearnedCapabilities]
    transcript: Transcript
    policy: Policy
    standings: dict[tuple[str, str], Standing] = field(default_factory=dict)
    last: tuple[Target | None, Standing | None] = (None, None)
    oversized: bool = False
    refusal: InvalidRequestError | None = None

    def of(self, target: Target) -> Standing:
        """Return what was seen of an upstream."""
        last, standing = self.last
        if last is target and standing is not None:
            return standing  # it is asked for ten times in a response of one attempt
        key = target.name, target.api(self.dialect.name)
        standing = self.standings.get(key)
        if standing is None:
            standing = self.standings[key] = Standing(self.experience(target))
        self.last = target, standing
        return standing

    def begun(self, now: float, plan: Plan) -> None:
        """Record an attempt that begins."""
        standing = self.of(plan.target)
        standing.asked += 1
        self.breaker.claim(self.circuit(plan.target), now)
        if plan.last_resort:
            standing.asked_non_streaming = True

    def accepted(self, plan: Plan) -> None:
        """Learn from an upstream's having taken a request."""
        standing = self.of(plan.target)
        if standing.without_additions:
            standing.learned.additions = "refused"
        elif plan.added:
            standing.learned.additions = "accepted"
        if standing.unstreamed:
            standing.learned.streaming = "refused"

    def blame(
        self, now: float, error: EverytokenError, plan: Plan, *, progressed: bool, jitter: float
    ) -> bool:
        """Draw the consequences of a failed attempt; returns False when the caller has to be told at once.

        `progressed`: whether it delivered anything.
        """
        if isinstance(error, ErrorEventError) and error.status < 500 and not self.transcript.chunks:
            error = refusal_in(error)
        if isinstance(error, StatusError):
            return self._blame_status(now, error, plan, jitter)
        standing = self.of(plan.target)
        if isinstance(error, DivergedError):
            standing.unfaithful |= {plan.kind}
            return True
        if isinstance(error, UntranslatableError):
            standing.unusable = True  # it would say the same again
            return True
        if isinstance(error, EventTooLargeError):
            return self._blame_size(plan)
        self._fault(now, plan, jitter)
        if not isinstance(error, (ConnectError, StalledError)):
            standing.broken = True
            if not progressed and plan.strategy == "replay":
                standing.stuck |= {plan.kind}
        return True

    def _blame_size(self, plan: Plan) -> bool:
        """Ask once more, elsewhere if there is another upstream: a response that is too large most likely stays so."""
        here = plan.target.name
        if self.oversized:
            for target in self.targets:
                self.of(target).unusable = True
        elif any(target.name != here and not self.of(target).unusable for target in self.targets):
            self.of(plan.target).unusable = True
        self.oversized = True
        self.of(plan.target).faults += 1
        return True

    def _blame_status(self, now: float, error: StatusError, plan: Plan, jitter: float) -> bool:
        standing = self.of(plan.target)
        if error.retry_after is not None:
            standing.not_before = standing.told = now + error.retry_after
        if may_pass(error, plan.target.policy):
            self._fault(now, plan, jitter, too_often=error.upstream_status < 500)
        elif plan.added and not standing.without_additions and refuses_additions(error):
            standing.without_additions = True
        elif plan.streamed and refuses_streaming(error, self.request):
            standing.unstreamed = True
        elif plan.target.instead is not None and lacks_path(error):
            standing.learned.missing_until = now + _MISSES
        elif (path := self._spared(error, plan.target)) is not None:
            standing.learned.refuses.append(path)
            standing.request = None
        elif error.upstream_status in {400, 422} and plan.strategy == "prefill":
            standing.learned.prefill = "refused"
            standing.unfaithful |= {plan.kind}
        else:
            standing.unusable = True
            passing = error.upstream_status in plan.target.policy.retry_statuses
            return bool(self.transcript.chunks) or passing or is_only_here(error)
        return True

    def _spared(self, error: StatusError, target: Target) -> str | None:
        """Return the field of a translated request that an upstream refuses and that the request can do without, or None."""
        request = self.of(target).request
        if target.translation is None or request is None:
            return None
        return refused_field(error, [path for path in target.translation.spared if is_in(request.body, path)])

    def _fault(self, now: float, plan: Plan, jitter: float, *, too_often: bool = False) -> None:
        """Count a failure of the upstream itself, and give it a while to recover unless it has named one."""
        standing = self.of(plan.target)
        standing.faults += 1
        if not too_often:
            self.breaker.failed(self.circuit(plan.target), now)
        if standing.not_before < now:
            doubled: float = self.policy.backoff * 2 ** min(standing.faults - 1, 16)
            standing.not_before = now + min(doubled, self.policy.backoff_max) * (0.5 + 0.5 * jitter)

    def circuit(self, target: Target) -> tuple[str, str]:
        """Return what the breaker knows an upstream by: it may fail for one model and serve another."""
        return target.name, target.model or self.request.model
