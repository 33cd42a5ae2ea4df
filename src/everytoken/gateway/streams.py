"""`/v1/stream/<id>` and the paths below it: a stream, for callers that are entitled to it."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from everytoken.errors import (
    EverytokenError,
    InvalidRequestError,
    MethodNotAllowedError,
    RouteNotFoundError,
    StreamNotFoundError,
)
from everytoken.formats.table import FORMATS, format_named
from everytoken.gateway.apis import FORMATS_WITH_IDS, foreign_api, format_of
from everytoken.gateway.durable import headers
from everytoken.gateway.durable.answers import refuse
from everytoken.gateway.durable.live import events
from everytoken.gateway.durable.reads import catch_up, describe, long_poll
from everytoken.gateway.durable.writes import append, create, delete
from everytoken.gateway.follow import ReaderConnection, follow
from everytoken.gateway.http import answer, start
from everytoken.gateway.model_api import stream_headers, wants_ids
from everytoken.gateway.results import answer_result
from everytoken.journal import parse_offset
from everytoken.journal.ids import given_at

if TYPE_CHECKING:
    from everytoken.formats.output import OutputFormat
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services
    from everytoken.journal import Log
    from everytoken.relay import Relay

__all__ = ["PREFIX", "serve"]

PREFIX: Final = "/v1/stream/"

_PATH = re.compile(r"([^/]*)(?:/(events|result|cancel))?")
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._~:@-]{0,127}")  # neither "." nor ".." nor what a URL would escape


async def serve(gateway: Services, request: Request) -> None:
    """Serve a request for a stream; errors have the headers that the protocol demands."""
    found = _PATH.fullmatch(request.path, len(PREFIX))
    if found is None:
        raise RouteNotFoundError(f"Unknown path {request.path[:200]}")
    stream_id, action = found.groups()
    try:
        await _serve(gateway, request, stream_id, action)
    except EverytokenError as error:
        if request.started:
            raise
        gateway.refusals.note(request, error)
        gateway.request_log.refused(request, error, known=gateway.is_known(request))
        await refuse(gateway, request, stream_id, error)


async def _serve(gateway: Services, request: Request, stream_id: str, action: str | None) -> None:
    # What a response has written, its key may always read and stop.
    owner = gateway.owner(request, "streams" if request.method == "PUT" else "")
    methods = {"events": ("GET",), "result": ("GET", "HEAD"), "cancel": ("POST",)}.get(
        action or "", headers.METHODS
    )
    if request.method not in methods:
        raise MethodNotAllowedError(f"{request.path} allows only {' or '.join(methods)}", allow=methods)
    if _ID.fullmatch(stream_id) is None:
        if request.method == "PUT":
            raise InvalidRequestError(
                "a stream's name has 1 to 128 of A-Z a-z 0-9 - _ . ~ : @ and does not begin with . ~ : @"
            )
        raise RouteNotFoundError(f"Unknown path {request.path[:200]}")
    if request.method == "PUT":
        if stream_id.startswith("idempotency-") or given_at(stream_id) is not None:
            raise InvalidRequestError("this name is reserved for the gateway's own streams")
        await create(gateway, request, stream_id, owner)
        return
    log = await gateway.journal.open(stream_id, touch=request.method != "HEAD")
    if log.info.owner != owner:
        raise gateway.journal.missing(stream_id)  # somebody else's does not exist for them
    if action is not None and "request" not in log.info.meta:
        raise StreamNotFoundError("this stream is not a response")
    if action == "result":
        await answer_result(gateway, request, log)
    elif request.method == "HEAD":
        await describe(request, log)
    elif request.method == "DELETE":
        await delete(gateway, request, log)
    elif action == "cancel":
        await _cancel(gateway, request, log)
    elif request.method == "POST":
        await append(gateway, request, log)
    else:
        await _read(gateway, request, log, action)


async def _read(gateway: Services, request: Request, log: Log, action: str | None) -> None:
    """Read, and count as a reader meanwhile: a response continues while it has one."""
    relay: Relay | None = gateway.relays.get(log.info.id)
    if relay is not None:
        relay.reader_came()
    try:
        if action == "events":
            await _read_events(gateway, request, log, await _format(gateway, request, log))
            return
        at = headers.position(request, log)
        if at.live == "sse":
            if at.offset and not at.is_now:
                gateway.reader_resumed(log, at.offset)
            await events(request, log, at)
        elif at.live == "long-poll":
            await long_poll(gateway, request, log, at)
        else:
            await catch_up(gateway, request, log, at)
    finally:
        if relay is not None:
            relay.reader_went()


async def _format(gateway: Services, request: Request, log: Log) -> OutputFormat:
    """Return the format that is asked for with `?format=`: the events of the response's own API if none is."""
    dialect = log.info.meta.get("dialect")
    own = format_of(dialect)
    name = request.query().get("format", own)
    if name in FORMATS_WITH_IDS:
        foreign = [foreign_api(one).options for one in gateway.dialects.values() if one.name == dialect]
        options = foreign[0] if foreign and name == own else {}
        return FORMATS[name](ids=wants_ids(gateway, request), **options)
    if name == "text":
        return FORMATS[name](dialect)
    make = await asyncio.to_thread(format_named, name)
    return make()


async def _read_events(gateway: Services, request: Request, log: Log, output: OutputFormat) -> None:
    """Send a response in a format from an offset on: `?offset=`, or `Last-Event-ID`, which overrides it.

    204 when there is nothing behind the offset and never will be, which tells an EventSource to stop.
    """
    resumed = request.header(b"last-event-id") or request.query().get("offset")
    offset = 0 if resumed is None else parse_offset(resumed, log.tail)
    if offset and resumed != "now":
        gateway.reader_resumed(log, offset)
    if resumed is not None and log.closed and offset == log.tail:
        await answer(request, 204, b"", b"")
        return
    client = ReaderConnection(request)
    try:
        head = [
            (b"content-type", output.media_type),
            *stream_headers(request, log.info.id, offset),
            *headers.COMMON[1:],
        ]
        await start(request, 200, head)
        await follow(client, log, output, offset)
    finally:
        client.close()


async def _cancel(gateway: Services, request: Request, log: Log) -> None:
    """Stop a response: its upstream connection is closed, every reader is told. Stopping it again does nothing."""
    await gateway.relays.stop(log.info.id)
    await answer(request, 204, b"", b"")
