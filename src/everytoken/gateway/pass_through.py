"""What the gateway does not know more of: embeddings, images, audio and the like go to the upstream that serves the model."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.errors import (
    EverytokenError,
    InvalidRequestError,
    MethodNotAllowedError,
    ModelNotFoundError,
    NotImplementedHereError,
    OverloadedError,
    RequestTooLargeError,
    ResponseTooLongError,
    RouteNotFoundError,
    StatusError,
    one_line,
)
from everytoken.gateway.admission import admitted
from everytoken.gateway.forms import ModelField
from everytoken.gateway.http import ClientGoneError, read_json_object
from everytoken.gateway.keys.calls import check_model
from everytoken.gateway.meter import PASSED
from everytoken.gateway.models import with_model
from everytoken.gateway.origin import is_json
from everytoken.gateway.passage import Passage
from everytoken.gateway.passing import heads_keeper, passed_up
from everytoken.gateway.targets import offers
from everytoken.json import dumps
from everytoken.observer import PassedOn
from everytoken.recovery.refusals import is_only_here
from everytoken.upstream.passage import Passed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services
    from everytoken.recovery import Target
    from everytoken.upstream import Upstream

__all__ = ["is_passed", "methods_of", "pass_through", "takes_files"]

logger = logging.getLogger("everytoken.gateway")

_BUILT_IN: Final = re.compile(
    r"/v1/(embeddings|completions|rerank|moderations|images/.+|audio/.+)", re.DOTALL
)
_NEEDS_MODEL: Final = ("/v1/embeddings", "/v1/completions", "/v1/rerank", "/v1/audio/")
_OURS: Final = ("/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/models", "/v1/stream")
_COMPLETIONS: Final = "/v1/completions"
_MAX_LOGGED: Final = 200  # characters of what the caller has chosen


class PassedRequest(msgspec.Struct, kw_only=True):
    """A request that is passed on, as admission and the choice of an upstream see it; see `everytoken.dialects.dialect`.

    `body` is empty for what is not JSON.
    """

    model: str
    body: dict[str, Any] = {}
    stream: bool = False
    dialect: str = "pass-through"
    stream_id: str = ""
    seed: int | None = None
    shows_usage: bool = False
    needs_non_streaming: bool = False
    has_tools: bool = False
    reasons: bool = False
    has_grammar: bool = False
    obstacle: str | None = None


class _Incoming(msgspec.Struct, kw_only=True):
    """What has been read of a request: `data` of its body, all of it unless `open`; `form` where that is one."""

    asked: PassedRequest
    data: bytes | None = None
    open: bool = False
    form: ModelField | None = None
    sent: bool = False  # some of what was not kept
    names_model: bool = False


def is_passed(path: str, configured: Sequence[str]) -> bool:
    """Whether a path is passed on: one of OpenAI's other APIs, or one of `configured`, which may end in `*`."""
    return _BUILT_IN.fullmatch(path) is not None or any(
        path.startswith(one[:-1]) if one.endswith("*") else path == one.rstrip("/") for one in configured
    )


def takes_files(path: str, configured: Sequence[str]) -> bool:
    """Whether what is passed on at a path may be a form or a file, rather than JSON."""
    if _BUILT_IN.fullmatch(path) is not None:
        return path.startswith(("/v1/images/", "/v1/audio/"))
    return not path.startswith(_OURS) and is_passed(path, configured)


def methods_of(path: str) -> tuple[str, ...]:
    """Return the methods that are passed on; servers list voices below `/v1/audio`."""
    if _BUILT_IN.fullmatch(path) is None:
        return ("GET", "HEAD", "POST", "DELETE")
    return ("GET", "HEAD", "POST") if path.startswith("/v1/audio/") else ("POST",)


