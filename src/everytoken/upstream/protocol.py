"""One HTTP/1.1 connection to an upstream: httptools' parser between a transport and an exchange."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

import httptools

from everytoken.errors import ConnectError, EverytokenError, RemoteProtocolError, TruncatedError
from everytoken.native import parts
from everytoken.upstream.pooled import PooledProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.upstream.exchange import Exchange
    from everytoken.upstream.pooled import Pool

__all__ = ["HttpProtocol"]

logger = logging.getLogger("everytoken.upstream")

_MAX_HEAD = 65_536  # bytes of status line and headers; nginx allows 32 KiB
_FRAMED = frozenset({b"content-length", b"transfer-encoding"})


class HttpProtocol(PooledProtocol):
    """Serves one exchange at a time.

    `short`: what may take the next piece of the body in place of `data_received`, as the last one's taker said.
    """

    __slots__ = ("_full", "_head_bytes", "_headers", "_parser", "_request", "_until_close", "short")

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._full: asyncio.Future[None] | None = None  # while the upstream does not take what was written
        self.short: object = None
        self._parser: httptools.HttpResponseParser | None = None
        self._request = b""  # until the response begins
        self._headers: list[tuple[bytes, bytes]] = []
        self._until_close = False
        self._head_bytes = 0

    # What the upstream and the exchange call

    def send(self, request: bytes, exchange: Exchange, *, retry: Callable[[], None] | None) -> bool:
        """Send a request; return False if the connection has been lost.

        If a kept connection breaks before the first byte of the response, `retry` is called instead of reporting an
        error: the server may have closed it while it was idle (RFC 9112 section 9.3.1).
        """
        if self._transport is None or self._transport.is_closing():
            return False
        self._exchange, self._retry, self._busy, self._request = exchange, retry, True, request
        self._parser = httptools.HttpResponseParser(self)
        exchange.protocol = self
        self._transport.write(request)
        return True

    @property
    def until_close(self) -> bool:
        """Whether only the connection's end ends the body, so that a cut looks the same."""
        return self._until_close

    def write(self, data: bytes) -> None:
        """Send a piece of the request's body."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the upstream has taken what was written, or nearly, or has gone."""
        if self._full is not None:
            await asyncio.shield(self._full)

    # What the transport reports

    def pause_writing(self) -> None:
        """The upstream does not keep up."""
        self._full = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """The upstream has taken what was written, or nearly."""
        full, self._full = self._full, None
        if full is not None and not full.done():
            full.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is established."""
        self._transport = cast("asyncio.Transport", transport)
        if parts.receiver is not None:
            receiver: Any = parts.receiver(self, asyncio.get_running_loop().time)
            self._transport.set_protocol(receiver)
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; its callbacks below do the rest."""
        if not self._busy or self._parser is None:
            if _is_http2(data):
                self._pool.speaks_http2(b"", None)
            self.close()  # bytes without a request
            return
        if not self._in_body:
            self._head_bytes += len(data)
            self._retry = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self.internal_error(error)
            return
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._request and self._exchange is not None and _is_http2(data):
                self._pool.speaks_http2(self._request, self._exchange)
                return
            self._report(RemoteProtocolError(f"the upstream's response is not HTTP: {error}"))
            return
        if not self._in_body and self._head_bytes > _MAX_HEAD:
            self._report(RemoteProtocolError("the upstream's headers are too large"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end to the exchange."""
        self._pool.lost(self)
        self._cancel_drain()
        self.resume_writing()
        self._transport = None
        exchange, self._exchange = self._exchange, None
        if exchange is None or not self._busy:
            return
        self._busy = False
        if self._retry is not None:
            self._retry()
        elif not self._in_body:
            exchange.on_error(ConnectError("the upstream closed the connection without a response"))
        elif exc is None and self._until_close:
            exchange.on_end()
        else:
            exchange.on_error(TruncatedError("the connection broke in the middle of the response"))

    # What the parser reports

    def on_message_begin(self) -> None:
        """A response begins."""
        self._headers = []
        if not self._busy:
            self.close()  # there was no request

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header line."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is complete; a body follows."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            return
        self._in_body, self._request = True, b""
        headers, self._headers = self._headers, []
        # Whether the body ends only with the connection (RFC 9112 section 6.3).
        self._until_close = not any(name in _FRAMED for name, _ in headers)
        if self._exchange is not None:
            self._exchange.on_head(status, headers)

    def on_body(self, body: bytes) -> None:
        """Pass on some bytes of the body."""
        exchange = self._exchange
        if exchange is not None:
            self.short = exchange.on_body(body)

    def on_message_complete(self) -> None:
        """The response has ended properly."""
        if not self._in_body or not self._busy:
            return  # a 1xx, or a response without a request
        assert self._parser is not None
        keep = self._parser.should_keep_alive()
        exchange, self._exchange = self._exchange, None
        self._in_body = self._busy = False
        self._head_bytes = 0
        self._cancel_drain()
        if exchange is not None:
            keep = keep and not exchange.uploads  # some of the request may be on its way
            exchange.on_end()
        if keep and self._transport is not None and not self._transport.is_closing():
            self._pool.idle(self)
        else:
            self.close()

    def internal_error(self, error: Exception) -> None:
        """Give up after an exception of our own code: it must neither go unnoticed nor leave the attempt hanging."""
        logger.error("internal error: the attempt has ended", exc_info=error)
        self._report(EverytokenError("an internal error ended the attempt"))

    def _report(self, error: EverytokenError) -> None:
        exchange, self._exchange = self._exchange, None
        self.close()
        if exchange is not None:
            exchange.on_error(error)


def _is_http2(data: bytes) -> bool:
    """Whether a server's first bytes are a frame of HTTP/2: its settings, or its goodbye (RFC 9113 section 3.4)."""
    return data[3:4] in {b"\4", b"\7"} and data[5:9] == bytes(4)
