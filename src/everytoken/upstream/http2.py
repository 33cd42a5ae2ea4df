"""One HTTP/2 connection to an upstream that speaks nothing else. The library `h2` is the state machine, without I/O.

A connection serves one exchange at a time, as those of HTTP/1.1 do, so pool, proxies, redirects and backpressure are the
same (docs/decisions/0019-http2.md).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings

from everytoken.errors import ConnectError, EverytokenError, RemoteProtocolError, TruncatedError
from everytoken.upstream.pooled import PooledProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from everytoken.upstream.exchange import Exchange
    from everytoken.upstream.pooled import Pool

__all__ = ["Http2Protocol"]

logger = logging.getLogger("everytoken.upstream")

_WINDOW = 1024 * 1024  # bytes that may be under way; what holds an upstream back is that we do not read
_MAX_HEAD = 65_536  # bytes of headers

# What belongs to one connection of HTTP/1.1 (RFC 9113 section 8.2.2).
_OF_CONNECTIONS = frozenset(
    {b"connection", b"host", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"}
)


class Http2Protocol(PooledProtocol):
    """Serves one exchange at a time; see `everytoken.upstream.protocol.HttpProtocol`."""

    def __init__(self, pool: Pool, scheme: str) -> None:
        super().__init__(pool)
        self._scheme = scheme.encode()
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self._stream = 0
        self._unsent = b""
        self._leaving = False  # the server takes no more requests on this connection

    # What the upstream and the exchange call

    def send(self, request: bytes, exchange: Exchange, *, retry: Callable[[], None] | None) -> bool:
        """Send a request, which is rendered as for HTTP/1.1; return False if the connection takes none any more."""
        if self._transport is None or self._transport.is_closing() or self._leaving:
            return False
        headers, self._unsent = _in_http2(request, self._scheme)
        try:
            self._stream = self._h2.get_next_available_stream_id()
            self._h2.send_headers(self._stream, headers, end_stream=not self._unsent)
        except h2.exceptions.ProtocolError:
            self.close()
            return False
        self._exchange, self._retry, self._busy, self._in_body = exchange, retry, True, False
        exchange.protocol = self
        self._send_body()
        self._flush()
        return True

    # What the transport reports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is established."""
        self._transport = cast("asyncio.Transport", transport)
        self._pool.opened(self)
        self._h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEAD,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_WINDOW)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Feed the state machine, and act on its events."""
        try:
            for event in self._h2.receive_data(data):
                self._act(event)
            self._send_body()
        except h2.exceptions.InvalidBodyLengthError:
            self._report(TruncatedError("the response is shorter or longer than its content-length"))
        except h2.exceptions.ProtocolError as error:
            self._report(RemoteProtocolError(f"the upstream's response is not HTTP/2: {error}"))
        except Exception:
            # An exception from our own code further up. It must neither go unnoticed nor leave the attempt hanging.
            logger.exception("internal error: the attempt has ended")
            self._report(EverytokenError("an internal error ended the attempt"))
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # no end of HTTP/2 is told this way
        """Report the end to the exchange."""
        self._pool.lost(self)
        self._cancel_drain()
        self._transport = None
        if self._busy:
            self._busy = False
            self._break("the connection broke in the middle of the response")

    # What the state machine reports

    def _act(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ConnectionTerminated):
            self._leaving = True
            last = event.last_stream_id
            if self._busy and not self._in_body and last is not None and last < self._stream:
                self._refused()  # it says that it has not looked at the request
            elif not self._busy:
                self.close()
            return
        if isinstance(event, h2.events.DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        if getattr(event, "stream_id", None) != self._stream or not self._busy:
            return
        exchange = self._exchange
        if isinstance(event, h2.events.ResponseReceived):
            self._retry, self._in_body = None, True
            headers = [(bytes(name), bytes(value)) for name, value in event.headers or ()]
            status = int(next(value for name, value in headers if name == b":status"))
            if exchange is not None:
                exchange.on_head(status, [header for header in headers if header[0][:1] != b":"])
        elif isinstance(event, h2.events.DataReceived):
            if exchange is not None and event.data:
                exchange.on_body(event.data)
        elif isinstance(event, h2.events.StreamEnded):
            self._finish()
        elif isinstance(event, h2.events.StreamReset):
            self._unsent = b""
            if event.error_code == ErrorCodes.REFUSED_STREAM and not self._in_body:
                self._refused()
            else:
                self._busy = False
                self._break("the upstream reset the stream in the middle of the response")
                self.close()

    def _finish(self) -> None:
        """The response has ended properly."""
        exchange, self._exchange = self._exchange, None
        self._busy = False
        self._cancel_drain()
        whole = not self._unsent
        self._unsent = b""
        if exchange is not None:
            exchange.on_end()
        if whole and not self._leaving and self._transport is not None and not self._transport.is_closing():
            self._pool.idle(self)
        else:
            self.close()

    def _refused(self) -> None:
        """The server has not processed the request, so on a kept connection it is sent again (RFC 9113 section 8.7)."""
        self._busy = False
        self._break("")
        self.close()

    def _break(self, message: str) -> None:
        exchange, self._exchange = self._exchange, None
        retry, self._retry = self._retry, None
        if exchange is None:
            return
        if retry is not None:
            retry()
        elif not self._in_body:
            exchange.on_error(ConnectError("the upstream closed the connection without a response"))
        else:
            exchange.on_error(TruncatedError(message))

    # Sending

    def _send_body(self) -> None:
        """Send as much of the request's body as the server is ready to take."""
        while self._unsent and self._busy:
            size = min(self._h2.local_flow_control_window(self._stream), self._h2.max_outbound_frame_size)
            if size <= 0:
                return
            part, self._unsent = self._unsent[:size], self._unsent[size:]
            self._h2.send_data(self._stream, part, end_stream=not self._unsent)

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            data = self._h2.data_to_send()
            if data:
                self._transport.write(data)

    def _report(self, error: EverytokenError) -> None:
        exchange, self._exchange = self._exchange, None
        self.close()
        if exchange is not None:
            exchange.on_error(error)


def _in_http2(request: bytes, scheme: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the headers and the body of a request that is rendered for HTTP/1.1 (RFC 9113 section 8.3.1)."""
    head, _, payload = request.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    method, target, _ = first.split(b" ")
    pairs = [(name, value) for name, _, value in (line.partition(b": ") for line in lines)]
    pseudo = [
        (b":method", method),
        (b":scheme", scheme),
        (b":authority", dict(pairs)[b"host"]),
        (b":path", target),
    ]
    return [*pseudo, *(pair for pair in pairs if pair[0] not in _OF_CONNECTIONS)], payload
