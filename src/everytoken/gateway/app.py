"""The gateway: an ASGI application, by itself or mounted in another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Self

from everytoken import smoothing
from everytoken.errors import EverytokenError, MethodNotAllowedError, RouteNotFoundError
from everytoken.gateway import chat, models, origin, pages, plain, streams, ui
from everytoken.gateway.auth import Keys
from everytoken.gateway.config import Config, policy_of, target_of
from everytoken.gateway.health import Health
from everytoken.gateway.http import (
    Bodies,
    BrokenOffError,
    ClientGoneError,
    Request,
    answer,
    answer_error,
    answer_json,
    break_off,
)
from everytoken.gateway.logs import LogGuard
from everytoken.gateway.refusals import Refusals
from everytoken.gateway.server import direct_of
from everytoken.journal.memory import MemoryJournal
from everytoken.redaction import Redactor, redact_error
from everytoken.relay import Relays

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from everytoken.gateway.http import Receive, Scope, Send
    from everytoken.journal import Journal
    from everytoken.recovery import Policy, Target
    from everytoken.upstream import Upstream

__all__ = ["Gateway"]

_API = ("/v1/", "/api/")

logger = logging.getLogger("everytoken.gateway")


class Gateway:
    """An ASGI application over some upstreams and a journal.

    `upstreams` are those that `config.upstream` describes, by name. Mounted in another application it starts with its
    first request; `async with gateway:` starts and stops it in a place of your choice. Raises `ConfigurationError`.
    """

    def __init__(
        self, config: Config, upstreams: dict[str, Upstream], journal: Journal | None = None
    ) -> None:
        self.config = config
        self.upstreams = upstreams
        self.journal: Journal = journal or MemoryJournal(
            retention=config.retention, max_bytes=config.max_journal, quota=config.quota
        )
        self.keys = Keys(config.api_keys)
        self.grace = _grace_of(config)
        self._tasks: set[asyncio.Task[None]] = set()
        self._policies = {upstream.name: policy_of(upstream, config.policy) for upstream in config.upstream}
        self.relays = Relays(
            upstreams,
            self._targets,
            self.journal,
            grace=self.grace,
            max_response=config.max_response,
            max_duration=config.max_duration,
            redact=Redactor(config.api_keys).text,
        )
        self._log_guard = LogGuard(self.relays.redact)
        # Whether it listens on loopback only: then it answers to loopback names, and no page can rebind its own to us.
        self.on_loopback = False
        self._health = Health(self)
        self.bodies = Bodies(config.max_bodies)
        self.refusals = Refusals(time.monotonic)
        self._pages: dict[str, tuple[bytes, str]] = {}
        self._starting: asyncio.Task[None] | None = None
        self._started = False
        self._watch: asyncio.Task[None] | None = None

    def _targets(self, model: str) -> Sequence[Target]:
        """Return the upstreams that serve `model`, in the order of the configuration."""
        configured = self.config.upstream
        found = (target_of(upstream, model, self._policies[upstream.name]) for upstream in configured)
        return [target for target in found if target is not None]

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

    def change(
        self, config: Config, keys: Keys, policies: dict[str, Policy], upstreams: dict[str, Upstream]
    ) -> None:
        """Use another configuration for everything that begins from here on."""
        self.config, self.keys, self._policies = config, keys, policies
        self.upstreams = upstreams
        self.grace = _grace_of(config)
        self.bodies.limit = config.max_bodies
        self.relays.change(
            upstreams,
            grace=self.grace,
            max_response=config.max_response,
            max_duration=config.max_duration,
            redact=Redactor(config.api_keys).text,
        )

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Have `work` done beside everything else; it is cancelled when the gateway stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Life

    async def start(self) -> None:
        """Start the journal and the upstreams, once. Raises `ConfigurationError`, `JournalUnavailableError`.

        What failed to start is started again by the next call.
        """
        if self._starting is None or (self._starting.done() and not self._started):
            self._starting = asyncio.ensure_future(self._start())
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        self._log_guard.install()
        self._pages = await asyncio.to_thread(_read_files)
        await self.journal.start()
        await asyncio.gather(*(upstream.start() for upstream in self.upstreams.values()))
        await self.relays.take_over()
        self._watch = asyncio.create_task(self.relays.watch(self.config.lease / 3))
        self._started = True

    async def stop(self) -> None:
        """Hand over what a durable journal keeps, stop what it does not, and let go of everything."""
        if self._watch is not None:
            self._watch.cancel()
        await self._health.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.relays.drain(0)
        await asyncio.gather(*(upstream.stop() for upstream in self.upstreams.values()))
        await self.journal.stop()
        self._log_guard.remove()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # ASGI

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(Request(scope, receive, send))
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1003})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self.start()
        except EverytokenError as error:
            await send({"type": "lifespan.startup.failed", "message": error.message})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, request: Request) -> None:
        request.bodies = self.bodies
        try:
            if not self._started:
                await self.start()
            await self._admit(request)
        except ClientGoneError:
            if (direct := direct_of(request)) is not None:
                direct.leave()
        except BrokenOffError:
            raise
        except EverytokenError as error:
            redact_error(error, self.relays.redact)
            self.refusals.note(request, error)
            if not request.started:
                await _answer_anyway(request, error)
            else:
                logger.warning("an answer was broken off: %s (%s)", error.message, error.code)
                await break_off(request)
        except Exception:
            logger.exception("a request to %s failed", request.path)
            if not request.started:
                await _answer_anyway(
                    request, EverytokenError("an internal error; the gateway's log has more")
                )
            else:
                await break_off(request)

    async def _admit(self, request: Request) -> None:
        """Refuse what comes from a page that may not call, before anything of the request is read."""
        origins = self.config.origins
        if self.on_loopback:
            origin.check_host(request, self.config.hosts)
        if request.path.startswith(_API):
            request.extra += origin.allow_origin(request, origins)
            asks = request.header(b"access-control-request-method") is not None
            if request.method == "OPTIONS" and (asks or request.path.startswith(streams.PREFIX)):
                await answer(request, 204, b"", b"", origin.preflight(request))
                return
            origin.check_origin(request, origins)
            if request.method == "POST" and not request.path.startswith(streams.PREFIX):
                origin.check_json(request)
        await self._route(request)

    async def _route(self, request: Request) -> None:
        path = request.path
        if path == "/v1/chat/completions":
            _allow(request, "POST")
            await chat.complete(self, request)
        elif path == "/api/chat":
            _allow(request, "POST")
            await plain.plain_chat(self, request)
        elif (match := ui.PATH.fullmatch(path)) is not None:
            chat_id, action = match.groups()
            _allow(request, "GET" if action == "stream" else "POST")
            await (ui.resume if action == "stream" else ui.stop)(self, request, chat_id)
        elif path == "/v1/models":
            _allow(request, "GET", "HEAD")
            await models.list_models(self, request)
        elif path == "/healthz":
            _allow(request, "GET", "HEAD")
            await answer_json(request, 200, {"status": "ok", "responses": len(self.relays)})
        elif path == "/readyz":
            _allow(request, "GET", "HEAD")
            status, told = await self._health.ready()
            await answer_json(request, status, told, [(b"cache-control", b"no-store")])
        elif path.startswith(streams.PREFIX):
            await streams.serve(self, request)
        elif path in self._pages:
            _allow(request, "GET", "HEAD")
            body, media = self._pages[path]
            await answer(request, 200, body, media.encode(), _page_headers(media))
        else:
            raise RouteNotFoundError(f"Unknown path {path[:200]}")


def _grace_of(config: Config) -> float:
    return min(config.grace if config.grace >= 0 else config.max_grace, config.max_grace)


async def _answer_anyway(request: Request, error: EverytokenError) -> None:
    with contextlib.suppress(ClientGoneError):
        await answer_error(request, error)


def _read_files() -> dict[str, tuple[bytes, str]]:
    """Read what must not hold the loop up later: the page, and the libraries for the first text beyond ASCII."""
    smoothing.preload()
    return pages.load()


def _allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise MethodNotAllowedError(f"{request.path} takes {' or '.join(methods)}", allow=methods)


def _page_headers(media: str) -> list[tuple[bytes, bytes]]:
    headers = [(b"cache-control", b"no-cache"), (b"referrer-policy", b"no-referrer")]
    if media.startswith("text/html"):
        headers.append((b"content-security-policy", pages.CONTENT_SECURITY_POLICY.encode()))
    return headers
