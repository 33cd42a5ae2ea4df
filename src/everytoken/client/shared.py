"""What the responses of one client share: the policy, learned capabilities of upstreams, requests that have failed."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Literal

from everytoken.client.asked import Asked
from everytoken.client.driver import Driver
from everytoken.client.guard import Guard
from everytoken.recovery import Breaker, LearnedCapabilities, Policy, Recovery, Target
from everytoken.redaction import Redactor, secrets_in_header
from everytoken.translation.registry import DIALECTS, translation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx2

    from everytoken.client.upstream import Upstream

__all__ = ["Shared"]

Prefill = Literal["yes", "no", "auto"]

_MAX_EXPERIENCE = 1024
_MAX_FAILED = 64


class Shared:
    """Makes drivers. May be used by several threads: its state is only a hint."""

    def __init__(self, policy: Policy | None, *, prefill: Prefill, upstreams: Sequence[Upstream]) -> None:
        """`prefill`: whether the upstream of a request continues a message; `upstreams` are asked behind that one."""
        self._policy = policy or Policy()
        self._prefill = prefill
        self._upstreams = {f"{number}: {one.url}": one for number, one in enumerate(upstreams, 2)}
        self._breaker = Breaker()
        self._secrets = Redactor(
            secret
            for one in upstreams
            for secret in (
                one.api_key,
                *(found for item in one.headers.items() for found in secrets_in_header(*item)),
            )
        )
        self._experience: dict[tuple[str, str], LearnedCapabilities] = {}
        self._failed: dict[tuple[str, int], httpx2.TransportError] = {}

    def asked(self, request: httpx2.Request) -> Asked | None:
        """Return what `request` asks for, None if it is passed through.

        An SDK retries a request whose connection failed. By then we have tried it as often as the policy allows, so its
        retry gets the same error at once, raised here, instead of waiting as long again.
        """
        asked = Asked.read(request)
        if asked is None:
            return None
        failed = self._failed.get(asked.fingerprint) if asked.repeated else None
        if failed is not None:
            raise type(failed)(str(failed), request=request) from failed.__cause__
        return asked

    def guard(self, request: httpx2.Request, clock: Callable[[], float]) -> Guard | None:
        """Return a guard for the response to `request`, None if it is passed through unwatched."""
        return Guard.over(request, self._policy, clock)

    def failed(self, asked: Asked, error: httpx2.TransportError) -> None:
        """Remember that the request has failed before its response began."""
        if len(self._failed) >= _MAX_FAILED:
            self._failed.clear()
        self._failed[asked.fingerprint] = error

    def driver(self, asked: Asked, clock: Callable[[], float]) -> Driver:
        """Return the driver of a response."""
        url = asked.request.url
        # The upstream is unknown, so the only addition to the caller's request is a seed. Without one, an interrupted
        # response could not be repeated.
        host = url.netloc.decode("ascii")
        targets = [Target(name=host, usage=False, prefill=self._prefill, policy=self._policy)]
        targets += [
            Target(
                name=name,
                model=one.model,
                usage=False,
                prefill=one.prefill,
                policy=self._policy,
                translation=translation(asked.dialect.name, DIALECTS[one.api]) if one.api else None,
            )
            for name, one in self._upstreams.items()
        ]
        recovery = Recovery(
            request=asked.wanted,
            targets=targets,
            seed=asked.seed,
            jitter=random.random,
            experience=lambda target: self._experience_of(target.name, asked.wanted.model),
            breaker=self._breaker,
            created=int(time.time()),
            redact=lambda text: self._secrets.text(asked.redact(text)),
        )
        return Driver(asked, recovery, self._policy, clock, self._upstreams)

    def _experience_of(self, upstream: str, model: str) -> LearnedCapabilities:
        if len(self._experience) >= _MAX_EXPERIENCE:
            self._experience.clear()
        return self._experience.setdefault((upstream, model), LearnedCapabilities())
