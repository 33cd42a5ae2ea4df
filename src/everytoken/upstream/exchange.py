"""One request and its answer: decide what kind of answer it is, undo compression, report to the sink."""

from __future__ import annotations

import time
import zlib
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.errors import (
    EverytokenError,
    NotAnEventStreamError,
    RemoteProtocolError,
    StatusError,
    TruncatedError,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from everytoken.redaction import Redactor
    from everytoken.upstream import Sink
    from everytoken.upstream.protocol import HttpProtocol

__all__ = ["Exchange"]

_MAX_ERROR_BODY = 65_536  # bytes: an error message, not an answer
_MAX_WHOLE_BODY = 16 * 1024 * 1024  # bytes: as much as one event may have
_MAX_INFLATED = 1024 * 1024  # bytes out of one call, so that a small read cannot become a huge one
_STREAM_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":", b"\xef\xbb\xbf")


class Exchange:
    """The connection of one attempt, as the relay holds it."""

    __slots__ = (
        "_body",
        "_inflate",
        "_kind",
        "_limit",
        "_redactor",
        "_retry_after",
        "_sink",
        "_status",
        "connecting",
        "on_body",
        "protocol",
        "released",
    )

    def __init__(self, sink: Sink, *, redactor: Redactor) -> None:
        self._sink = sink
        self._redactor = redactor
        self._kind = ""
        self._status = 0
        self._body = bytearray()
        self._limit = _MAX_ERROR_BODY
        self._inflate: Any = None
        self._retry_after: float | None = None
        # Takes the bytes of the body as they came; of a plain event stream they go straight to the sink.
        self.on_body: Callable[[bytes], None] = self._receive_body
        self.protocol: HttpProtocol | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.released = False

    # What the relay does with it

    def release(self, *, reusable: bool) -> None:
        """Let go of the connection: nothing is reported any more."""
        self.released = True
        self.on_body = _ignore
        if self.connecting is not None:
            self.connecting.cancel()
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.let_go(self, reusable=reusable)

    def pause(self) -> None:
        """Stop reading."""
        if self.protocol is not None:
            self.protocol.pause()

    def resume(self) -> None:
        """Read on."""
        if self.protocol is not None:
            self.protocol.resume()

    # What the connection reports

    def on_sent(self) -> None:
        """The request is on its way."""
        if not self.released:
            self._sink.on_connected()

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Decide by status and type what the body is."""
        if self.released:
            return
        named = dict(headers)
        self._status = status
        encoding = named.get(b"content-encoding", b"identity").strip().lower()
        if encoding in {b"gzip", b"x-gzip", b"deflate"}:
            self._inflate = zlib.decompressobj(wbits=47)  # gzip or zlib, whichever it is
        elif encoding not in {b"identity", b""}:
            self._break(
                RemoteProtocolError(f"the upstream compresses with {encoding.decode('latin-1')!r}, unasked")
            )
            return
        if not 200 <= status < 300:
            self._kind = "error"
            self._retry_after = _seconds(named.get(b"retry-after"))
            return
        media = named.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if media == b"text/event-stream":
            self._begin_stream()
        elif media == b"application/json" or media.endswith(b"+json"):
            self._kind = "whole"
            self._limit = _MAX_WHOLE_BODY
        else:
            self._kind = "unknown"
        self._sink.on_accepted()

    def _begin_stream(self) -> None:
        self._kind = "stream"
        if self._inflate is None:
            self.on_body = self._sink.on_data

    def _receive_body(self, data: bytes) -> None:
        if self._inflate is None:
            self._take(data)
            return
        try:
            while data and not self.released:
                out = self._inflate.decompress(data, _MAX_INFLATED)
                data = self._inflate.unconsumed_tail
                if out:
                    self._take(out)
        except zlib.error as error:
            self._break(RemoteProtocolError(f"the upstream's compressed answer is damaged: {error}"))

    def _take(self, data: bytes) -> None:
        if self._kind == "stream":
            self._sink.on_data(data)
            return
        self._body += data
        if self._kind == "unknown" and len(self._body) >= 8:
            self._recognise()
        elif len(self._body) > self._limit:
            if self._kind == "error":
                del self._body[self._limit :]
            else:
                self._break(RemoteProtocolError("the upstream's answer is too large"))

    def _recognise(self) -> None:
        """Some servers send an event stream under another name; tell by how it begins."""
        body = bytes(self._body)
        if body.lstrip(b"\r\n").startswith(_STREAM_STARTS):
            self._begin_stream()
            self._body.clear()
            self._sink.on_data(body)
        else:
            self._break(
                NotAnEventStreamError("the upstream answered with something else than an event stream")
            )

    def on_end(self) -> None:
        """The body has ended properly."""
        if self.released:
            return
        if self._kind == "unknown" and self._body:
            self._recognise()
            if self._kind != "stream":
                return
        if self._kind in {"stream", "unknown"}:
            self._sink.on_eof()
        elif self._kind == "whole":
            if self._body:
                self._sink.on_whole(bytes(self._body))
            else:
                self._sink.on_eof()
        elif self._kind == "error":
            self._sink.on_error(self._status_error())

    def on_error(self, error: EverytokenError) -> None:
        """The connection has failed."""
        if self.released:
            return
        if self._kind == "error" and isinstance(error, TruncatedError):
            error = self._status_error()  # the status says more than how its message was cut
        self._sink.on_error(error)

    def _break(self, error: EverytokenError) -> None:
        sink = self._sink
        self.release(reusable=False)
        sink.on_error(error)

    def _status_error(self) -> StatusError:
        body = self._redactor.body(bytes(self._body))  # some servers quote the key they refuse
        message = _message_in(body) or f"the upstream answered with status {self._status}"
        return StatusError(message, upstream_status=self._status, body=body, retry_after=self._retry_after)


def _ignore(_: bytes) -> None:
    """Drop what comes for an attempt that is over."""


def _message_in(body: bytes) -> str | None:
    """Return the human part of an error body in JSON, or None."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    error = value.get("error", value)
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail")
    return str(error) if error else None


def _seconds(value: bytes | None) -> float | None:
    """Read `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3). None when it says nothing we understand."""
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
