"""Read in one piece: metadata, catch-up, long-poll (protocol sections 5.5 to 5.7)."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from everytoken.errors import StreamNotFoundError
from everytoken.formats import durable
from everytoken.gateway.durable import headers
from everytoken.gateway.durable.answers import respond
from everytoken.gateway.follow import ReaderConnection
from everytoken.gateway.http import ClientGoneError

if TYPE_CHECKING:
    from everytoken.gateway.durable.headers import Headers, Position
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services
    from everytoken.journal import Log

__all__ = ["catch_up", "describe", "long_poll", "piece"]

_RECORDS = 256  # an answer ends at a multiple of this: readers who began apart soon ask for the same URLs
_BYTES = 256 * 1024  # or when it has this many, a single record being more than that excepted
_NO_STORE = (b"cache-control", b"no-store")  # an answer of a model is nobody else's business, nor a cache's
_LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()
_TAG = re.compile(r'(?:W/)?("[^"]*")')


async def describe(request: Request, log: Log) -> None:
    """Answer HEAD: what is known of the stream, and where it ends now."""
    info = log.info
    head = [
        _NO_STORE,
        *headers.media(info.content_type),
        *headers.state(log.tail, up_to_date=False, closed=log.closed),
    ]
    if info.ttl is not None:
        head.append((b"stream-ttl", b"%d" % info.ttl))
    if info.expires is not None:
        head.append((b"stream-expires-at", _date(info.expires)))
    await respond(request, 200, head)


def _date(seconds: float) -> bytes:
    """Return a time as RFC 3339 writes it; the end of the year 9999 is the last that it can write."""
    return datetime.fromtimestamp(min(seconds, _LAST), UTC).isoformat().encode()


async def piece(log: Log, offset: int, limit: int | None = None) -> list[bytes]:
    """Return the records of one answer, of about `limit` bytes. Raises `OffsetExpiredError`, `JournalUnavailableError`."""
    until = min(log.tail, (offset // _RECORDS + 1) * _RECORDS)
    records: list[bytes] = []
    limit, size = limit or _BYTES, 0
    while offset + len(records) < until and size < limit:
        first = offset + len(records)
        some = log.take(first, limit)
        if some is None:
            some = await log.fetch(first, limit)
        for record in some[: until - first]:
            records.append(record)
            size += len(record)
            if size >= limit:
                break
    return records


async def catch_up(gateway: Services, request: Request, log: Log, at: Position) -> None:
    """Answer with what is there, up to a limit; `now` asks for the tail only."""
    records = [] if at.is_now else await piece(log, at.offset)
    offset = at.offset + len(records)
    up_to_date = offset == log.tail
    closed = up_to_date and log.closed
    final = closed or not up_to_date  # nothing can be added to this part any more
    head = [
        *(_kept(gateway, request) if final and not at.is_now else (_NO_STORE,)),
        *headers.state(offset, up_to_date=up_to_date, closed=closed),
    ]
    if not at.is_now:
        tag = headers.etag(log, at.offset, offset, closed=closed)
        head.append((b"etag", tag))
        if _matches(request, tag.decode()):
            await respond(request, 304, head)
            return
    await _send(request, log, head, records)


def _kept(gateway: Services, request: Request) -> Headers:
    """Return what caches are told of a part that stays as it is: nothing to keep, unless the configuration lets them.

    Where keys are needed, only the reader's own cache may keep it. `Last-Event-ID` overrides the URL's offset.
    """
    seconds = gateway.config.cache
    if not seconds:
        return [_NO_STORE]
    whose = b"private" if gateway.keys.required else b"public"
    # In one line with what is there: not every cache reads several.
    there = [value for name, value in request.extra if name == b"vary"]
    request.extra = [(name, value) for name, value in request.extra if name != b"vary"]
    return [
        (b"cache-control", b"%b, max-age=%d, immutable" % (whose, seconds)),
        (b"vary", b", ".join([*there, b"Last-Event-ID, Authorization"])),
    ]


async def long_poll(gateway: Services, request: Request, log: Log, at: Position) -> None:
    """Answer with what is there as soon as there is something; 204 when nothing comes in time, or can come at all.

    Raises `ClientGoneError`, and `StreamNotFoundError` when the stream goes meanwhile.
    """
    if log.tail == at.offset and not log.closed:
        await _wait(request, log, at.offset, gateway.config.long_poll)
    if log.deleted:
        raise StreamNotFoundError("the stream has gone")
    records = await piece(log, at.offset)
    offset = at.offset + len(records)
    up_to_date = offset == log.tail
    closed = up_to_date and log.closed
    head = [_NO_STORE, *headers.state(offset, up_to_date=up_to_date, closed=closed)]
    if not closed:
        head.append((b"stream-cursor", b"%d" % headers.next_cursor(request, time.time())))
    if records:
        await _send(request, log, head, records)
    else:
        await respond(request, 204, head)


async def _wait(request: Request, log: Log, offset: int, seconds: float) -> None:
    client = ReaderConnection(request)
    deadline = asyncio.get_running_loop().time() + seconds
    log.subscribe(client.wake)
    try:
        await client.wait(deadline)
        while log.tail == offset and not (log.closed or log.deleted or client.gone):
            if asyncio.get_running_loop().time() >= deadline:
                return
            await client.wait(deadline)
        if client.gone:
            raise ClientGoneError
    finally:
        log.unsubscribe(client.wake)
        client.close()


async def _send(request: Request, log: Log, head: Headers, records: list[bytes]) -> None:
    media = log.info.content_type
    head += headers.media(media)
    await respond(request, 200, head, durable.body(records, json=durable.is_json(media)))


def _matches(request: Request, tag: str) -> bool:
    """Whether the client has this version already (RFC 9110 section 13.1.2: weak comparison)."""
    given = request.header(b"if-none-match")
    return given is not None and (given == "*" or tag in _TAG.findall(given))
