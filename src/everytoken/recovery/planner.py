"""Which upstream to ask next, and how: retry, prefill, replay, streamed or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.errors import (
    InvalidRequestError,
    NotAnEventStreamError,
    StalledError,
)
from everytoken.recovery.authors import Author, is_same, names_of
from everytoken.recovery.plan import Plan
from everytoken.recovery.standing import Standing, Standings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.dialects.dialect import Dialect, Request
    from everytoken.recovery.attempt import Attempt
    from everytoken.recovery.policy import Strategy, Target

__all__ = ["Planner"]

_FOREVER = float("inf")
_MOMENT = (
    2.0  # seconds that an upstream may want to be left alone and still get its second try before the next one
)
_OVERLAP = 12  # characters a continuation has to give back before it is believed: three or four tokens
_LEAST_OVERLAP = 3  # of a short text; less could come back by chance


class Planner(Standings):
    """Chooses the attempts of one response."""

    __slots__ = ()

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
            for target in self._spoken(now)
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

    def _spoken(self, now: float) -> Sequence[Target]:
        """Return the targets, each in the first API that it is not known to lack."""
        for target in self.targets:
            if target.instead is not None:
                return [self._offered(target, now) for target in self.targets]
        return self.targets

    def _offered(self, target: Target, now: float) -> Target:
        while target.instead is not None and self.of(target).learned.missing_until > now:
            target = target.instead
        return target

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
        standing = self.of(target)
        dialect, request = self._spoken_to(target, standing)
        if request is None:
            return None
        plain = standing.without_additions or standing.learned.additions == "refused"
        seed = self.seed if target.seeds and not plain else None
        usage = target.usage and not plain
        body = dialect.body(request, model=target.model, seed=seed, usage=usage, extra=target.extra)
        added = (seed is not None and request.seed is None) or (usage and not request.shows_usage)
        overlap: int | None = None
        if strategy == "prefill":
            text, pieces = self.transcript.text, 0
            if not text or not self.transcript.text_only or self.request.has_grammar:
                return None
            if not self._trusts(target, streamed=streamed):
                overlap, pieces = self.transcript.overlap(_OVERLAP, _LEAST_OVERLAP)
                if not overlap:
                    return None
            given = text[: len(text) - (overlap or 0)]
            # An answer of the caller's API has to be one that can begin in the middle.
            given = dialect.prefix(request, given) if self.dialect.prefix(self.request, given) else ""
            if not given:
                return None
            # What may not be sent has to come back, so it is proved even where the upstream is trusted.
            overlap = (len(text) - len(given)) or None
            body = dialect.prefill(
                body,
                given,
                extra=target.prefill_extra,
                message_extra=target.prefill_message,
                delivered_tokens=self.transcript.chunks - pieces,
            )
        if not streamed:
            body = dialect.non_streaming(body)
        plan = Plan(target, strategy, streamed, body, overlap=overlap, added=added)
        if strategy == "prefill" and not self._is_same_model(target):
            plan.continues = names_of(self.transcript.authors)
        return plan

    def _spoken_to(self, target: Target, standing: Standing) -> tuple[Dialect, Request | None]:
        """Return the dialect of an upstream and the request in it; None for one that cannot be said in it."""
        if target.translation is None:
            return self.dialect, self.request
        if standing.request is None:
            try:
                refused = standing.learned.refuses
                standing.request = target.translation.request(self.request, without=refused)
            except InvalidRequestError as error:
                self.refusal = self.refusal or error
                standing.unusable = True
        return target.translation.dialect, standing.request


def may_prefill(target: Target, standing: Standing, *, same: bool) -> bool:
    """Whether an upstream may be asked to continue the delivered text; `same`: its model is the one that has written it."""
    known = standing.learned.prefill
    allowed = same or target.policy.failover == "continue"
    return allowed and target.prefill != "no" and known not in {"refused", "restarts"}
