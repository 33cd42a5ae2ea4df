"""The gateway: an ASGI application, by itself or mounted in another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import cached_property, partial
from typing import TYPE_CHECKING

from everytoken.errors import (
    AuthenticationError,
    EverytokenError,
    MethodNotAllowedError,
    RateLimitedError,
    RouteNotFoundError,
)
from everytoken.gateway import (
    administration,
    completing,
    cors,
    counting,
    models,
    openapi,
    origin,
    pass_through,
    plain,
    probing,
    responses,
    streams,
    ui,
)
from everytoken.gateway.apis import APIS, dialect_at, foreign_api
from everytoken.gateway.console import CONSOLE, Console
from everytoken.gateway.http import (
    BrokenOffError,
    ClientGoneError,
    Request,
    answer,
    answer_error,
    answer_json,
    break_off,
)
from everytoken.gateway.model_api import complete
from everytoken.gateway.page_files import answer_file
from everytoken.gateway.server import direct_of, release_direct
from everytoken.gateway.services import Services
from everytoken.redaction import redact_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from everytoken.gateway.http import Receive, Scope, Send

__all__ = ["Gateway"]

_API = ("/v1/", "/api/", administration.PREFIX)

logger = logging.getLogger("everytoken.gateway")


class Gateway(Services):
    """An ASGI application over some upstreams and a journal; what it is made of, `Services` says.

    Mounted in another application it starts with its first request; `async with gateway:` starts and stops it in a place
    of your choice. Raises `ConfigurationError`.
    """

    @cached_property
    def console(self) -> Console:
        """What the console asks."""
        return Console(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            request = Request(scope, receive, send)
            try:
                await self._serve(request)
            finally:
                release_direct(request)
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
        request.bodies, request.dialect = self.bodies, dialect_at(request.path)
        try:
            if not self.started:
                await self.start()
            await self._admitted(request)
        except ClientGoneError:
            if (direct := direct_of(request)) is not None:
                direct.leave()
        except BrokenOffError:
            raise
        except EverytokenError as error:
            redact_error(error, self.relays.redact)
            self.refusals.note(request, error)
            self.request_log.refused(request, error, known=self.is_known(request))
            if isinstance(error, AuthenticationError) and error.guessed:
                error = await self._slow_down(request, error)
            if not request.started:
                await _answer_anyway(request, error)
            else:
                logger.warning(
                    "a response was broken off: %s (%s, request %s)", error.message, error.code, request.id
                )
                await break_off(request)
        except Exception:
            logger.exception("a request to %s failed (request %s)", request.path, request.id)
            bug = EverytokenError("an internal error; the gateway's log has more")
            self.refusals.note(request, bug)
            if not request.started:
                await _answer_anyway(request, bug)
            else:
                await break_off(request)

    async def _slow_down(self, request: Request, error: EverytokenError) -> EverytokenError:
        """Wait before a wrong key is refused, if its address has brought many; return what to refuse it with."""
        client = request.scope.get("client")
        address = client[0] if client else ""
        seconds = self.slowing.note(address)
        if not seconds:
            return error
        if self.slowing.begin(address):
            return RateLimitedError("too many wrong API keys from this address", retry_after=seconds)
        try:
            await asyncio.sleep(seconds)
        finally:
            self.slowing.end(address)
        return error

    # Neither is a coroutine: its frame would be there for as long as the response.

    def _admitted(self, request: Request) -> Awaitable[None]:
        """Return what answers a request. A page that may not call is refused before anything of the request is read."""
        origins = self.config.origins
        if self.on_loopback:
            origin.check_host(request, self.config.hosts)
        if request.path.startswith(_API):
            request.extra += cors.allow_origin(request.header(b"origin"), origins)
            asks = request.header(b"access-control-request-method") is not None
            if request.method == "OPTIONS" and (asks or request.path.startswith(streams.PREFIX)):
                return answer(request, 204, b"", b"", origin.preflight(request))
            origin.check_origin(request, origins)
            if request.method == "POST" and not request.path.startswith(streams.PREFIX):
                if pass_through.takes_files(request.path, self.config.pass_through):
                    origin.check_body(request)
                else:
                    origin.check_json(request)
        request.admitted = True
        return self._routed(request)

    def _routed(self, request: Request) -> Awaitable[None]:
        path = request.path
        route = _ROUTES.get(path)
        if route is not None:
            methods, serve = route
            _allow(request, *methods)
            return serve(self, request)
        if (match := ui.PATH.fullmatch(path)) is not None:
            chat_id, action = match.groups()
            _allow(request, "GET" if action == "stream" else "POST")
            return (ui.resume if action == "stream" else ui.stop)(self, request, chat_id)
        if path in CONSOLE:
            return self.console.serve(request)
        for prefix, serve in _PREFIXES:
            if path.startswith(prefix):
                return serve(self, request)
        if path in self.dialects:
            _allow(request, "POST")
            return complete(self, request, foreign_api(self.dialects[path]))
        if path.startswith(models.PREFIX):
            return _model(self, request)
        if pass_through.is_passed(path, self.config.pass_through):
            return pass_through.pass_through(self, request)
        if path in self.pages:
            _allow(request, "GET", "HEAD")
            return answer_file(request, self.pages[path])
        raise RouteNotFoundError(f"Unknown path {path[:200]}")


async def _healthz(services: Services, request: Request) -> None:
    await answer_json(request, 200, {"status": "ok", "responses": len(services.relays)})


async def _readyz(services: Services, request: Request) -> None:
    try:
        services.keys.of(request)
    except AuthenticationError:
        fully = False
    else:
        fully = True
    status, told = await services.health.ready(fully=fully)
    await answer_json(request, status, told, [(b"cache-control", b"no-store")])


async def _probe(services: Services, request: Request) -> None:
    _allow(request, *_READS)
    await probing.show_probe(services, request, request.path[len(probing.PREFIX) :])


async def _model(services: Services, request: Request) -> None:
    _allow(request, *_READS)
    await models.show_model(services, request, request.path[len(models.PREFIX) :])


async def _metrics(services: Services, request: Request) -> None:
    await services.metrics.serve(request)


async def _describe(services: Services, request: Request) -> None:
    await openapi.show(services, request, _DESCRIBED)


_READS = ("GET", "HEAD")
_ROUTES: dict[str, tuple[tuple[str, ...], Callable[[Services, Request], Awaitable[None]]]] = {
    **{path: (("POST",), partial(complete, api=api)) for path, api in APIS.items()},
    "/v1/responses": (("POST",), responses.create),  # with what the journal adds to that API
    completing.PATH: (("POST",), completing.complete_prompt),
    counting.PATH: (("POST",), counting.count_tokens),
    "/api/chat": (("POST",), plain.plain_chat),
    "/v1/models": (_READS, models.list_models),
    probing.PATH: (("GET", "POST"), probing.probe),
    "/healthz": (_READS, _healthz),
    "/readyz": (_READS, _readyz),
    "/metrics": (_READS, _metrics),
    **dict.fromkeys(openapi.PATHS, (_READS, _describe)),
}
_PREFIXES: list[tuple[str, Callable[[Services, Request], Awaitable[None]]]] = [
    (streams.PREFIX, streams.serve),
    (responses.PREFIX, responses.serve),
    (administration.PREFIX, administration.serve),
    (probing.PREFIX, _probe),
]
_DESCRIBED = openapi.Routes(
    {path: (methods, (serve.__doc__ or path).partition(".")[0]) for path, (methods, serve) in _ROUTES.items()}
)


async def _answer_anyway(request: Request, error: EverytokenError) -> None:
    with contextlib.suppress(ClientGoneError):
        await answer_error(request, error)


def _allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        raise MethodNotAllowedError(f"{request.path} allows only {' or '.join(methods)}", allow=methods)
