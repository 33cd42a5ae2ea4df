"""What the responses of one client share: the policy, what was learned of upstreams, what has failed for good."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from everytoken.client.asked import Asked
from everytoken.client.driver import Driver
from everytoken.client.guard import Guard
from everytoken.recovery import Breaker, LearnedCapabilities, Policy, Recovery, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2

__all__ = ["Shared"]

_MAX_EXPERIENCE = 1024
_MAX_FAILED = 64


class Shared:
    """Makes drivers. May be used by several threads: what is kept here is only ever a hint."""

    def __init__(self, policy: Policy | None) -> None:
        self._policy = policy or Policy()
        self._experience: dict[tuple[str, str], LearnedCapabilities] = {}
        self._failed: dict[tuple[str, int], httpx2.TransportError] = {}

    def asked(self, request: httpx2.Request) -> Asked | None:
        """Return what `request` asks for, None if it is to be passed through.

        An SDK retries a request whose connection failed. Ours has then been tried as often as the policy allows, so the
        repetition gets the same error again, raised here, and nobody waits three times as long.
        """
        asked = Asked.read(request)
        if asked is None:
            return None
        failed = self._failed.get(asked.fingerprint) if asked.repeated else None
        if failed is not None:
            raise type(failed)(str(failed), request=request) from failed.__cause__
        return asked

    def guard(self, request: httpx2.Request, clock: Callable[[], float]) -> Guard | None:
        """Return what watches the answer to `request`, None if it is to be passed through unwatched."""
        return Guard.over(request, self._policy, clock)

    def failed(self, asked: Asked, error: httpx2.TransportError) -> None:
        """Remember that the request has failed, before anything of a response."""
        if len(self._failed) >= _MAX_FAILED:
            self._failed.clear()
        self._failed[asked.fingerprint] = error

    def driver(self, asked: Asked, clock: Callable[[], float]) -> Driver:
        """Return the driver of a response."""
        url = asked.request.url
        # A client does not know its upstream: nothing is sent that the caller has not asked for, but for a seed, without
        # which an answer that was cut could not be asked for again.
        target = Target(name=url.netloc.decode("ascii"), usage=False, policy=self._policy)
        recovery = Recovery(
            request=asked.wanted,
            targets=[target],
            seed=asked.seed,
            jitter=random.random,
            experience=lambda target: self._experience_of(target.name, asked.wanted.model),
            breaker=Breaker(),
            redact=asked.redact,
        )
        return Driver(asked, recovery, self._policy, clock)

    def _experience_of(self, upstream: str, model: str) -> LearnedCapabilities:
        if len(self._experience) >= _MAX_EXPERIENCE:
            self._experience.clear()
        return self._experience.setdefault((upstream, model), LearnedCapabilities())
