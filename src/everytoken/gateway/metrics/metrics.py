"""The metrics of one gateway: when they are recorded, and who may read them."""

from __future__ import annotations

import asyncio
import time
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from everytoken.errors import ConfigurationError, NotImplementedHereError, RouteNotFoundError
from everytoken.gateway.http import answer
from everytoken.gateway.metrics.labels import ModelLabels
from everytoken.gateway.metrics.recorder import Recorder
from everytoken.gateway.metrics.states import states_of
from everytoken.gateway.origin import names_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from everytoken.gateway.config import Config
    from everytoken.gateway.http import Request
    from everytoken.gateway.metrics.exposition import Families
    from everytoken.gateway.metrics.states import Metrified, State
    from everytoken.gateway.metrics.tallies import Count, Distribution

__all__ = ["Metrics"]

_LOOK: Final = 0.25  # seconds between two looks at how late the loop's timers are
_NO_STORE: Final = [(b"cache-control", b"no-store")]
_FORWARDED: Final = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")
_MISSING: Final = "metrics need a package: pip install prometheus-client"


def is_installed() -> bool:
    """Whether Prometheus's library is there."""
    try:
        return find_spec("prometheus_client") is not None
    except (ImportError, ValueError):
        return False


class Metrics:
    """Records from the start if somebody may read it then: on loopback, openly, or with an admin key of the configuration.

    Otherwise from the first time that an administrator reads it, with a key that was made later. Until then nothing is
    observed, and nobody pays for it.
    """

    def __init__(self, services: Metrified) -> None:
        self._services = services
        self.recorder: Recorder | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Record from now on if that is wanted. Raises `ConfigurationError`."""
        services = self._services
        mode = services.config.metrics
        if mode == "off":
            return
        if not await asyncio.to_thread(is_installed):
            if mode != "auto":
                raise ConfigurationError(f"metrics = {mode!r}: {_MISSING}")
            return
        if mode == "open" or services.on_loopback or services.config.admin_keys:
            self.record()
            await services.request_log.prices.ready()

    def _cost_of(self, told: Sequence[Mapping[str, Any]], dialect: str) -> float | None:
        urls = {upstream.name: upstream.url for upstream in self._services.config.upstream}
        return self._services.request_log.prices.of_response(told, dialect, urls)

    @property
    def _commits(self) -> Any:
        return getattr(self._services.journal, "commits", None)

    def record(self) -> None:
        """Record from now on."""
        if self.recorder is None:
            self.recorder = Recorder(ModelLabels(self._services.relays.redact), self._cost_of)
            self.configure(self._services.config)
            self._services.observers.add(self.recorder)
            if (commits := self._commits) is not None:
                commits.count(self.recorder.commits(type(self._services.journal).__name__))
            self._look(time.monotonic())

    def configure(self, config: Config) -> None:
        """Let the models of a configuration count as themselves."""
        if self.recorder is not None:
            for upstream in config.upstream:
                self.recorder.metered.circuits.begin(upstream.name)
            names = [name for upstream in config.upstream for name in upstream.names]
            self.recorder.models.configure([*filter(None, [config.default_model]), *names])

    def stop(self) -> None:
        """Look at the loop no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, due: float) -> None:
        assert self.recorder is not None
        now = time.monotonic()
        self.recorder.metered.lag.observe(max(0.0, now - due))
        if (commits := self._commits) is not None:
            commits.fold()
        self._timer = asyncio.get_running_loop().call_later(_LOOK, self._look, now + _LOOK)

    async def serve(self, request: Request) -> None:
        """Answer a scrape. Raises `RouteNotFoundError`, `AuthenticationError`, `NotImplementedHereError`."""
        mode = self._services.config.metrics
        if mode == "off":
            raise RouteNotFoundError("metrics are off: the setting is `metrics`")
        if mode == "admin" or (mode == "auto" and not self._is_local(request)):
            self._services.keys.administrator(request)
        if not await asyncio.to_thread(is_installed):
            raise NotImplementedHereError(_MISSING)
        siblings = self._services.siblings
        of_workers: dict[int, Families] | None = None
        families = await self.families()
        if siblings is not None:
            of_workers = {siblings.number: families, **await siblings.ask("metrics")}
        accept = request.header(b"accept") or ""
        body, media = await asyncio.to_thread(_exposition().render, accept, families, of_workers)
        await answer(request, 200, body, media.encode(), _NO_STORE)

    async def families(self) -> Families:
        """Return all metrics of this process, in lists and dictionaries. Records from now on."""
        self.record()
        assert self.recorder is not None
        if (commits := self._commits) is not None:
            commits.fold()
        states = states_of(self._services, self.recorder)
        found: Families = await asyncio.to_thread(_families, self.recorder.metered.all(), states)
        return found

    def _is_local(self, request: Request) -> bool:
        """Whether a request has come from this machine, and not through a proxy on it.

        Who sets `hosts` has a proxy, and what comes through one may name any host and have no trace of it.
        """
        services = self._services
        if not services.on_loopback or services.config.hosts:
            return False
        return names_loopback(request) and all(request.header(name) is None for name in _FORWARDED)


def _exposition() -> Any:
    return import_module("everytoken.gateway.metrics.exposition")


def _families(metered: Sequence[Count | Distribution], states: Sequence[State]) -> Families:
    found: Families = _exposition().families_of(metered, states)
    return found
