"""Addresses that do not work: nothing listens, the name does not exist, or the server does not speak TLS."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Address", "BrokenAddress"]


@dataclass(frozen=True, slots=True)
class Address:
    """What is wrong with a base URL.

    `host` overrides the real one. `answers` is a listener's reply to the first bytes it receives: None for no listener at
    all, empty for a silent one.
    """

    scheme: str = "http"
    host: str | None = None
    answers: bytes | None = None


class BrokenAddress:
    """A port reserved for an `Address` while the context is open."""

    def __init__(self, address: Address, host: str) -> None:
        self._address = address
        self._host = host
        self._stack = AsyncExitStack()
        self._transports: set[asyncio.Transport] = set()
        self._port = 0

    @property
    def base_url(self) -> str:
        """The base URL that does not work."""
        return f"{self._address.scheme}://{self._address.host or self._host}:{self._port}/v1"

    async def __aenter__(self) -> Self:
        if self._address.answers is None:
            # Bound but not listening: the kernel refuses every connection, and no other program gets the port.
            bound = self._stack.enter_context(socket.socket())
            bound.bind((self._host, 0))
            self._port = bound.getsockname()[1]
        else:
            reply = self._address.answers
            loop = asyncio.get_running_loop()
            server = await loop.create_server(lambda: _Reply(reply, self._transports), self._host, 0)
            self._stack.push_async_callback(self._close, server)
            self._port = server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        for transport in tuple(self._transports):
            transport.abort()
        await server.wait_closed()


class _Reply(asyncio.Protocol):
    """Replies to the first bytes of a connection and closes it; without a reply it stays silent."""

    def __init__(self, reply: bytes, transports: set[asyncio.Transport]) -> None:
        self._reply = reply
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._transports.add(transport)

    def data_received(self, _data: bytes) -> None:
        if self._reply and not self._transport.is_closing():
            self._transport.write(self._reply)
            self._transport.close()

    def connection_lost(self, _error: Exception | None) -> None:
        self._transports.discard(self._transport)
