"""How a connection to an upstream is made: directly or through a proxy, with or without TLS, in HTTP/1.1 or HTTP/2."""

from __future__ import annotations

import asyncio
import importlib.util
import ssl
from typing import TYPE_CHECKING

from everytoken.errors import ConfigurationError, ConnectError
from everytoken.upstream.protocol import HttpProtocol
from everytoken.upstream.proxy import open_tunnel, proxy_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.upstream.http2 import Http2Protocol
    from everytoken.upstream.pooled import Pool
    from everytoken.upstream.redirects import Origin

__all__ = ["Connector"]


class Connector:
    """Makes connections to `origin`, through the environment's proxy if there is one.

    HTTP/1.1 is the default, because that is the fast path. A server that shows that it speaks HTTP/2 only, in the TLS
    handshake or by answering in frames, is spoken to in HTTP/2 from then on; with `http2` every server is from the
    start. `context` makes a TLS context; it may read files. Raises `ConfigurationError`.
    """

    def __init__(
        self, name: str, origin: Origin, context: Callable[[], ssl.SSLContext], *, http2: bool
    ) -> None:
        self.proxy = proxy_for(origin)
        # To an http:// address a proxy is asked for the whole of it (RFC 9112 section 3.2.2).
        self.through = self.proxy if origin.scheme == "http" else None
        self.http2 = http2
        self._name = name
        self._origin = origin
        self._make_context = context
        self._contexts: dict[str, ssl.SSLContext] = {}
        if http2 and (obstacle := self._obstacle()) is not None:
            raise ConfigurationError(f"upstream {name!r}: {obstacle}")

    @property
    def context(self) -> ssl.SSLContext | None:
        """The TLS context of its connections, once there has been one."""
        return self._contexts.get("h2" if self.http2 else "http/1.1")

    def switch(self) -> ConnectError | None:
        """Speak HTTP/2 from now on; return the error where that is not possible."""
        if (obstacle := self._obstacle()) is not None:
            return ConnectError(f"upstream {self._name!r} speaks only HTTP/2: {obstacle}")
        self.http2 = True
        return None

    def _obstacle(self) -> str | None:
        if importlib.util.find_spec("h2") is None:
            return "the package for it is missing; run: pip install 'everytoken[http2]'"
        if self.through is not None:
            return "without TLS it does not go through a proxy"
        return None

    async def open(self, pool: Pool) -> HttpProtocol | Http2Protocol:
        """Return a new connection. Raises `OSError`, `ssl.SSLError`, `ConnectError`."""
        try:
            return await self._open(pool)
        except ssl.SSLError as error:
            # The TLS alert of a server that has none of the protocols offered (RFC 7301 section 3.2).
            if self.http2 or "NO_APPLICATION_PROTOCOL" not in (error.reason or ""):
                raise
            if (problem := self.switch()) is not None:
                raise problem from error
        return await self._open(pool)

    async def _open(self, pool: Pool) -> HttpProtocol | Http2Protocol:
        proxy, origin = self.proxy, self._origin
        make = self._maker(pool)
        inner = await self._context("h2" if self.http2 else "http/1.1") if origin.scheme == "https" else None
        outer = await self._context("http/1.1") if proxy is not None and proxy.scheme == "https" else None
        if proxy is not None and inner is not None:
            return await open_tunnel(proxy, origin, make, outer=outer, inner=inner)
        _, host, port = origin if proxy is None else proxy[:3]
        _, protocol = await asyncio.get_running_loop().create_connection(
            make, host, port, ssl=inner if proxy is None else outer
        )
        return protocol

    def _maker(self, pool: Pool) -> Callable[[], HttpProtocol | Http2Protocol]:
        if not self.http2:
            return lambda: HttpProtocol(pool)
        from everytoken.upstream.http2 import Http2Protocol  # noqa: PLC0415  # its library is optional

        return lambda: Http2Protocol(pool, self._origin.scheme)

    async def _context(self, protocol: str) -> ssl.SSLContext:
        if protocol not in self._contexts:
            context = await asyncio.to_thread(self._make_context)
            context.set_alpn_protocols([protocol])
            self._contexts[protocol] = context
        return self._contexts[protocol]
