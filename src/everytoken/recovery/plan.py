"""Which upstream to ask next, and how: retry, prefill, replay, streamed or not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.errors import (
    ConnectError,
    DivergedError,
    ErrorEventError,
    EventTooLargeError,
    EverytokenError,
    NotAnEventStreamError,
    StalledError,
    StatusError,
)
from everytoken.recovery.authors import Author, is_same, names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.dialects.dialect import Dialect, Request
    from everytoken.recovery.attempt import Attempt
    from everytoken.recovery.breaker import Breaker
    from everytoken.recovery.policy import LearnedCapabilities, Policy, Strategy, Target
    from everytoken.recovery.transcript import Transcript

__all__ = ["Plan", "Planner"]

_FOREVER = float("inf")
_MOMENT = (
    2.0  # seconds that an upstream may want to be left alone and still get its second try before the next one
)
_ADDITIONS = re.compile(r"\b(seed|stream_options|include_usage)\b")
_SAYING = ("param", "message", "msg", "detail")

# What says something about this upstream, its key or its account, and nothing about the next one.
_ONLY_HERE = frozenset({401, 402, 403, 404, 405, 413, 451, 501})
_ONLY_HERE_CODES = frozenset(
    {
        *("context_length_exceeded", "exceed_context_size_error", "model_not_found", "model_not_supported"),
        *("unsupported_country_region_territory", "insufficient_quota", "billing_hard_limit_reached"),
    }
)
_SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})  # 429, and for good

_STREAM = re.compile(r"\bstream(ed|ing)?\b", re.IGNORECASE)

_OVERLAP = 12  # characters a continuation has to give back before it is believed: three or four tokens
_LEAST_OVERLAP = 3  # of a short text; less could come back by chance


@dataclass(slots=True)
class Plan:
    """The next attempt: whom to ask, what, and how long to wait before it (seconds).

    `overlap`: how many delivered characters a prefill leaves out, for the upstream to prove itself by; None where it
    is trusted. `added`: the body carries our own fields. `last_resort`: it does without streaming because that
    keeps breaking. `continues`: the model that has written the delivered text, if this one is another.
    """

    target: Target
    strategy: Strategy
    streamed: bool
    body: dict[str, Any]
    overlap: int | None = None
    wait: float = 0.0
    added: bool = False
    last_resort: bool = False
    continues: str = ""

    @property
    def kind(self) -> str:
        """What is not tried a second time when it has turned out not to be faithful."""
        return "proof" if self.overlap is not None else self.strategy


@dataclass(slots=True)
class Standing:
    """What one response has seen of one upstream.

    `asked`: attempts; `faults`: those that failed through its own fault. `without_additions`: it gets none of our
    additions. `unstreamed`: it is asked without streaming; `asked_non_streaming`: it was, as a last resort. `broken`: its
    streams have broken. `unusable`: it refuses this request. `unfaithful`: kinds of plans that turned out not to repeat or
    continue; `stuck`: of those that broke again where they had broken before. `not_before`: when it may be asked again;
    `told`: the same as far as it said so itself. `other_model`: it has answered with another model than the one that has
    written the text, whatever it was asked for. `learned`: what all responses have learned of it and the model.
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
    other_model: bool = False

    def wait(self, now: float) -> float:
        """Return how many seconds to leave it alone."""
        return max(0.0, self.not_before - now)


