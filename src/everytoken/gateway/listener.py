"""uvicorn's HTTP protocol, with limits on what a connection may send before anybody has looked at it.

uvicorn and llhttp take heads, trailers and pipelined requests of any size and wait for them without limit. Here each has a
number, and what is refused gets our error object rather than uvicorn's text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httptools

from everytoken.errors import (
    EverytokenError,
    HeadTooLargeError,
    InvalidRequestError,
    OverloadedError,
    RequestTimeoutError,
    UrlTooLongError,
)
from everytoken.gateway.connections import CountedProtocol
from everytoken.gateway.cors import allow_origin
from everytoken.gateway.heads import problem_with_head, refusal, take_host_of_target

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

__all__ = ["GuardedProtocol"]

_LINGER = 1.0  # seconds in which a client that is still sending can read why it was refused
_PIPELINED = 16  # requests of one connection that wait for their turn
_DISCARDED = 4 * 1024 * 1024  # bytes thrown away meanwhile
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class GuardedProtocol(CountedProtocol):
    """One connection that keeps to the limits of the application's `config`."""

    # Slots: with as many names as uvicorn's own the dictionary of each connection would be a large one of its own.
    __slots__ = (
        "_discarded",
        "_head_bytes",
        "_head_lines",
        "_in_body",
        "_in_head",
        "_mute",
        "_problem",
        "_read_at",
        "_read_bytes",
        "_refused",
        "_timer",
        "_upgrades",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """`args` and `kwargs` are uvicorn's."""
        super().__init__(*args, **kwargs)
        self._in_head = True  # whether a head is awaited or being received
        self._in_body = False
        self._head_bytes = 0  # of complete lines
        self._head_lines = 0
        self._read_bytes = 0  # in reads that completed neither the head nor a part of the body
        self._problem: EverytokenError | None = None
        self._refused = False
        self._discarded = 0
        self._upgrades = False  # the request asks for another protocol, which is ignored
        self._mute = False  # the parser reads a head that we have written
        self._timer: asyncio.TimerHandle | None = None
        self._read_at = 0.0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin a connection, or refuse it when there are too many."""
        super().connection_made(transport)
        too_many = self.count(self.client[0] if self.client else "")
        if too_many:
            self._refuse(OverloadedError(too_many))
            return
        self._timer = self.loop.call_later(self.limits.head_timeout, self._on_late_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """Record that it is gone."""
        self._stop_timer()
        self.release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and see what the limits say."""
        self._unset_keepalive_if_required()
        if self._refused:
            self._discarded += len(data)
            if self._discarded > _DISCARDED:
                self.transport.abort()
            return
        if self._in_body:
            # Until a part of the body comes: extensions of chunks are bounded too.
            self._read_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(InvalidRequestError("this is not a valid HTTP request"))
        if self._is_refused():
            return
        if self._in_head:
            # Also bytes that are neither a line nor an end yet, which no callback reports.
            self._read_bytes += len(data)
            self._check_head()
            if self._timer is None and not self._refused:
                self._timer = self.loop.call_later(self.limits.head_timeout, self._on_late_head)
        elif self._in_body:
            if self.cycle.response_complete:
                # It was answered before its body was read: nobody wants the rest.
                self._discarded += len(data)
                if self._discarded > _DISCARDED:
                    self.transport.abort()
                    return
            self._check_head()
            self._read_at = self.loop.time()
            if self._timer is None:
                self._timer = self.loop.call_later(self.limits.body_timeout, self._on_late_body)

    # What the parser reports

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._mute or self._refused:
            return
        self._in_head, self._in_body = True, False
        self._head_bytes = self._head_lines = self._read_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        if self._mute or self._refused:
            return
        super().on_url(url)
        if len(self.url) > self.limits.max_url:
            self._problem = self._problem or UrlTooLongError(f"the URL is over {self.limits.max_url} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer, which nobody wants."""
        if self._mute or self._refused:
            return
        self._head_lines += 1
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self.limits.max_head or self._head_lines > self.limits.max_header_lines:
            self._check_head()
        if self._in_head and self._problem is None:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the request, unless something is wrong with its head."""
        if self._mute or self._refused:
            return
        self._in_head, self._in_body = False, True
        self._head_bytes = self._head_lines = self._read_bytes = 0
        self._stop_timer()
        problem = self._problem or problem_with_head(
            self.headers, self.parser.get_method(), self.parser.get_http_version()
        )
        if problem is not None:
            self._refuse(problem)
            return
        take_host_of_target(self.headers, self.url)
        self._upgrades = self.parser.should_upgrade()
        super().on_headers_complete()
        if len(self.pipeline) > _PIPELINED:
            self._refuse(OverloadedError("too many requests at once on one connection"))

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if not self._refused:
            self._read_bytes = 0
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        if self._refused or self._upgrades:
            return
        self._in_body, self._in_head = False, False
        self._stop_timer()
        super().on_message_complete()

    # Limits

    def _check_head(self) -> None:
        limits = self.limits
        if self._problem is None and (
            max(self._head_bytes, self._read_bytes - limits.max_url) > limits.max_head
            or self._head_lines > limits.max_header_lines
        ):
            self._problem = HeadTooLargeError(
                f"the headers are over {limits.max_head} bytes or {limits.max_header_lines} lines"
            )
        if self._problem is not None and not self._refused:
            self._refuse(self._problem)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read the request on as if it had not asked for another protocol (RFC 9110 section 7.8)."""
        framing = b"".join(b"%b: %b\r\n" % line for line in self.headers if line[0] in _FRAMING)
        self.parser = httptools.HttpRequestParser(self)
        self._upgrades, self._mute = False, True
        try:
            # With `Expect`-less framing alone the parser ends a request without a body at once, muted or not.
            self.parser.feed_data(
                b"%b / HTTP/1.1\r\nhost: x\r\n%b\r\n" % (self.scope["method"].encode(), framing)
            )
            self._mute = False
            if rest:
                self.parser.feed_data(rest)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._mute = False
            self._refuse(InvalidRequestError("this is not a valid HTTP request"))

    def _on_late_head(self) -> None:
        self._timer = None
        if not self._in_head:
            return
        if self._read_bytes:
            self._refuse(RequestTimeoutError("the request's head did not arrive in time"))
        else:
            self.transport.close()  # nothing was asked, so nothing is answered

    def _on_late_body(self) -> None:
        self._timer = None
        if not self._in_body or self._refused:
            return
        left = self._read_at + self.limits.body_timeout - self.loop.time()
        if self.cycle.response_complete:
            self.transport.close()
        elif left > 0 or self.flow.read_paused:  # while it is we who do not read, nobody is late
            self._timer = self.loop.call_later(max(left, 1.0), self._on_late_body)
        else:
            self._refuse(RequestTimeoutError("the request's body did not arrive in time"))

    def _is_refused(self) -> bool:
        return self._refused

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Refusals

    def send_400_response(self, msg: str) -> None:
        """Refuse in our own words what uvicorn would refuse in its."""
        self._refuse(InvalidRequestError(msg))

    def _refuse(self, error: EverytokenError) -> None:
        """Answer with an error, and take nothing more from this connection."""
        if self._refused:
            return
        self._refused = True
        self._stop_timer()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            answered, cycle.disconnected = cycle.response_started, True
            cycle.message_event.set()
            self.told_gone()
            if answered or self.pipeline:
                self.transport.close()  # another answer is on its way; ours would be a part of it
                return
        self.transport.write(refusal(error, self._for_pages()))
        # Closing at once, with bytes of the client's unread, would have the kernel reset the connection, and the client
        # lose the answer.
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._timer = self.loop.call_later(_LINGER, self.transport.close)
        else:
            self.transport.close()

    def _for_pages(self) -> list[tuple[bytes, bytes]]:
        """Return what lets a page of a listed origin read the refusal, if the head has come that far."""
        origin = dict(self.headers or ()).get(b"origin")
        return allow_origin(None if origin is None else origin.decode("latin-1").strip(), self.limits.origins)

    def told_gone(self) -> None:
        """Have the application learn that the connection is gone."""
