"""A request becomes a response: a new one, or the one its `Idempotency-Key` has begun before."""

from __future__ import annotations

import logging
import re
import time
from typing import TYPE_CHECKING, Any, Self

from everytoken.dialects.registry import dialect_named
from everytoken.errors import TABLE, EverytokenError, InvalidRequestError, StatusError
from everytoken.gateway.admission import admitted
from everytoken.gateway.idempotency import attach, find
from everytoken.gateway.keys.calls import check_model
from everytoken.gateway.models import HINT
from everytoken.gateway.passing import passed_up
from everytoken.journal.ids import new_stream_id
from everytoken.json import dumps

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Request as ModelRequest
    from everytoken.gateway.admission import Release
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services
    from everytoken.journal import Log
    from everytoken.relay import Relay

__all__ = ["Response", "grace_of", "open_response"]

logger = logging.getLogger("everytoken.gateway")

_NO_MODEL = frozenset({400, 404, 422})  # what servers refuse a request without a model with
_RENAMED = {b"x-request-id": b"x-upstream-request-id"}  # ours stays
_FIRST_DIALECT = "openai-chat"  # whose bodies stand for themselves: of keys that are kept already
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


class Response:
    """A response as its reader sees it; `with` it, the reader counts. `relay` is None when it is not written here."""

    def __init__(self, stream_id: str, log: Log, relay: Relay | None) -> None:
        self.stream_id = stream_id
        self.log = log
        self.relay = relay

    def __enter__(self) -> Self:
        if self.relay is not None:
            self.relay.reader_came()
        return self

    def __exit__(self, *_: object) -> None:
        if self.relay is not None:
            self.relay.reader_went()

    @property
    def begun(self) -> bool:
        """Whether an upstream has accepted, something is there to be read, or it has ended."""
        return (self.relay is not None and self.relay.accepted.done()) or self.log.tail > 0 or self.log.closed

    @property
    def refusal(self) -> EverytokenError | None:
        """The error it ended with before anything was delivered, or None."""
        if self.relay is not None:
            return None if self.relay.recovery.records else self._explained()
        result = self.log.info.result or {}
        return self.error if result.get("outcome") == "failed" else None

    @property
    def error(self) -> EverytokenError | None:
        """The error it ended with, or None."""
        if self.relay is not None:
            return self._explained()
        told = (self.log.info.result or {}).get("error")
        if told is None:
            return None
        error = EverytokenError(told["message"], param=told.get("param"))
        if told.get("code") in TABLE:
            error.code = told["code"]  # type: ignore[misc]  # the class it had in another process is not known here
        return error

    @property
    def head(self) -> list[tuple[bytes, bytes]]:
        """What the caller gets of the head of the attempt that answers; its `x-request-id` has another name."""
        if self.relay is None:
            return []
        redact = self.relay.recovery.redact
        return [
            (_RENAMED.get(name, name), redact(value.decode()).encode()) for name, value in self.relay.head
        ]

    def _explained(self) -> EverytokenError | None:
        """Return the response's error; a refusal of a request without a model says how to give it one."""
        assert self.relay is not None
        recovery = self.relay.recovery
        error = recovery.error
        if (
            isinstance(error, StatusError)
            and not recovery.request.model
            and error.upstream_status in _NO_MODEL
        ):
            explained = InvalidRequestError(
                f"{error.message}; the request names no model: {HINT}", param="model"
            )
            explained.__cause__ = error
            return explained
        return error