@dataclass(slots=True)
class Planner:
    """Chooses the attempts of one response. Pure: `now` and the jitter are arguments.

    `standings`: what was seen of the upstreams, by name. `oversized`: whether an event was too large.
    """

    dialect: Dialect
    request: Request
    targets: Sequence[Target]
    seed: int | None
    breaker: Breaker
    experience: Callable[[Target], LearnedCapabilities]
    transcript: Transcript
    policy: Policy
    standings: dict[str, Standing] = field(default_factory=dict)
    oversized: bool = False

    def of(self, target: Target) -> Standing:
        """Return what was seen of an upstream."""
        standing = self.standings.get(target.name)
        if standing is None:
            standing = self.standings[target.name] = Standing(self.experience(target))
        return standing

    # What is learned

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
        elif error.upstream_status in {400, 422} and plan.strategy == "prefill":
            standing.learned.prefill = "refused"
            standing.unfaithful |= {plan.kind}
        else:
            standing.unusable = True
            passing = error.upstream_status in plan.target.policy.retry_statuses
            return bool(self.transcript.chunks) or passing or is_only_here(error)
        return True

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

    # What comes next

    def next(self, now: float, attempts: Sequence[Attempt], *, beside: str | None = None) -> Plan | None:
        """Return the next attempt, or None when nothing is left that would be faithful.

        Every upstream is asked before any is asked a third time. With `beside` it is to run beside an attempt at the
        upstream of this name.
        """
        if sum(standing.asked for standing in self.standings.values()) >= self.policy.max_attempts:
            return None
        failed = attempts[-1] if attempts else None
        order = self._order(now, failed, beside)
        for target in order:
            standing = self.of(target)
            spent = standing.asked if beside else standing.faults
            if spent >= self.policy.attempts:
                continue
            streamed = not self._refuses_streaming(target)
            for strategy in self._strategies(target, streamed=streamed, first=failed is None):
                plan = self._plan(target, strategy, streamed=streamed)
                if plan is not None and plan.kind not in standing.unfaithful | standing.stuck:
                    plan.wait = standing.wait(now)
                    return plan
        return None if beside else self._last_resort(now, order)

    def _last_resort(self, now: float, order: Sequence[Target]) -> Plan | None:
        """Return an attempt without streaming, where it was streaming that broke, once for each upstream."""
        if "non-streaming" not in self.policy.strategies:
            return None
        if sum(standing.faults for standing in self.standings.values()) < 2:
            return None
        for target in order:
            standing = self.of(target)
            if not standing.broken or standing.asked_non_streaming:
                continue
            for strategy in self._strategies(target, streamed=False, first=False):
                plan = self._plan(target, strategy, streamed=False)
                if plan is not None and plan.kind not in standing.unfaithful:
                    plan.wait, plan.last_resort = standing.wait(now), True
                    return plan
        return None

    def _refuses_streaming(self, target: Target) -> bool:
        standing = self.of(target)
        return (
            self.request.needs_non_streaming or standing.unstreamed or standing.learned.streaming == "refused"
        )

    def _order(self, now: float, failed: Attempt | None, beside: str | None) -> list[Target]:
        """Return the targets to try, the best one first.

        As listed, from the one asked last on, which gets a quick second try. Behind the others stand those that the
        breaker has set aside, that want to be left alone for longer than a moment, and that have been asked twice.
        """
        targets = [
            target
            for target in self.targets
            if not (standing := self.of(target)).unusable
            and standing.told - now <= self.policy.retry_after_max
        ]
        if failed is not None:
            here = next((i for i, target in enumerate(targets) if target.name == failed.upstream), 0)
            is_slow = isinstance(failed.cause, (StalledError, NotAnEventStreamError))
            if is_slow or (targets and self.of(targets[here]).asked > 1):
                here += 1
            targets = targets[here:] + targets[:here]
        if len(targets) < 2:
            return targets
        return sorted(
            targets,
            key=lambda target: (
                target.name == beside,
                not self.breaker.allows(self.circuit(target), now),
                self.of(target).wait(now) > _MOMENT,
                max(0, self.of(target).asked - 1),
            ),
        )

    def _strategies(self, target: Target, *, streamed: bool, first: bool) -> list[Strategy]:
        """Return the strategies to try at `target`, the most dependable one first."""
        if not self.transcript.chunks:
            return ["first" if first else "retry"]
        allowed = self.policy.strategies
        strategies: list[Strategy] = ["replay"] if "replay" in allowed else []
        if "prefill" in allowed and may_prefill(target, self.of(target), same=self._is_same_model(target)):
            # A repetition is checked from its first byte, a continuation only by the overlap it gives back. So only
            # those continue at once whose word we have, in text that no tool call can follow.
            trusted = self._trusts(target, streamed=streamed) and not self.request.has_tools
            strategies.insert(0 if trusted else len(strategies), "prefill")
        return strategies

    def _trusts(self, target: Target, *, streamed: bool) -> bool:
        """Whether `target` is known to continue a prefill; without streaming llama.cpp for one repeats it."""
        known = target.prefill == "yes" or self.of(target).learned.prefill == "continues"
        return streamed and known and self._is_same_model(target)

    def _is_same_model(self, target: Target) -> bool:
        """Whether the delivered text is, by all that is known, of the model that `target` would be asked for."""
        asked = Author(target.model or self.request.model)
        return is_same(self.transcript.authors, asked) and not self.of(target).other_model

    def _plan(self, target: Target, strategy: Strategy, *, streamed: bool) -> Plan | None:
        """Return the plan of one strategy, None where it could not be faithful."""
        request = self.request
        standing = self.of(target)
        plain = standing.without_additions or standing.learned.additions == "refused"
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
            given = self.dialect.prefix(request, text[: len(text) - (overlap or 0)])
            if not given:
                return None
            # What may not be sent has to come back, so it is proved even where the upstream is trusted.
            overlap = (len(text) - len(given)) or None
            body = self.dialect.prefill(
                body,
                given,
                extra=target.prefill_extra,
                message_extra=target.prefill_message,
                delivered_tokens=self.transcript.chunks - pieces,
            )
        if not streamed:
            body = self.dialect.non_streaming(body)
        plan = Plan(target, strategy, streamed, body, overlap=overlap, added=added)
        if strategy == "prefill" and not self._is_same_model(target):
            plan.continues = names_of(self.transcript.authors)
        return plan


