"""Follow a stream as events (protocol section 5.8)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from everytoken.errors import EverytokenError
from everytoken.formats import durable
from everytoken.formats.table import FORMATS
from everytoken.gateway.durable import headers
from everytoken.gateway.durable.answers import respond
from everytoken.gateway.follow import ReaderConnection, follow
from everytoken.gateway.http import start
from everytoken.gateway.model_api import stream_headers

if TYPE_CHECKING:
    from everytoken.gateway.durable.headers import Position
    from everytoken.gateway.http import Request
    from everytoken.journal import Log

__all__ = ["events"]


async def events(request: Request, log: Log, at: Position) -> None:
    """Send a stream from an offset on, to its end; a stream that is deleted meanwhile is broken off.

    The connection is not rotated, as the protocol suggests for the sake of caches: several clients take a clean end for
    the stream's. 204 for a `Last-Event-ID` at the end of a closed stream, which tells an EventSource to stop.
    """
    if at.given == "last-event-id" and log.closed and at.offset == log.tail:
        await respond(request, 204, headers.state(at.offset, up_to_date=True, closed=True))
        return
    encoding = durable.encoding_of(log.info.content_type)
    head = [
        (b"content-type", b"text/event-stream"),
        *stream_headers(request, log.info.id, at.offset),
        *headers.COMMON[1:],
    ]
    if encoding == "base64":
        head.append((b"stream-sse-data-encoding", b"base64"))
    first = headers.next_cursor(request, time.time())
    output = FORMATS["durable"](
        log, at.offset, encoding, cursor=lambda: max(first, headers.interval_at(time.time()))
    )
    client = ReaderConnection(request)
    try:
        await start(request, 200, head)
        await follow(client, log, output, at.offset)
    except EverytokenError:
        if not log.deleted:
            raise
        await client.abort()
    finally:
        client.close()