async def pass_through(gateway: Services, request: Request, data: bytes | None = None) -> None:
    """Pass a request on, and its answer back; `data` is its body if that has been read, as JSON is.

    Raises `InvalidRequestError`, `ModelNotFoundError`, `RequestTooLargeError`, `ResponseTooLongError`, and the error of the
    last upstream that was asked.
    """
    owner = gateway.owner(request, "other")
    allowed = methods_of(request.path)
    if request.method not in allowed:
        raise MethodNotAllowedError(f"{request.path} allows only {' or '.join(allowed)}", allow=allowed)
    if any(part in {".", ".."} for part in request.path.split("/")):
        raise RouteNotFoundError(f"Unknown path {request.path[:_MAX_LOGGED]}")  # not where it seems to lead
    try:
        async with asyncio.timeout(gateway.config.max_duration) as limit:
            incoming = await _read(gateway, request, data)
            check_model(request.key, incoming.asked.model)
            async with _admitted(gateway, request, incoming, owner) as first:
                await _pass(gateway, request, incoming, first)
    except TimeoutError as error:
        if not limit.expired():
            raise
        seconds = gateway.config.max_duration
        raise ResponseTooLongError(f"the response has taken longer than {seconds:g} seconds") from error


@contextlib.asynccontextmanager
async def _admitted(
    gateway: Services, request: Request, incoming: _Incoming, owner: str
) -> AsyncIterator[str]:
    """Have a place, and who admits agree, for as long as the request takes; yield the upstream that has room."""
    release = None
    if gateway.admission is not None:
        release = await admitted(gateway.admission, request, incoming.asked, owner=owner)
    try:
        names = [target.name for target in gateway.targets(incoming.asked)]
        # While the body is still coming, nobody else may read from the connection.
        place = await gateway.gate.enter(None if incoming.open else request, owner, names)
        try:
            name = f"{PASSED}{request.id}:{secrets.token_hex(8)}"
            limited = gateway.meter.limits(request.key)
            if limited:
                targets, size = gateway.targets(incoming.asked), len(incoming.data or b"")
                request.extra += await gateway.meter.reserve(name, incoming.asked, request.key, targets, size)
            try:
                yield place.upstream
            finally:
                if limited:
                    gateway.meter.passed(name)
        finally:
            place.leave()
    finally:
        if release is not None:
            release()


# The request


async def _read(gateway: Services, request: Request, data: bytes | None) -> _Incoming:
    """Read as much of a request as tells its model."""
    named = request.query().get("model") or request.deployment
    media = request.header(b"content-type") or ""
    if request.method != "POST":
        return _Incoming(asked=PassedRequest(model=named or _default(gateway)), names_model=bool(named))
    declared = request.header(b"content-length")
    if declared is not None and declared.isdigit() and int(declared[:18]) > gateway.config.max_body:
        raise RequestTooLargeError(f"the body is over the limit of {gateway.config.max_body} bytes")
    if media.lower().startswith("multipart/form-data"):
        form = ModelField(media)
        more = await _read_form(request, form, gateway.config.max_body)
        named = form.name or named
        model = named or await _served_default(gateway, request)
        return _Incoming(
            asked=PassedRequest(model=model),
            data=form.data,
            open=more,
            form=form,
            names_model=bool(form.name),
        )
    if not is_json(media):
        model = named or await _served_default(gateway, request)
        return _Incoming(asked=PassedRequest(model=model), data=b"", open=True, names_model=bool(named))
    if data is None:
        data = await request.body(gateway.config.max_body)
    if not data and _BUILT_IN.fullmatch(request.path) is None:
        return _Incoming(asked=PassedRequest(model=named or _default(gateway)), data=data)
    body = read_json_object(data)
    if not isinstance(body.get("model", ""), str | None):
        raise InvalidRequestError("'model' must be a text", param="model")
    if request.path.startswith(_NEEDS_MODEL):
        given = await with_model(gateway, body, request.deployment)
        if given is not body:
            body, data = given, dumps(given)
    model = body.get("model") or named or _default(gateway)
    asked = PassedRequest(model=model, body=body, stream=body.get("stream") is True)
    return _Incoming(asked=asked, data=data, names_model=bool(body.get("model")))


