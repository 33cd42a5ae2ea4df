"""An API of a model server as callers speak it: what they ask becomes a response, streamed or not, in their own form."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from everytoken.errors import (
    FencedError,
    InvalidRequestError,
    JournalError,
    JournalFullError,
    JournalUnavailableError,
    OverloadedError,
    RateLimitedError,
    UpstreamError,
)
from everytoken.formats.table import FORMATS
from everytoken.gateway.assembling import assembled, until_ended
from everytoken.gateway.follow import ReaderConnection, follow
from everytoken.gateway.http import ClientGoneError, answer_error, answer_json, read_json_object, start
from everytoken.gateway.keys.calls import key_api
from everytoken.gateway.models import with_model
from everytoken.gateway.opening import open_response
from everytoken.journal import format_offset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everytoken.dialects.dialect import Dialect
    from everytoken.errors import EverytokenError
    from everytoken.gateway.http import Request
    from everytoken.gateway.opening import Response
    from everytoken.gateway.services import Services
    from everytoken.journal import Log

__all__ = [
    "STREAM_HEADERS",
    "ModelApi",
    "complete",
    "retries",
    "show_head",
    "stream_headers",
    "wait_for_head",
    "wants_ids",
]

# What keeps intermediaries from holding a stream back: nginx reads X-Accel-Buffering, compressing proxies
# no-transform, RFC 10036 defines Incremental.
STREAM_HEADERS = [
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"incremental", b"?1"),
    (b"x-content-type-options", b"nosniff"),
]
_HEAD = 15.0  # seconds in which a refusal can still become the answer's status; then the stream begins without content
_RATES = b"x-ratelimit-"
# An error that another process has stored is known by its code only.
_OURS = frozenset(
    kind.code
    for kind in (JournalUnavailableError, JournalFullError, FencedError, OverloadedError, RateLimitedError)
)


@dataclass(frozen=True, slots=True)
class ModelApi:
    """An API that callers speak: the dialect of their requests, and the name of the output format of their events.

    `options` are the format's own. With `adds` a request that names no model is given one, and an answer in one piece gets
    what is known of usage and attempts.
    """

    dialect: Dialect
    format: str
    options: Mapping[str, Any] = field(default_factory=dict)
    adds: bool = True


async def complete(
    gateway: Services, request: Request, api: ModelApi, body: dict[str, Any] | None = None
) -> None:
    """Answer a request to a model; `body` is there if it has been read."""
    owner = gateway.owner(request, key_api(api.dialect.name))
    ids = wants_ids(gateway, request)
    if body is None:
        body = read_json_object(await request.body(gateway.config.max_body))
    if api.adds:
        body = await with_model(gateway, body, request.deployment)
    asked = api.dialect.request(body)
    with await open_response(gateway, request, asked, owner=owner) as response:
        client = ReaderConnection(request)
        try:
            if not asked.stream:
                await _non_streaming(request, client, response, api)
            elif await _begin(request, client, response):
                # Only for who says so: a careless client would take the first line for data.
                greets = "text/event-stream" in (request.header(b"accept") or "")
                await follow(client, response.log, FORMATS[api.format](greets=greets, ids=ids, **api.options))
        finally:
            client.close()


async def _begin(request: Request, client: ReaderConnection, response: Response) -> bool:
    """Begin a streamed answer; return False if it has become the answer of an error."""
    if not await wait_for_head(request, client, response):
        return False
    head = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        *stream_headers(request, response.stream_id),
    ]
    await start(request, 200, head)
    return True


async def wait_for_head(request: Request, client: ReaderConnection, response: Response) -> bool:
    """Wait until an upstream has accepted, or for a while; answer with the error if there is nothing to stream.

    Raises `ClientGoneError`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _HEAD
    if response.relay is not None:
        response.relay.accepted.add_done_callback(lambda _: client.wake())
    response.log.subscribe(client.wake)
    try:
        while not response.begun and not client.gone and loop.time() < deadline:
            await client.wait(deadline)
    finally:
        response.log.unsubscribe(client.wake)
    if client.gone:
        raise ClientGoneError
    show_head(request, response)
    error = response.refusal
    if error is None:
        return True
    await answer_error(request, error, retries(error))
    return False


def retries(error: EverytokenError) -> list[tuple[bytes, bytes]]:
    """Return what keeps SDKs from trying again what recovery has tried already: each retry would repeat all our attempts.

    What was refused by us, not by an upstream, may be tried again.
    """
    ours = isinstance(error, JournalError | OverloadedError | RateLimitedError) or error.code in _OURS
    return [] if ours else [(b"x-should-retry", b"false")]


def show_head(request: Request, response: Response) -> None:
    """Have the answer show what is passed down of the upstream's head."""
    same = (b"x-upstream-request-id", request.id.encode())
    ours = any(
        name.startswith(_RATES) for name, _ in request.extra
    )  # the key's limits, not those of our own key
    request.extra += [
        header for header in response.head if header != same and not (ours and header[0].startswith(_RATES))
    ]


def wants_ids(gateway: Services, request: Request) -> bool:
    """Read `?ids=`: whether events have `id:` lines; the setting if it is not given. Raises `InvalidRequestError`."""
    value = request.query().get("ids", "offset" if gateway.config.ids else "none")
    if value not in {"offset", "none"}:
        raise InvalidRequestError("'ids' must be 'offset' or 'none'", param="ids")
    return value == "offset"


def stream_headers(request: Request, stream_id: str, offset: int = 0) -> list[tuple[bytes, bytes]]:
    """Return the headers of a streamed answer: no buffering, and where to read it again."""
    return [
        *STREAM_HEADERS,
        (b"location", request.url(f"/v1/stream/{stream_id}")),
        (b"stream-next-offset", format_offset(offset).encode()),
        (b"access-control-expose-headers", b"Location, Stream-Next-Offset"),
    ]


async def _non_streaming(
    request: Request, client: ReaderConnection, response: Response, api: ModelApi
) -> None:
    """Answer with the finished completion."""
    log = response.log
    if not await until_ended(log, client):
        return
    show_head(request, response)
    error = response.error
    if error is not None:
        await answer_error(request, error, retries(error))
        return
    try:
        value = await _accumulate(log)
    except UpstreamError as empty:
        await answer_error(request, empty, retries(empty))
        return
    result = log.info.result or {}
    if api.adds and value.get("usage") is None and result.get("usage") is not None:
        value["usage"] = result["usage"]
    if api.adds and len(result.get("attempts", ())) > 1:
        value["everytoken"] = {"stream": response.stream_id, "attempts": result["attempts"]}
    await answer_json(request, 200, value, stream_headers(request, response.stream_id, log.tail))


async def _accumulate(log: Log) -> dict[str, object]:
    message = await assembled(log)
    if message.get("choices") == []:
        raise UpstreamError("the upstream completed an answer without any choice")
    return message
