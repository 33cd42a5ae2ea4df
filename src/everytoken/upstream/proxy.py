"""The proxy that the environment names, as every HTTP client uses it: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import urllib.request
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from everytoken.errors import ConfigurationError, ConnectError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from everytoken.upstream.redirects import Origin

__all__ = ["Proxy", "open_tunnel", "proxy_for"]

_MAX_HEAD = 65_536  # bytes of a proxy's answer to CONNECT
_PORTS = {"http": 80, "https": 443}

_P = TypeVar("_P", bound=asyncio.Protocol)


class Proxy(NamedTuple):
    """A proxy; `header` is the line that carries its credentials, or nothing. `secrets` are these."""

    scheme: str
    host: str
    port: int
    header: str = ""
    secrets: tuple[str, ...] = ()


def proxy_for(origin: Origin) -> Proxy | None:
    """Return the proxy for requests to `origin`, None for none; a loopback address has none.

    Raises `ConfigurationError` for one that cannot be used.
    """
    proxies = urllib.request.getproxies_environment()
    url = proxies.get(origin.scheme) or proxies.get("all")
    if not url or _is_loopback(origin.host):
        return None
    if urllib.request.proxy_bypass_environment(origin.address, proxies):  # type: ignore[attr-defined]  # typeshed lacks it
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    name = f"the proxy of the environment for {origin.scheme}:// addresses"
    if parts.scheme.startswith("socks"):
        raise ConfigurationError(f"{name} is a SOCKS proxy, which is not supported; name an HTTP proxy")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ConfigurationError(f"{name} is not an http:// or https:// URL")
    try:
        port = parts.port or _PORTS[parts.scheme]
    except ValueError as error:
        raise ConfigurationError(f"{name} has no valid port") from error
    if parts.username is None:
        return Proxy(parts.scheme, parts.hostname, port)
    user, password = unquote(parts.username), unquote(parts.password or "")
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Proxy(
        parts.scheme,
        parts.hostname,
        port,
        f"proxy-authorization: Basic {token}\r\n",
        (token, password or user),
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def open_tunnel(
    proxy: Proxy, to: Origin, make: Callable[[], _P], *, outer: ssl.SSLContext | None, inner: ssl.SSLContext
) -> _P:
    """Return a protocol whose connection leads through `proxy`, with TLS `inner`; `outer` is that to the proxy.

    Raises `ConnectError`, `OSError`, `ssl.SSLError`.
    """
    loop = asyncio.get_running_loop()
    transport, tunnel = await loop.create_connection(_Tunnel, proxy.host, proxy.port, ssl=outer)
    try:
        transport.write(
            f"CONNECT {to.address} HTTP/1.1\r\nhost: {to.address}\r\n{proxy.header}\r\n".encode("ascii")
        )
        await tunnel.open
        protocol = make()
        secured = await loop.start_tls(transport, protocol, inner, server_hostname=to.host)
    except BaseException:
        transport.abort()
        raise
    if secured is None:
        raise ConnectError("the proxy closed the connection")
    protocol.connection_made(secured)
    return protocol


class _Tunnel(asyncio.Protocol):
    """Waits for the response to CONNECT; `open` has no result, or what is wrong."""

    def __init__(self) -> None:
        self.open: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head = b""

    def data_received(self, data: bytes) -> None:
        self._head += data
        if self.open.done():
            return
        if b"\r\n\r\n" not in self._head:
            if len(self._head) > _MAX_HEAD:
                self._fail("the proxy's headers are too large")
            return
        version, _, rest = self._head.partition(b" ")
        status = rest[:3].decode("latin-1")
        if not version.startswith(b"HTTP/1."):
            self._fail("the proxy did not answer in HTTP")
        elif not status.startswith("2"):
            self._fail(f"the proxy refused the connection with status {status}")
        else:
            self.open.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # nothing more to say
        self._fail("the proxy closed the connection")

    def _fail(self, message: str) -> None:
        if not self.open.done():
            self.open.set_exception(ConnectError(message))