def may_prefill(target: Target, standing: Standing, *, same: bool) -> bool:
    """Whether an upstream may be asked to continue the delivered text; `same`: its model is the one that has written it."""
    known = standing.learned.prefill
    allowed = same or target.policy.failover == "continue"
    return allowed and target.prefill != "no" and known not in {"refused", "restarts"}


def refusal_in(error: ErrorEventError) -> StatusError:
    """Return an error that came with a 200, before any content, as the refusal that it is."""
    body = msgspec.json.encode({"error": error.error}) if isinstance(error.error, dict) else b""
    return StatusError(error.message, upstream_status=error.status, body=body)


def may_pass(error: StatusError, policy: Policy) -> bool:
    """Whether a refusal may be over in a moment: what the upstream says of that counts more than its status."""
    if error.should_retry is not None:
        return error.should_retry
    return error.upstream_status in policy.retry_statuses and _code_of(error) not in _SPENT


def is_only_here(error: StatusError) -> bool:
    """Whether another upstream may well accept what this one refuses: its keys, money, models, limits and region."""
    return error.upstream_status in _ONLY_HERE or _code_of(error) in _ONLY_HERE_CODES


def refuses_additions(error: StatusError) -> bool:
    """Whether an upstream refuses a request because of what we have added to it, by naming it.

    404: how OpenRouter says that no provider takes all the parameters.
    """
    told = _told(error)
    # What is echoed of the request beside it names everything we sent.
    words = " ".join(str(told.get(name)) for name in _SAYING) if told else repr(error.body)
    if error.upstream_status == 404:
        return "parameter" in words
    return error.upstream_status in {400, 422} and _ADDITIONS.search(words) is not None


def refuses_streaming(error: StatusError, request: Request) -> bool:
    """Whether an upstream refuses a request because it is to be streamed.

    Its `param` says so; its words only where the caller had not asked for a stream, so that it was our doing.
    """
    told = _told(error)
    if told is None or error.upstream_status not in {400, 422}:
        return False
    return told.get("param") == "stream" or (
        not request.stream and _STREAM.search(str(told.get("message"))) is not None
    )


def _code_of(error: StatusError) -> str:
    told = _told(error) or {}
    return str(told.get("code") or told.get("type") or "")


def _told(error: StatusError) -> dict[str, Any] | None:
    """Return the object in an error's body that says what is wrong, or None."""
    try:
        body = msgspec.json.decode(error.body)
    except (msgspec.DecodeError, RecursionError):
        return None
    if isinstance(body, list):
        body = body[0] if body else None  # Gemini
    told = body.get("error", body) if isinstance(body, dict) else None
    return told if isinstance(told, dict) else None
