"""`/v1/stream/<id>/…`: a response again, for whoever is entitled to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.errors import StreamNotFoundError
from everytoken.gateway.chat import stream_headers
from everytoken.gateway.follow import Client, follow_events
from everytoken.gateway.http import answer, start
from everytoken.journal import parse_offset

if TYPE_CHECKING:
    from everytoken.gateway.app import Gateway
    from everytoken.gateway.http import Request
    from everytoken.journal import Log

__all__ = ["cancel", "read_events"]


async def read_events(gateway: Gateway, request: Request, stream_id: str) -> None:
    """Send a response as OpenAI events from an offset on: `?offset=`, or `Last-Event-ID`, which overrides it.

    204 when there is nothing behind the offset and never will be, which tells an EventSource to stop.
    """
    log = await _entitled(gateway, request, stream_id)
    resumed = request.header(b"last-event-id") or request.query().get("offset")
    offset = 0 if resumed is None else parse_offset(resumed, log.tail)
    if resumed is not None and log.closed and offset == log.tail:
        await answer(request, 204, b"", b"")
        return
    relay = gateway.relays.get(stream_id)
    client = Client(request)
    if relay is not None:
        relay.reader_came()
    try:
        head = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            *stream_headers(request, stream_id, offset),
        ]
        await start(request, 200, head)
        await follow_events(client, log, offset)
    finally:
        client.close()
        if relay is not None:
            relay.reader_went()


async def cancel(gateway: Gateway, request: Request, stream_id: str) -> None:
    """Stop a response: its upstream connection is closed, every reader is told. Stopping it again does nothing."""
    await _entitled(gateway, request, stream_id)
    relay = gateway.relays.get(stream_id)
    if relay is not None:
        relay.stop()
    await answer(request, 204, b"", b"")


async def _entitled(gateway: Gateway, request: Request, stream_id: str) -> Log:
    """Return the log if it is the caller's; somebody else's does not exist for them."""
    owner = gateway.keys.owner(request)
    log = await gateway.journal.open(stream_id)
    if log.info.owner != owner:
        raise StreamNotFoundError("there is no such stream")
    return log
