"""What stands in the protocol's headers and query: reading and writing them."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

from everytoken.errors import InvalidRequestError, ProducerGapError, ProducerStaleError
from everytoken.journal import Producer, format_offset, parse_offset

if TYPE_CHECKING:
    from everytoken.errors import EverytokenError
    from everytoken.gateway.http import Request
    from everytoken.journal import Log

    Headers = list[tuple[bytes, bytes]]

__all__ = [
    "COMMON",
    "DEFAULT_TYPE",
    "METHODS",
    "Position",
    "content_type",
    "error_headers",
    "etag",
    "expires_at",
    "interval_at",
    "is_closing",
    "media",
    "next_cursor",
    "position",
    "producer",
    "sequence",
    "state",
    "time_to_live",
]

DEFAULT_TYPE = "application/octet-stream"
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")

COMMON = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"sandbox"),  # stored content must never act as a page of the gateway
)
# What a browser may show in its place: it runs nothing. Anything else is for saving.
_PASSIVE = re.compile(
    r"text/(plain|csv|event-stream)|application/(json|octet-stream|x-ndjson|jsonl)|"
    r"(image/(png|jpeg|gif|webp|avif)|audio/[\w.+-]+|video/[\w.+-]+)"
)
_TYPE = re.compile(r"[\w!#$&^.+-]{1,127}/[\w!#$&^.+-]{1,127}( *;[ -~]{0,200})?", re.ASCII)
_NATURAL = re.compile(r"0|[1-9][0-9]{0,15}")
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.IGNORECASE)
_LARGEST = 2**53 - 1  # what a JavaScript number counts to
_NAME_LIMIT = 256  # characters of a Producer-Id or Stream-Seq
_CURSOR_EPOCH = datetime(2024, 10, 9, tzinfo=UTC).timestamp()
_CURSOR_INTERVAL = 20  # seconds
_CURSOR_JITTER = 180  # intervals: an hour


class Position(NamedTuple):
    """Where a reader wants to read. `given`: what named it: `offset`, `last-event-id`, or nothing (the start)."""

    offset: int
    given: str | None
    live: str | None
    is_now: bool


def position(request: Request, log: Log) -> Position:
    """Read from where, and how, to read (sections 5.6 to 5.8). `Last-Event-ID` overrides `offset`.

    Raises `InvalidRequestError`, `OffsetInvalidError`.
    """
    query = parse_qsl(request.scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    offsets = [value for name, value in query if name == "offset"]
    live = next((value for name, value in query if name == "live"), None)
    if len(offsets) > 1:
        raise InvalidRequestError("there can be one offset only", param="offset")
    if live not in {None, "long-poll", "sse"}:
        raise InvalidRequestError("live is long-poll or sse", param="live")
    resumed = request.header(b"last-event-id")
    if resumed:
        return Position(parse_offset(resumed, log.tail), "last-event-id", live, is_now=False)
    if not offsets:
        if live is not None:
            raise InvalidRequestError("reading live needs an offset; -1 is the start", param="offset")
        return Position(0, None, live, is_now=False)
    return Position(parse_offset(offsets[0], log.tail), "offset", live, offsets[0] == "now")


def interval_at(now: float) -> int:
    """Return the number of the 20 s interval that `now` (seconds since 1970) is in: the cursor without a client's."""
    return int((now - _CURSOR_EPOCH) // _CURSOR_INTERVAL)


def next_cursor(request: Request, now: float) -> int:
    """Return a cursor: the number of the interval, or one after that of the client's own cursor (section 10.1).

    So two requests of a client never have the same URL, and an empty answer from a cache cannot be had twice.
    """
    interval = interval_at(now)
    own = request.query().get("cursor", "")
    if _NATURAL.fullmatch(own) is None or int(own) < interval:
        return interval
    return int(own) + random.randint(1, _CURSOR_JITTER)  # noqa: S311  # spreads readers over URLs, guards nothing


def state(offset: int, *, up_to_date: bool, closed: bool) -> Headers:
    """Return the headers that say where an answer ends: before `offset`, perhaps at the tail, perhaps for ever."""
    headers = [(b"stream-next-offset", format_offset(offset).encode())]
    if up_to_date:
        headers.append((b"stream-up-to-date", b"true"))
    if closed:
        headers.append((b"stream-closed", b"true"))
    return headers


def etag(log: Log, first: int, last: int, *, closed: bool) -> bytes:
    """Return the entity tag of the records between two offsets; a stream made anew under the same name has others."""
    return b'"%x-%x-%x%b"' % (int(log.info.created * 1e6), first, last, b"-closed" if closed else b"")


def content_type(request: Request) -> str | None:
    """Return the content type, or None. Raises `InvalidRequestError`."""
    value = request.header(b"content-type")
    if value is not None and _TYPE.fullmatch(value) is None:
        raise InvalidRequestError("this is not a content type", param="Content-Type")
    return value


def media(content_type: str) -> Headers:
    """Return the header that says what is sent, and for what a browser could run that it is to be saved instead."""
    headers = [(b"content-type", content_type.encode("latin-1"))]
    if _PASSIVE.fullmatch(content_type.partition(";")[0].strip().lower()) is None:
        headers.append((b"content-disposition", b"attachment"))
    return headers


def is_closing(request: Request) -> bool:
    """Whether the stream is to be closed: only the word `true` says so, in any case."""
    return (request.header(b"stream-closed") or "").lower() == "true"


def time_to_live(request: Request) -> int | None:
    """Return the seconds of `Stream-TTL`. Raises `InvalidRequestError`."""
    value = request.header(b"stream-ttl")
    return None if value is None else _natural(value, "Stream-TTL")


def expires_at(request: Request) -> float | None:
    """Return the time of `Stream-Expires-At` in seconds since 1970. Raises `InvalidRequestError`."""
    value = request.header(b"stream-expires-at")
    if value is None:
        return None
    if _RFC_3339.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).timestamp()
        except (ValueError, OverflowError):
            pass
    raise InvalidRequestError("this is not a time as RFC 3339 writes it", param="Stream-Expires-At")


