"""One request and its response: decide what kind of response it is, decompress it, report to the sink."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import msgspec

from everytoken.errors import (
    EverytokenError,
    NotAnEventStreamError,
    RemoteProtocolError,
    StatusError,
    TruncatedError,
    one_line,
)
from everytoken.errors.reason import reason_in
from everytoken.upstream.encodings import DAMAGED, inflate_for

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from everytoken.redaction import Redactor
    from everytoken.upstream import Sink

__all__ = ["Exchange"]

_MAX_ERROR_BODY = 65_536  # bytes: an error message, not a response
_MAX_WORDS = 500  # characters of an error that is plain text
_MAX_NON_STREAMING = 16 * 1024 * 1024  # bytes: as much as one event may have
_MAX_INFLATED = 256 * 1024  # bytes out of one call: as much as one read has
_SHOULD_RETRY = {b"true": True, b"false": False}  # what OpenAI's SDKs obey
_LONGEST = 1e9  # seconds
_STREAM_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":", b"\xef\xbb\xbf")


class Connection(Protocol):
    """A connection as an exchange sees it."""

    def pause(self) -> None:
        """Stop reading for now."""

    def resume(self) -> None:
        """Continue reading."""

    def let_go(self, exchange: Exchange, *, reusable: bool) -> None:
        """Stop serving the exchange; another one may follow if `reusable`."""


class Exchange:
    """The connection of one attempt, as the relay sees it."""

    raw = uploads = False  # see `everytoken.upstream.passage.RawExchange`

    __slots__ = (
        "_body",
        "_compressed",
        "_end",
        "_followed",
        "_inflate",
        "_kind",
        "_later",
        "_limit",
        "_location",
        "_page",
        "_paused",
        "_redactor",
        "_retry_after",
        "_sent",
        "_should_retry",
        "_sink",
        "_status",
        "_waits",
        "connecting",
        "on_body",
        "protocol",
        "redirect",
        "released",
    )

    def __init__(
        self, sink: Sink, *, redactor: Redactor, later: Callable[[Callable[[], None]], object] | None = None
    ) -> None:
        """`later` runs something in a later turn of the loop; without it everything is done at once."""
        self._later = later
        self._compressed = b""  # received, not yet inflated
        self._end: Callable[[], None] | None = None  # to be reported after that
        self._paused = self._waits = False
        self._sink = sink
        self._redactor = redactor
        self._kind = ""
        self._page = False  # whether an error is HTML
        self._status = 0
        self._body = bytearray()
        self._limit = _MAX_ERROR_BODY
        self._inflate: Any = None
        self._retry_after: float | None = None
        self._should_retry: bool | None = None
        # Takes the bytes of the body as received; those of a plain event stream go straight to the sink.
        self.on_body: Callable[[bytes], object] = self._receive_body
        self.protocol: Connection | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.released = self._sent = False
        self._followed = 0  # the status of the last redirect that was followed
        self.redirect: Callable[[int, str], bool] | None = None  # sends the request on, if it may

    # What the relay calls

    def release(self, *, reusable: bool) -> None:
        """Let go of the connection; nothing more is reported."""
        self.released, self.redirect = True, None
        self.on_body = _ignore
        if self.connecting is not None:
            self.connecting.cancel()
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.let_go(self, reusable=reusable)

    def pause(self) -> None:
        """Stop reading."""
        self._paused = True
        if self.protocol is not None:
            self.protocol.pause()

    def resume(self) -> None:
        """Continue reading."""
        self._paused = False
        if self.protocol is not None:
            self.protocol.resume()
        if self._compressed:
            self._inflate_later()

    # What the connection reports

    def on_sent(self) -> None:
        """The request is on its way."""
        if not self.released and not self._sent:
            self._sent = True
            self._sink.on_connected()

    def start_over(self) -> None:
        """Let go of the connection, for the same request to be sent on another one."""
        if self.protocol is not None:
            self.protocol.let_go(self, reusable=False)
            self.protocol = None

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Find out from status and type what the body is."""
        if self.released:
            return
        if (tell := getattr(self._sink, "on_head", None)) is not None:
            tell(status, headers)
        named = dict(headers)
        self._status = status
        self._location = _text(named.get(b"location", b"")) if 300 <= status < 400 else ""
        redirect, self.redirect = self.redirect, None  # a circle would wait for the garbage collector
        if self._location and redirect is not None and redirect(status, self._location):
            self._followed = status
            return
        encoding = named.get(b"content-encoding", b"identity").strip().lower().decode("latin-1")
        if encoding not in {"identity", ""}:
            self._inflate = inflate_for(encoding)
            if self._inflate is None:
                self._break(RemoteProtocolError(f"the upstream used the encoding {encoding!r} unasked"))
                return
        media = named.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if not 200 <= status < 300:
            self._kind = "error"
            self._page = media == b"text/html"
            self._retry_after = _milliseconds(named.get(b"retry-after-ms"))
            if self._retry_after is None:
                self._retry_after = _seconds(named.get(b"retry-after"))
            self._should_retry = _SHOULD_RETRY.get(named.get(b"x-should-retry", b"").strip().lower())
            return
        if media == b"text/event-stream" or self.raw:
            self._begin_stream()
        elif media == b"application/json" or media.endswith(b"+json"):
            self._kind = "json"
            self._limit = _MAX_NON_STREAMING
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
        if self._inflate.eof:
            return  # data after the compressed response is no part of it
        self._compressed += data
        if not self._waits:
            self._inflate_piece()

    def _inflate_piece(self) -> None:
        """Inflate as much as one read has, then yield to the loop: a few bytes can become very many."""
        self._waits = False
        # Without a loop nothing would continue later.
        while not self.released and not (self._paused and self._later is not None):
            try:
                out = self._inflate.decompress(self._compressed, _MAX_INFLATED)
            except DAMAGED as error:
                self._break(RemoteProtocolError(f"the upstream's compressed response is damaged: {error}"))
                return
            self._compressed = self._inflate.unconsumed_tail
            if out:
                self._take(out)
            if not self._compressed:
                end, self._end = self._end, None
                if end is not None:
                    end()
                elif self.protocol is not None and not self._paused:
                    self.protocol.resume()
                return
            if self._later is not None:
                if self.protocol is not None:
                    self.protocol.pause()
                self._inflate_later()
                return

    def _inflate_later(self) -> None:
        if self._later is not None and not self._waits:
            self._waits = True
            self._later(self._inflate_piece)

    def _take(self, data: bytes) -> None:
        if self._kind == "stream":
            self._sink.on_data(data)
            return
        self._body += data
        if self._kind in {"unknown", "json"} and len(self._body) >= 8:
            self._recognise()
        elif len(self._body) > self._limit:
            if self._kind == "error":
                # Enough to know the message; do not wait for the end of an endless error.
                del self._body[self._limit :]
                self._break(self._status_error())
            else:
                self._break(RemoteProtocolError("the upstream's response is too large"))

    def _recognise(self) -> None:
        """Some servers send an event stream with another type: look at how it begins."""
        body = bytes(self._body)
        if body.lstrip(b"\r\n").startswith(_STREAM_STARTS):
            self._begin_stream()
            self._body.clear()
            self._sink.on_data(body)
        elif self._kind == "json":
            self._kind = "non-streaming"
        else:
            self._break(NotAnEventStreamError("the upstream did not send an event stream"))

    def on_end(self) -> None:
        """The body has ended properly."""
        if self.released or self._is_behind(self.on_end):
            return
        if self._kind in {"unknown", "json"} and self._body:
            self._recognise()
            if self._kind == "unknown":
                return
        if self._kind == "error":
            self._sink.on_error(self._status_error())
        elif self._kind in {"non-streaming", "json"} and self._body:
            self._sink.on_non_streaming(bytes(self._body))
        else:
            self._sink.on_eof()

    def on_error(self, error: EverytokenError) -> None:
        """The connection has failed."""
        if self.released or self._is_behind(lambda: self.on_error(error)):
            return
        if self._kind == "error" and isinstance(error, TruncatedError):
            error = self._status_error()  # the status says more than the broken connection
        self._sink.on_error(error)

    def _is_behind(self, report: Callable[[], None]) -> bool:
        """Whether something is left to inflate, which `report` has to wait for."""
        if not self._compressed:
            return False
        self._end = report
        self.protocol = None  # the connection may serve another response now
        return True

    def _break(self, error: EverytokenError) -> None:
        sink = self._sink
        self.release(reusable=False)
        sink.on_error(error)

    def _status_error(self) -> StatusError:
        body = self._redactor.body(bytes(self._body))  # some servers quote the key they refuse
        message = _message_in(body, page=self._page) or _plain_message(self._status, self._location)
        status = _status_behind(self._followed, self._status)
        error = StatusError(message, upstream_status=status, body=body)
        error.retry_after, error.should_retry = self._retry_after, self._should_retry
        return error


