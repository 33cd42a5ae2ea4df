"""Which upstream to ask next, and how: retry, prefill, replay, streamed or not."""

from __future__ import annotations

import re
from collections import Counter
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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.dialects.dialect import Dialect, Request
    from everytoken.recovery.attempt import Attempt
    from everytoken.recovery.breaker import Breaker
    from everytoken.recovery.policy import LearnedCapabilities, Policy, Strategy, Target
    from everytoken.recovery.transcript import Transcript

__all__ = ["Plan", "Planner"]

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
    keeps breaking.
    """

    target: Target
    strategy: Strategy
    streamed: bool
    body: dict[str, Any]
    overlap: int | None = None
    wait: float = 0.0
    added: bool = False
    last_resort: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What is not tried a second time when it has turned out not to be faithful."""
        return self.target.name, "proof" if self.overlap is not None else self.strategy


@dataclass(slots=True)
class Planner:
    """Chooses the attempts of one response. Pure: `now` and the jitter are arguments.

    `asked`: attempts at each upstream; `faults`: those that failed through its own fault. `without_additions`: upstreams
    that get none of our additions. `unstreamed`: those that are asked without streaming. `unfaithful`: keys of plans that
    turned out not to repeat or continue; `stuck`: of those that broke again where they had broken before. `broken`:
    upstreams whose streams have broken. `unusable`: those that refuse this request. `oversized`: whether an event was too
    large. `not_before`: when one may be asked again; `told`: the same as far as it said so itself.
    """

    dialect: Dialect
    request: Request
    targets: Sequence[Target]
    seed: int | None
    breaker: Breaker
    experience: Callable[[Target], LearnedCapabilities]
    transcript: Transcript
    policy: Policy
    asked: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    without_additions: set[str] = field(default_factory=set)
    unstreamed: set[str] = field(default_factory=set)
    unfaithful: set[tuple[str, str]] = field(default_factory=set)
    stuck: set[tuple[str, str]] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    asked_whole: set[str] = field(default_factory=set)
    unusable: set[str] = field(default_factory=set)
    oversized: bool = False
    not_before: dict[str, float] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)

    # What is learned

    def begun(self, now: float, plan: Plan) -> None:
        """Record an attempt that begins."""
        self.asked[plan.target.name] += 1
        self.breaker.claim(self.circuit(plan.target), now)
        if plan.last_resort:
            self.asked_whole.add(plan.target.name)

    def accepted(self, plan: Plan) -> None:
        """Learn from an upstream's having taken a request."""
        experience, name = self.experience(plan.target), plan.target.name
        if name in self.without_additions:
            experience.additions = "refused"
        elif plan.added:
            experience.additions = "accepted"
        if name in self.unstreamed:
            experience.streaming = "refused"

    def blame(
        self, now: float, error: EverytokenError, plan: Plan, *, progressed: bool, jitter: float
    ) -> bool:
        """Draw the consequences of a failed attempt; returns False when the caller has to be told at once.

        `progressed`: whether it delivered anything.
        """
        name = plan.target.name
        if isinstance(error, ErrorEventError) and error.status < 500 and not self.transcript.chunks:
            error = refusal_in(error)
        if isinstance(error, StatusError):
            return self._blame_status(now, error, plan, jitter)
        if isinstance(error, DivergedError):
            self.unfaithful.add(plan.key)
            return True
        if isinstance(error, EventTooLargeError):
            return self._blame_size(plan)
        self._fault(now, plan, jitter)
        if not isinstance(error, (ConnectError, StalledError)):
            self.broken.add(name)
            if not progressed and plan.strategy == "replay":
                self.stuck.add(plan.key)
        return True

    def _blame_size(self, plan: Plan) -> bool:
        """Ask once more, elsewhere if there is another upstream: an answer that is too large most likely stays so."""
        others = {target.name for target in self.targets} - self.unusable - {plan.target.name}
        if self.oversized:
            self.unusable |= {target.name for target in self.targets}
        elif others:
            self.unusable.add(plan.target.name)
        self.oversized = True
        self.faults[plan.target.name] += 1
        return True

    def _blame_status(self, now: float, error: StatusError, plan: Plan, jitter: float) -> bool:
        name, experience = plan.target.name, self.experience(plan.target)
        if error.retry_after is not None:
            self.not_before[name] = self.told[name] = now + error.retry_after
        if may_pass(error, plan.target.policy):
            self._fault(now, plan, jitter, too_often=error.upstream_status < 500)
        elif plan.added and name not in self.without_additions and refuses_additions(error):
            self.without_additions.add(name)
        elif plan.streamed and refuses_streaming(error, self.request):
            self.unstreamed.add(name)
        elif error.upstream_status in {400, 422} and plan.strategy == "prefill":
            experience.prefill = "refused"
            self.unfaithful.add(plan.key)
        else:
            self.unusable.add(name)
            passing = error.upstream_status in plan.target.policy.retry_statuses
            return bool(self.transcript.chunks) or passing or is_only_here(error)
        return True

    def _fault(self, now: float, plan: Plan, jitter: float, *, too_often: bool = False) -> None:
        """Count a failure of the upstream itself, and give it a while to recover unless it has named one."""
        name = plan.target.name
        self.faults[name] += 1
        if not too_often:
            self.breaker.failed(self.circuit(plan.target), now)
        if self.not_before.get(name, -1.0) < now:
            doubled: float = self.policy.backoff * 2 ** min(self.faults[name] - 1, 16)
            self.not_before[name] = now + min(doubled, self.policy.backoff_max) * (0.5 + 0.5 * jitter)

    def circuit(self, target: Target) -> tuple[str, str]:
        """Return what the breaker knows an upstream by: it may fail for one model and serve another."""
        return target.name, target.model or self.request.model

    # What comes next

    def next(self, now: float, attempts: Sequence[Attempt], *, beside: str | None = None) -> Plan | None:
        """Return the next attempt, or None when nothing is left that would be faithful.

        Every upstream is asked before any is asked a third time. With `beside` it is to run beside an attempt at the
        upstream of this name.
        """
        if self.asked.total() >= self.policy.max_attempts:
            return None
        failed = attempts[-1] if attempts else None
        order = self._order(now, failed, beside)
        for target in order:
            spent = self.asked if beside else self.faults
            if spent[target.name] >= self.policy.attempts:
                continue
            streamed = not self._refuses_streaming(target)
            for strategy in self._strategies(target, streamed=streamed, first=failed is None):
                plan = self._plan(target, strategy, streamed=streamed)
                if plan is not None and plan.key not in self.unfaithful | self.stuck:
                    plan.wait = self._wait(target, now)
                    return plan
        return None if beside else self._last_resort(now, order)

    def _last_resort(self, now: float, order: Sequence[Target]) -> Plan | None:
        """Return an attempt without streaming, where it was streaming that broke, once for each upstream."""
        if "non-streaming" not in self.policy.strategies:
            return None
        for target in order:
            if target.name not in self.broken or target.name in self.asked_whole or self.faults.total() < 2:
                continue
            for strategy in self._strategies(target, streamed=False, first=False):
                plan = self._plan(target, strategy, streamed=False)
                if plan is not None and plan.key not in self.unfaithful:
                    plan.wait, plan.last_resort = self._wait(target, now), True
                    return plan
        return None

    def _wait(self, target: Target, now: float) -> float:
        return max(0.0, self.not_before.get(target.name, now) - now)

    def _refuses_streaming(self, target: Target) -> bool:
        return (
            self.request.needs_whole
            or target.name in self.unstreamed
            or self.experience(target).streaming == "refused"
        )

    def _order(self, now: float, failed: Attempt | None, beside: str | None) -> list[Target]:
        """Return the targets to try, the best one first.

        As listed, from the one asked last on, which gets a quick second try. Behind the others stand those that the
        breaker has set aside, that want to be left alone for longer than a moment, and that have been asked twice.
        """
        targets = [
            target
            for target in self.targets
            if target.name not in self.unusable
            and self.told.get(target.name, now) - now <= self.policy.retry_after_max
        ]
        if failed is not None:
            here = next((i for i, target in enumerate(targets) if target.name == failed.upstream), 0)
            is_slow = isinstance(failed.cause, (StalledError, NotAnEventStreamError))
            if is_slow or (targets and self.asked[targets[here].name] > 1):
                here += 1
            targets = targets[here:] + targets[:here]
        return sorted(
            targets,
            key=lambda target: (
                target.name == beside,
                not self.breaker.allows(self.circuit(target), now),
                self._wait(target, now) > _MOMENT,
                max(0, self.asked[target.name] - 1),
            ),
        )

    def _strategies(self, target: Target, *, streamed: bool, first: bool) -> list[Strategy]:
        """Return the strategies to try at `target`, the most dependable one first."""
        if not self.transcript.chunks:
            return ["first" if first else "retry"]
        allowed = self.policy.strategies
        strategies: list[Strategy] = ["replay"] if "replay" in allowed else []
        known = self.experience(target).prefill
        if "prefill" in allowed and target.prefill != "no" and known not in {"refused", "restarts"}:
            # A repetition is checked from its first byte, a continuation only by the overlap it gives back. So only
            # those continue at once whose word we have, in text that no tool call can follow.
            trusted = self._trusts(target, streamed=streamed) and not self.request.has_tools
            strategies.insert(0 if trusted else len(strategies), "prefill")
        return strategies

    def _trusts(self, target: Target, *, streamed: bool) -> bool:
        """Whether `target` is known to continue a prefill; without streaming llama.cpp for one repeats it."""
        return streamed and (target.prefill == "yes" or self.experience(target).prefill == "continues")

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
        return Plan(target, strategy, streamed, body, overlap=overlap, added=added)


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
