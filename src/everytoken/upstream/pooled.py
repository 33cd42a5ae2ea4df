"""What connections to an upstream have in common, whichever HTTP they speak: one exchange at a time, then the pool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.upstream.exchange import Exchange

__all__ = ["Pool", "Pooled", "PooledProtocol"]

_DRAIN = 1.0  # seconds for a response to end properly once we have what we need


class Pooled(Protocol):
    """A connection as its owner sees it."""

    def send(self, request: bytes, exchange: Exchange, *, retry: Callable[[], None] | None) -> bool:
        """Send a request; return False if the connection takes none any more."""

    def close(self) -> None:
        """Close it at once."""


class Pool(Protocol):
    """The owner of the connections."""

    def opened(self, protocol: Pooled) -> None:
        """A connection has been made."""

    def idle(self, protocol: Pooled) -> None:
        """Its response has ended properly; it can take another request."""

    def lost(self, protocol: Pooled) -> None:
        """It has been lost."""

    def speaks_http2(self, request: bytes, exchange: Exchange | None) -> None:
        """The server speaks HTTP/2 only. It has not read the request, if there was one."""


class PooledProtocol(asyncio.Protocol):
    """Serves one exchange at a time, and goes back to its pool when the response has ended properly."""

    __slots__ = ("_busy", "_drain", "_exchange", "_in_body", "_pool", "_retry", "_transport")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._retry: Callable[[], None] | None = None
        self._in_body = False
        self._busy = False
        self._drain: asyncio.TimerHandle | None = None

    def let_go(self, exchange: Exchange, *, reusable: bool) -> None:
        """Stop serving `exchange`; keep the connection only if its response ends properly, and soon."""
        if self._busy and self._exchange is not exchange:
            return  # its response has ended, and the connection now serves another one
        self._exchange = self._retry = None
        if not reusable:
            self.close()
        elif self._busy and self._drain is None:
            self.resume()
            self._drain = asyncio.get_running_loop().call_later(_DRAIN, self.close)

    def close(self) -> None:
        """Close the connection at once, discarding what has not been sent."""
        self._cancel_drain()
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Stop reading."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Continue reading."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        """Close our side, too."""
        return False

    def _cancel_drain(self) -> None:
        if self._drain is not None:
            self._drain.cancel()
            self._drain = None