def sequence(request: Request) -> str | None:
    """Return `Stream-Seq`. Raises `InvalidRequestError`."""
    value = request.header(b"stream-seq")
    if value is not None and not 0 < len(value) <= _NAME_LIMIT:
        raise InvalidRequestError(f"a sequence has 1 to {_NAME_LIMIT} characters", param="Stream-Seq")
    return value


def producer(request: Request) -> Producer | None:
    """Return the idempotent producer's mark; all of its headers or none (section 5.2.1). Raises `InvalidRequestError`."""
    name, epoch, seq = (
        request.header(header) for header in (b"producer-id", b"producer-epoch", b"producer-seq")
    )
    if name is None and epoch is None and seq is None:
        return None
    if name is None or epoch is None or seq is None:
        raise InvalidRequestError("Producer-Id, Producer-Epoch and Producer-Seq belong together")
    if not 0 < len(name) <= _NAME_LIMIT:
        raise InvalidRequestError(f"a producer's id has 1 to {_NAME_LIMIT} characters", param="Producer-Id")
    return Producer(name, _natural(epoch, "Producer-Epoch"), _natural(seq, "Producer-Seq"))


def _natural(value: str, name: str) -> int:
    if _NATURAL.fullmatch(value) is None or int(value) > _LARGEST:
        raise InvalidRequestError(f"{name} is a whole number, written plainly", param=name)
    return int(value)


def error_headers(error: EverytokenError) -> Headers:
    """Return what the protocol wants said besides the status."""
    if isinstance(error, ProducerGapError):
        return [
            (b"producer-expected-seq", b"%d" % error.expected),
            (b"producer-received-seq", b"%d" % error.received),
        ]
    if isinstance(error, ProducerStaleError):
        return [(b"producer-epoch", b"%d" % error.epoch)]
    return []
