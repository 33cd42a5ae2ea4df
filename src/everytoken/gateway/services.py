"""What the routes of a gateway share: its configuration, upstreams, journal and relays, and their life."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Self

from everytoken import smoothing
from everytoken.gateway import pages
from everytoken.gateway.config import Config, policy_of
from everytoken.gateway.gate import Gate
from everytoken.gateway.health import Health
from everytoken.gateway.http import Bodies
from everytoken.gateway.keys import KeyBook
from everytoken.gateway.keys.slowing import Slowing
from everytoken.gateway.logs import LogGuard
from everytoken.gateway.making import (
    configured_dialect,
    configured_observer,
    configured_upstream,
    mounted_journal,
)
from everytoken.gateway.meter import Meter
from everytoken.gateway.metrics import Metrics
from everytoken.gateway.passing import heads_keeper
from everytoken.gateway.probes import Probes
from everytoken.gateway.refusals import Refusals
from everytoken.gateway.requestlog import RequestLog
from everytoken.gateway.targets import native_first, target_of
from everytoken.gateway.telemetry import Telemetry
from everytoken.observer import Commit, Observers, ReaderResumed
from everytoken.redaction import Redactor
from everytoken.relay import Relays
from everytoken.relay.circuits import ObservedBreaker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from everytoken.dialects.dialect import Request as ModelRequest
    from everytoken.gateway.admission import Admission
    from everytoken.gateway.http import Request
    from everytoken.gateway.siblings import Siblings
    from everytoken.journal import Journal, Log
    from everytoken.journal.commit import GroupCommit
    from everytoken.observer import Observer
    from everytoken.recovery import Breaker, Policy, Target
    from everytoken.upstream import Upstream

__all__ = ["Services"]

_MOST_TARGETS = 256  # pairs of an API and a model for which it is remembered who serves them
_LONG_NAME = 200  # characters of a model's name that is not remembered


class Services:
    """Some upstreams and a journal, and who observes and admits.

    `upstreams`: those that `config.upstream` describes, by name; `journal`: the one that `config.journal` names, or one in
    memory. Each is made from the configuration unless it is given; what other packages add is then loaded from files,
    which is better done before the loop runs. `observers` are told of events, besides those that
    the configuration names; `admission` is asked before a response is opened. Raises `ConfigurationError`.
    """

    def __init__(
        self,
        config: Config,
        upstreams: dict[str, Upstream] | None = None,
        journal: Journal | None = None,
        *,
        observers: Iterable[Observer] = (),
        admission: Admission | None = None,
    ) -> None:
        self.config = config
        if upstreams is None:
            upstreams = {one.name: configured_upstream(one) for one in config.upstream}
        self.upstreams = upstreams
        self.journal: Journal = journal or mounted_journal(config)
        self.observers = Observers([*observers, *map(configured_observer, config.observers)])
        self.dialects = {f"/v1{one.path}": one for one in map(configured_dialect, config.dialects)}
        self.admission = admission
        self.reloading: Callable[[], Awaitable[Any]] | None = (
            None  # where the configuration can be read again
        )
        self.siblings: Siblings | None = None  # the other processes that serve at the same address
        self.keys = KeyBook(config, self.journal, self._stop_all_of)
        self.grace = _grace_of(config)
        self._tasks: set[asyncio.Task[None]] = set()
        self._policies = {upstream.name: policy_of(upstream, config.policy) for upstream in config.upstream}
        self._targets: dict[
            tuple[str, str], Sequence[Target]
        ] = {}  # by API and model, as they are configured
        self.breaker: Breaker = ObservedBreaker(
            self.observers,
            threshold=config.breaker.failures,
            pause=config.breaker.pause,
            pause_max=config.breaker.pause_max,
        )
        self.relays = Relays(
            upstreams,
            self.targets,
            self.journal,
            grace=self.grace,
            max_response=config.max_response,
            max_duration=config.max_duration,
            redact=Redactor([*config.api_keys, *config.admin_keys]).text,
            observers=self.observers,
            route=config.route,
            breaker=self.breaker,
        )
        self.relays.keep_head = heads_keeper(config.pass_down)
        self._log_guard = LogGuard(self.relays.redact)
        # Whether it listens on loopback only: then it answers to loopback names, and no page can rebind its own to us.
        self.on_loopback = False
        self.health = Health(self.journal, self.relays)
        self.bodies = Bodies(config.max_bodies)
        self.refusals = Refusals(time.monotonic, self.observers)
        self.metrics = Metrics(self)
        self.telemetry = Telemetry(self)
        self.slowing = Slowing(time.monotonic)
        self.probes = Probes()
        self.gate = Gate(*_places(config))
        self.request_log: RequestLog = RequestLog(config, self.journal, self.keys.name_of, self.relays.redact)
        self.request_log.observe(self.observers, self._urls)
        self.meter = Meter(
            config, self.journal, self.request_log.prices, self._is_running, self.observers.add
        )
        self.made = time.monotonic()
        self.pages: dict[str, pages.PageFile] = {}
        self._starting: asyncio.Task[None] | None = None
        self.started = False
        self._observes_commits = False
        self.only_model = (
            "",
            0.0,
        )  # the one that the upstreams list, and until when (loop's clock) that holds
        self._watch: asyncio.Task[None] | None = None

    def targets(self, request: ModelRequest) -> Sequence[Target]:
        """Return the upstreams that serve a request, in the order of the configuration.

        Where several are of one server, those come first that offer the caller's API.
        """
        asked = request.dialect, request.model
        known = self._targets.get(asked)
        if known is None:
            found = (
                (upstream.url, target_of(upstream, *asked, self._policies[upstream.name]))
                for upstream in self.config.upstream
            )
            known = tuple(native_first([(url, target) for url, target in found if target is not None]))
            if (
                len(request.model) <= _LONG_NAME and len(self._targets) < _MOST_TARGETS
            ):  # callers choose names
                self._targets[asked] = known
        return known

    def owner(self, request: Request, api: str = "") -> str:
        """Return who makes a request: the id of the caller's key, "" while none is needed.

        `api`: what the key has to be for, as `everytoken.gateway.keys.key.APIS` names it; "" for what every key may do.
        Raises `AuthenticationError`, `NotAllowedError`.
        """
        key = request.key = self.keys.of(request)
        if key is None:
            return ""
        if api:
            key.check_api(api)
        return key.id

    def _is_running(self, stream_id: str) -> bool:
        return self.relays.get(stream_id) is not None

    def _urls(self) -> dict[str, str]:
        return {upstream.name: upstream.url for upstream in self.config.upstream}

    def _stop_all_of(self, owner: str) -> None:
        for relay in map(self.relays.get, self.relays.running()):
            if relay is not None and relay.log.info.owner == owner:
                relay.stop()

    def is_known(self, request: Request) -> bool:
        """Whether the caller was let in, whatever was refused then."""
        return request.admitted and (request.key is not None or not self.keys.required)

    def reader_resumed(self, log: Log, offset: int) -> None:
        """Tell observers that a reader has come back to a response."""
        if self.observers and "request" in log.info.meta:
            self.observers.tell(ReaderResumed(at=time.time(), response=log.info.id, offset=offset))

    def aliases(self, upstream: str) -> list[str]:
        """Return the model names the configuration gives an upstream."""
        return [name for one in self.config.upstream if one.name == upstream for name in one.names]

    def with_model(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a request with a model: the caller's, or the default, which is the first the configuration names."""
        if body.get("model"):
            return body
        named = (name for upstream in self.config.upstream for name in upstream.names)
        default = self.config.default_model or next(named, "")
        return {**body, "model": default} if default else body

    def change(self, config: Config, policies: dict[str, Policy], upstreams: dict[str, Upstream]) -> None:
        """Use another configuration for everything that begins from now on."""
        self.config, self._policies, self._targets = config, policies, {}
        self.keys.change(config)
        self.meter.change(config)
        self.metrics.configure(config)
        self.telemetry.configure(config)
        self.upstreams, self.only_model = upstreams, ("", 0.0)
        self.grace = _grace_of(config)
        self.relays.router.route = config.route
        self.bodies.limit = config.max_bodies
        self.gate.change(*_places(config))
        self.relays.keep_head = heads_keeper(config.pass_down)
        self.relays.change(
            upstreams,
            grace=self.grace,
            max_response=config.max_response,
            max_duration=config.max_duration,
            redact=Redactor([*config.api_keys, *config.admin_keys]).text,
        )

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background; it is cancelled when the gateway stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Life

    async def start(self) -> None:
        """Start the journal and the upstreams, once. Raises `ConfigurationError`, `JournalUnavailableError`.

        What failed to start is started again by the next call.
        """
        if self._starting is None or (self._starting.done() and not self.started):
            self._starting = asyncio.ensure_future(self._start())
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        self._log_guard.install()
        self.pages = await asyncio.to_thread(_read_files)
        await self.metrics.start()
        await self.telemetry.start()
        if self.observers.want_commits and not self._observes_commits:
            self._observes_commits = True
            self._observe_commits()
        await self.journal.start()
        await asyncio.gather(*(upstream.start() for upstream in self.upstreams.values()))
        await self.keys.start()
        await self.request_log.start()
        await self.meter.start()
        await self.relays.learned.load()
        await self.relays.take_over()
        self._watch = asyncio.create_task(self.relays.watch(self.config.lease / 3))
        self.started = True

    def _observe_commits(self) -> None:
        commits: GroupCommit | None = getattr(self.journal, "commits", None)
        if commits is not None:
            name, tell = type(self.journal).__name__, self.observers.tell
            commits.observe(
                lambda streams, size, seconds: tell(
                    Commit(at=time.time(), journal=name, streams=streams, bytes=size, seconds=seconds)
                )
            )

    async def stop(self) -> None:
        """Hand over what a durable journal keeps, stop what it does not, and let go of everything."""
        if self._watch is not None:
            self._watch.cancel()
        self.metrics.stop()
        await self.health.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.relays.drain(0)
        await self.relays.learned.save()
        await self.keys.stop()
        await self.meter.stop()
        await self.request_log.stop()
        await asyncio.gather(*(upstream.stop() for upstream in self.upstreams.values()))
        await self.journal.stop()
        await self.telemetry.stop()
        self._log_guard.remove()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()


def _grace_of(config: Config) -> float:
    return min(config.grace if config.grace >= 0 else config.max_grace, config.max_grace)


def _places(config: Config) -> tuple[int, dict[str, int], int, float]:
    upstreams = {upstream.name: upstream.max_running for upstream in config.upstream}
    return config.max_running, upstreams, config.queue, config.queue_timeout


def _read_files() -> dict[str, pages.PageFile]:
    """Read what must not hold the loop up later: the page, and the libraries for the first text beyond ASCII."""
    smoothing.preload()
    return pages.load()
