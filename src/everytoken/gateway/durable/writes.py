"""Create, append, close and delete (protocol sections 5.1 to 5.4)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from everytoken.errors import (
    ContentTypeMismatchError,
    InvalidRequestError,
    MethodNotAllowedError,
    StreamExistsError,
    StreamNotFoundError,
)
from everytoken.formats import durable
from everytoken.gateway.durable import headers
from everytoken.gateway.durable.answers import respond
from everytoken.journal import Append, StreamInfo, format_offset

if TYPE_CHECKING:
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services
    from everytoken.journal import Log

__all__ = ["append", "create", "delete"]

READERS = ("GET", "HEAD", "DELETE", "OPTIONS")


async def create(gateway: Services, request: Request, stream_id: str, owner: str) -> None:
    """Make a stream; one that is there already is as good if it was made the same way."""
    info = StreamInfo(
        id=stream_id,
        content_type=headers.content_type(request) or headers.DEFAULT_TYPE,
        owner=owner,
        shared=True,
        created=time.time(),
        ttl=headers.time_to_live(request),
        expires=headers.expires_at(request),
    )
    if info.ttl is not None and info.expires is not None:
        raise InvalidRequestError("Stream-TTL and Stream-Expires-At exclude each other", param="Stream-TTL")
    closing = headers.is_closing(request)
    body = await request.body(gateway.config.max_body)
    records = _records(body, info.content_type)
    try:
        writer = await gateway.journal.create(info, records, closed=closing)
        status, log = 201, writer.log
    except StreamExistsError:
        status, log = 200, await _same(gateway, info, closed=closing)
    head = [
        (b"content-type", log.info.content_type.encode("latin-1")),
        (b"stream-next-offset", format_offset(log.tail).encode()),
    ]
    if log.closed:
        head.append((b"stream-closed", b"true"))
    if status == 201:
        head.append((b"location", _location(request)))
    await respond(request, status, head, b"")


async def _same(gateway: Services, wanted: StreamInfo, *, closed: bool) -> Log:
    """Return the stream that is there. Raises `StreamExistsError` when it was made another way, or by somebody else."""
    try:
        log = await gateway.journal.open(wanted.id)
    except StreamNotFoundError as error:
        raise StreamExistsError("a stream of this name has just gone") from error
    there = log.info
    same = (
        there.owner == wanted.owner
        and durable.media_type(there.content_type) == durable.media_type(wanted.content_type)
        and (there.ttl, there.expires) == (wanted.ttl, wanted.expires)
        and log.closed == closed
    )
    if not same:
        raise StreamExistsError("there is a stream of this name, made another way")
    return log


def _records(body: bytes, content_type: str) -> list[bytes]:
    if not body:
        return []
    return durable.split_messages(body) if durable.is_json(content_type) else [body]


def _location(request: Request) -> bytes:
    """Return the stream's URL, absolute, as the client called it."""
    host = request.header(b"host") or "localhost"
    scheme = request.scope.get("scheme", "http")
    return f"{scheme}://".encode() + host.encode("latin-1") + request.url(request.path)


async def append(gateway: Services, request: Request, log: Log) -> None:
    """Append the body, close the stream, or both in one step."""
    if "request" in log.info.meta:
        # A response has one writer, the relay: what it appends is what the upstream has sent.
        raise MethodNotAllowedError("a response takes nothing from outside", allow=READERS)
    closing = headers.is_closing(request)
    producer = headers.producer(request)
    sequence = headers.sequence(request)
    given = headers.content_type(request)
    body = await request.body(gateway.config.max_body)
    records: list[bytes] = []
    if body and not log.closed:
        records = _appended(body, given, log.info.content_type)
    elif body:
        records = [body]  # that the stream is closed comes before what may be wrong with the body
    elif not closing:
        raise InvalidRequestError("there is nothing to append")
    done = await gateway.journal.submit(
        log.info.id, Append(records=records, close=closing, sequence=sequence, producer=producer)
    )
    head = headers.state(done.tail, up_to_date=False, closed=done.closed)
    if producer is None:
        await respond(request, 204, head)
        return
    head += [
        (b"producer-epoch", b"%d" % producer.epoch),
        (b"producer-seq", b"%d" % (producer.seq if done.seq is None else done.seq)),
    ]
    if done.duplicate or not records:
        await respond(request, 204, head)
    else:
        await respond(request, 200, head, b"")


def _appended(body: bytes, given: str | None, content_type: str) -> list[bytes]:
    if given is None:
        raise InvalidRequestError("an append needs its content type", param="Content-Type")
    if durable.media_type(given) != durable.media_type(content_type):
        raise ContentTypeMismatchError(f"the stream's content type is {content_type}", param="Content-Type")
    records = _records(body, content_type)
    if not records:
        raise InvalidRequestError("an empty array appends nothing")
    return records


async def delete(gateway: Services, request: Request, log: Log) -> None:
    """Delete a stream; a response that is still being written is stopped first."""
    await gateway.relays.stop(log.info.id)
    await gateway.journal.delete(log.info.id)
    await respond(request, 204, [])