async def _read_form(request: Request, form: ModelField, max_body: int) -> bool:
    """Read a form until it has named its model; return whether there is more of it."""
    held, more = 0, True
    bodies = request.bodies
    try:
        while more and not form.done:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            part, more = message.get("body", b""), message.get("more_body", False)
            held += len(part)
            if held > max_body:
                raise RequestTooLargeError(f"the body is over the limit of {max_body} bytes")
            if bodies is not None:
                bodies.held += len(part)
                if bodies.held > bodies.limit:
                    raise OverloadedError("too many request bodies are being received; try again")
            form.feed(part)
    finally:
        if bodies is not None:
            bodies.held -= held
    return more


async def _read_rest(request: Request, incoming: _Incoming, max_body: int) -> None:
    """Keep all of a body, for an upstream that does not take it in pieces."""
    rest = await request.body(max_body)
    if incoming.form is not None:
        incoming.form.feed(rest)
        incoming.data = incoming.form.data
    else:
        incoming.data = (incoming.data or b"") + rest
    incoming.open = False


def _default(gateway: Services) -> str:
    return str(gateway.with_model({}).get("model", ""))


async def _served_default(gateway: Services, request: Request) -> str:
    """Return the model of a request that names none, "" where any will do."""
    if not request.path.startswith(_NEEDS_MODEL):
        return _default(gateway)
    return str((await with_model(gateway, {}, request.deployment)).get("model", ""))


# The upstreams


def _targets(gateway: Services, request: Request, asked: PassedRequest) -> list[Target]:
    """Return the upstreams that serve a request, in the order of the configuration."""
    dialects = ["openai-chat", "openai-responses"]
    if request.path.startswith("/v1/messages/"):
        dialects = ["anthropic-messages"]
    offering = {one.name for one in gateway.config.upstream if offers(one, *dialects)}
    targets = [target for target in gateway.targets(asked) if target.name in offering]
    if not targets and not asked.model:
        # Nothing names a model: the first upstream is as good as any.
        names = [one.name for one in gateway.config.upstream if one.name in offering]
        models = (next(iter(gateway.aliases(name)), "") for name in names)
        found = (gateway.targets(msgspec.structs.replace(asked, model=model)) for model in models)
        targets = [target for some in found for target in some if target.name in names][:1]
    return targets


async def _pass(gateway: Services, request: Request, incoming: _Incoming, first: str) -> None:
    targets = _targets(gateway, request, incoming.asked)
    error: EverytokenError = ModelNotFoundError(
        f"no upstream serves the model {incoming.asked.model[:_MAX_LOGGED]!r}", param="model"
    )
    ordered = gateway.relays.ordered(incoming.asked, targets)
    for target in sorted(ordered, key=lambda target: bool(first) and target.name != first):
        upstream = gateway.upstreams[target.name]
        try:
            await _try(gateway, request, incoming, target, upstream)
        except EverytokenError as problem:
            error = problem
            explained = getattr(upstream, "explained", None)
            if explained is not None:
                error = explained(request.path, problem)
            if request.started:
                raise error from None
            if incoming.sent or not _may_pass_elsewhere(problem):
                break
        else:
            return
    raise _with_own_status(error)


def _may_pass_elsewhere(error: EverytokenError) -> bool:
    """Whether the next upstream may do what this one has not done."""
    if isinstance(error, StatusError):
        return error.retryable or is_only_here(error)
    return error.info.retryable or isinstance(error, NotImplementedHereError)