async def open_response(
    gateway: Services, request: Request, asked: ModelRequest, *, owner: str, background: bool = False
) -> Response:
    """Begin a response, or attach to the one that the request's `Idempotency-Key` has begun.

    In the `background` it goes on without a reader for as long as it takes.

    Raises `InvalidRequestError`, `IdempotencyConflictError`, `ModelNotFoundError`, `OverloadedError`,
    `RateLimitedError`, `JournalError`, and what `gateway.admission` refuses with.
    """
    check_model(request.key, asked.model)
    gateway.meter.check(asked, request.key)
    grace: float | None = grace_of(request, gateway.grace, gateway.config.max_grace)
    if background:
        grace = None
    if gateway.admission is None and gateway.gate.off:
        response, _ = await _open(gateway, request, asked, owner=owner, grace=grace)
        return response
    key = request.header(b"idempotency-key")
    if key is not None:
        found = await find(gateway.journal, owner=owner, key=key, body=_identified(asked))
        if found is not None and found.log is not None:
            return Response(found.stream_id, found.log, gateway.relays.get(found.stream_id))
    release: Release = _nothing
    if gateway.admission is not None:
        release = await admitted(gateway.admission, request, asked, owner=owner) or _nothing
    try:
        place = await gateway.gate.enter(request, owner, [one.name for one in gateway.targets(asked)])
    except BaseException:
        _call(release)
        raise

    def leave() -> None:
        place.leave()
        _call(release)

    try:
        response, opened = await _open(
            gateway, request, asked, owner=owner, grace=grace, first=place.upstream
        )
    except BaseException:
        leave()
        raise
    if opened is None:
        leave()
    else:
        opened.over.add_done_callback(lambda _: leave())
    return response


async def _open(
    gateway: Services,
    request: Request,
    asked: ModelRequest,
    *,
    owner: str,
    grace: float | None,
    first: str = "",
) -> tuple[Response, Relay | None]:
    """Return the response, and its relay if it was begun by this call. `first`: the upstream that has room for it."""
    key = request.header(b"idempotency-key")
    stream_id = ""
    if key is not None:
        attached = await attach(gateway.journal, owner=owner, key=key, body=_identified(asked))
        stream_id = attached.stream_id
        if attached.log is not None:
            return Response(stream_id, attached.log, gateway.relays.get(stream_id)), None
    elif not asked.stream and grace is not None:
        grace = 0.0  # nobody but the caller can know of it
    stream_id = stream_id or new_stream_id(time.time())
    limited = gateway.meter.limits(request.key)
    if limited:
        size = int(request.header(b"content-length") or 0) or len(dumps(asked.body))
        request.extra += await gateway.meter.reserve(
            stream_id, asked, request.key, gateway.targets(asked), size
        )
    try:
        relay = await _begin(
            gateway, request, asked, owner=owner, grace=grace, stream_id=stream_id, first=first
        )
    except BaseException:
        if limited:
            gateway.meter.release(stream_id)
        raise
    return Response(relay.stream_id, relay.log, relay), relay


async def _begin(
    gateway: Services,
    request: Request,
    asked: ModelRequest,
    *,
    owner: str,
    grace: float | None,
    stream_id: str,
    first: str,
) -> Relay:
    return await gateway.relays.begin(
        asked,
        owner=owner,
        grace=grace,
        stream_id=stream_id,
        request_id=request.id,
        first=first,
        headers={
            **dialect_named(asked.dialect).headers,
            **passed_up(request.scope["headers"], gateway.config.pass_up),
        },
    )


def _identified(asked: ModelRequest) -> dict[str, Any]:
    """Return what tells one request from another: the same body asks something else of another API."""
    return asked.body if asked.dialect == _FIRST_DIALECT else {"dialect": asked.dialect, "body": asked.body}


def _nothing() -> None:
    """Stand for an admission that does not want to be told of the end."""


def _call(release: Release) -> None:
    try:
        release()
    except Exception:  # somebody else's fault must not break the response off
        logger.exception("what admission wanted to be told at the end failed")


def grace_of(request: Request, default: float, limit: float) -> float:
    """Read `Everytoken-Disconnect`: `continue`, `cancel`, or the seconds a response continues without a reader.

    A caller gets `limit` seconds at most, which is also what `continue` means.
    """
    value = request.header(b"everytoken-disconnect")
    if value is None:
        return default
    if value == "continue":
        return limit
    if value == "cancel":
        return 0.0
    if _SECONDS.fullmatch(value) is None:
        raise InvalidRequestError(
            "Everytoken-Disconnect must be 'continue', 'cancel' or a number of seconds",
            param="everytoken-disconnect",
        )
    return min(float(value), limit)
