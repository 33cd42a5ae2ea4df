"""`/v1/responses/{id}` and the paths below it: a response, for the caller that made it, from the journal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from everytoken.errors import InvalidRequestError, MethodNotAllowedError, RouteNotFoundError
from everytoken.formats.table import FORMATS
from everytoken.gateway.follow import ReaderConnection, follow
from everytoken.gateway.http import answer_json, start
from everytoken.gateway.model_api import stream_headers, wants_ids
from everytoken.gateway.responses.items import page
from everytoken.gateway.responses.kept import find, request_of, response_in, until_closed
from everytoken.journal import parse_offset

if TYPE_CHECKING:
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services
    from everytoken.journal import Log

__all__ = ["PREFIX", "serve"]

PREFIX: Final = "/v1/responses/"

_PATH = re.compile(r"([^/]+)(?:/(cancel|input_items))?/*")
_METHODS = {None: ("GET", "HEAD", "DELETE"), "cancel": ("POST",), "input_items": ("GET", "HEAD")}
_NUMBER = re.compile(r"-1|[0-9]{1,15}")
_NO_STORE = [(b"cache-control", b"no-store")]


async def serve(gateway: Services, request: Request) -> None:
    """Serve a request for a response. Raises `StreamNotFoundError`, `InvalidRequestError`, `JournalError`."""
    found = _PATH.fullmatch(request.path, len(PREFIX))
    if found is None:
        raise RouteNotFoundError(f"Unknown path {request.path[:200]}")
    response_id, action = found.groups()
    owner = gateway.owner(request)
    methods = _METHODS[action]
    if request.method not in methods:
        raise MethodNotAllowedError(f"{request.path[:200]} allows only {' or '.join(methods)}", allow=methods)
    log = await find(gateway, response_id, owner)
    if action == "input_items":
        listed = page(request_of(log), log.info.id, request.query())
        await answer_json(request, 200, listed, _NO_STORE)
    elif action == "cancel":
        await gateway.relays.stop(log.info.id)
        await until_closed(log)
        await answer_json(request, 200, await response_in(log), _NO_STORE)
    elif request.method == "DELETE":
        await gateway.relays.stop(log.info.id)
        await gateway.journal.delete(log.info.id)
        await answer_json(request, 200, {"id": response_id, "object": "response", "deleted": True})
    elif request.method == "GET" and request.query().get("stream") == "true":
        await _stream(gateway, request, log)
    else:
        await answer_json(request, 200, await response_in(log), _NO_STORE)


async def _stream(gateway: Services, request: Request, log: Log) -> None:
    """Send the events behind a number, and count as a reader meanwhile."""
    ids = wants_ids(gateway, request)
    offset = _offset(request, log)
    if offset:
        gateway.reader_resumed(log, offset)
    relay = gateway.relays.get(log.info.id)
    client = ReaderConnection(request)
    if relay is not None:
        relay.reader_came()
    try:
        head = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            *stream_headers(request, log.info.id, offset),
        ]
        await start(request, 200, head)
        await follow(client, log, FORMATS["responses"](ids=ids), offset)
    finally:
        client.close()
        if relay is not None:
            relay.reader_went()


def _offset(request: Request, log: Log) -> int:
    """Return where to begin: behind the event `starting_after`, or where `Last-Event-ID` says.

    An event's number is that of its record. Raises `InvalidRequestError`, `OffsetInvalidError`.
    """
    after = request.query().get("starting_after")
    if after is None:
        resumed = request.header(b"last-event-id")
        return 0 if resumed is None else parse_offset(resumed, log.tail)
    if _NUMBER.fullmatch(after) is None or int(after) >= log.tail:
        raise InvalidRequestError(
            "'starting_after' must be the sequence_number of an event of this response",
            param="starting_after",
        )
    return int(after) + 1