def _status_behind(followed: int, status: int) -> int:
    """Return the status to report: where a redirect led nowhere, that of the redirect, which may pass."""
    return followed if followed in {301, 302} and status in {404, 405} else status


def _plain_message(status: int, location: str) -> str:
    """Return what there is to say where the upstream says nothing; `location`: where its redirect leads, or ""."""
    message = f"the upstream answered with status {status}"
    if not location:
        return message
    try:
        host = urlsplit(location).hostname or "itself"
    except ValueError:
        host = "nowhere"
    # The rest of the URL may hold a secret.
    return f"{message}, a redirect to {host} that is not followed"


def _text(header: bytes) -> str:
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")


def _ignore(_: bytes) -> None:
    """Drop data for an attempt that is over."""


def _message_in(body: bytes, *, page: bool) -> str | None:
    """Return the message in an error body, which is JSON or plain text, or None; a `page` says nothing."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None if page else _words_in(body)
    return reason_in(value)


def _words_in(body: bytes) -> str | None:
    """Return plain text as one line; None for a page without a type, broken JSON, and what is no text."""
    try:
        text = body.decode().strip()
    except UnicodeDecodeError:
        return None
    if text.startswith(("<", "{", "[")) or "\0" in text:
        return None
    return one_line(text)[:_MAX_WORDS] or None


def _milliseconds(value: bytes | None) -> float | None:
    """Read `retry-after-ms`, which OpenAI and Azure send beside `Retry-After` and their SDKs prefer."""
    try:
        found = float(value or b"") / 1000
    except ValueError:
        return None
    return found if 0 <= found < _LONGEST else None


def _seconds(value: bytes | None) -> float | None:
    """Read `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3). None if it cannot be parsed."""
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