async def _try(
    gateway: Services, request: Request, incoming: _Incoming, target: Target, upstream: Upstream
) -> None:
    """Ask one upstream. Raises its error; the answer may then have begun."""
    begin: Any = getattr(upstream, "pass_on", None)
    if begin is None:
        raise NotImplementedHereError(f"upstream {target.name!r} answers no {request.path}")
    if incoming.open and not upstream.takes_pieces:  # type: ignore[attr-defined]  # of those that pass on
        await _read_rest(request, incoming, gateway.config.max_body)
    data = _renamed(request, incoming, target)
    declared = request.header(b"content-length")
    length = None
    if declared is not None and declared.isdigit():
        length = int(declared[:18]) + len(data or b"") - len(incoming.data or b"")
    passed = Passed(
        method=request.method,
        path=request.path.removeprefix("/v1"),
        query=request.scope.get("query_string", b"").decode("latin-1"),
        media=_media(request),
        accept=request.header(b"accept") or "*/*",
        headers=passed_up(request.scope["headers"], gateway.config.pass_up),
        body=data,
        pieces=incoming.open,
        length=length,
    )
    passage = Passage(
        request,
        passed,
        target.policy,
        name=target.name,
        max_response=gateway.config.max_response,
        redact=lambda text: gateway.relays.redact(upstream.redact(text)),
        keep=heads_keeper(gateway.config.pass_down),
        marked=request.path == _COMPLETIONS,
    )
    begun = asyncio.get_running_loop().time()
    outcome, code, told = "failed", None, "failed"
    try:
        await passage.run(lambda sink: begin(passed, sink), max_body=gateway.config.max_body)
        outcome, code, told = "completed", None, "was passed on"
    except ClientGoneError:
        outcome, code, told = "cancelled", None, "was left"
        raise
    except EverytokenError as error:
        incoming.sent = incoming.open and passage.has_begun
        code, told = error.code, f"failed: {one_line(error.message)[:_MAX_LOGGED]} ({error.code})"
        raise
    finally:
        event = PassedOn(
            at=time.time(),
            request_id=request.id,
            upstream=target.name,
            model=incoming.asked.model,
            api=_api_of(request.path),
            outcome=outcome,
            error=code,
            status=passage.status,
            up=passage.up or len(data or b""),
            down=passage.down,
            seconds=asyncio.get_running_loop().time() - begun,
        )
        if gateway.observers:
            gateway.observers.tell(event)
        logger.info(
            "%s %s to %s, model %s, %s: status %d, %d bytes down, %.2f s (request %s)",
            request.method,
            one_line(request.path)[:_MAX_LOGGED],
            target.name,
            one_line(event.model)[:_MAX_LOGGED] or "none",
            told,
            event.status,
            event.down,
            event.seconds,
            request.id,
        )


def _api_of(path: str) -> str:
    """Return what a path is counted as. Callers choose paths, so there is one name for all that are not built in."""
    found = _BUILT_IN.fullmatch(path)
    return "other" if found is None else found[1].partition("/")[0]


def _renamed(request: Request, incoming: _Incoming, target: Target) -> bytes | None:
    """Return what is there of the body, with the name that the upstream has for the model."""
    model = target.model or incoming.asked.model
    if incoming.form is not None:
        if model == incoming.form.name or not model:
            return incoming.data
        wanted = incoming.names_model or request.path.startswith(_NEEDS_MODEL)
        return incoming.form.with_model(model) if wanted else incoming.data
    if not incoming.names_model or not incoming.asked.body or model == incoming.asked.body.get("model"):
        return incoming.data
    return dumps({**incoming.asked.body, "model": model})


def _media(request: Request) -> str:
    """Return the type of the body; what programs send JSON as is JSON."""
    told = request.header(b"content-type") or ""
    return "application/json" if is_json(told) and "json" not in told.lower() else told


class _PassedStatusError(StatusError):
    """A refusal of an upstream that keeps its status, whatever that is."""

    @property
    def status(self) -> int:
        return self.upstream_status


def _with_own_status(error: EverytokenError) -> EverytokenError:
    """Return an error that is answered with the upstream's own status, where that is one of an error."""
    if not isinstance(error, StatusError) or not 400 <= error.upstream_status < 600:
        return error
    own = _PassedStatusError(error.message, upstream_status=error.upstream_status, body=error.body)
    own.retry_after, own.should_retry = error.retry_after, error.should_retry
    return own
