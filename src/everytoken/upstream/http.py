"""Any OpenAI-compatible HTTP server.

The HTTP grammar is httptools' (llhttp, the parser uvicorn uses); what stands here is the connection around it. It is
our own because a chunk must travel from `data_received` to the relay by plain calls: an HTTP client with streams and
awaits costs as much per chunk as all the rest together (docs/decisions).
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from everytoken.errors import ConfigurationError, ConnectError, EverytokenError, StalledError, UpstreamError
from everytoken.json.bounds import excess_in
from everytoken.redaction import MASK, Redactor, is_secret_header, secrets_in_header
from everytoken.upstream.exchange import Exchange
from everytoken.upstream.protocol import HttpProtocol
from everytoken.upstream.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

    from everytoken.upstream import Sink

__all__ = ["HttpUpstream"]

# Connections kept for the next response; as many as were busy at once is what a steady load needs.
_MAX_IDLE = 256
_MODELS_LIMIT = 10.0  # seconds
_QUERY = "/?%:@!$&'()*+,;=~"  # what a query may hold (RFC 3986 section 3.4), with what is escaped already


class HttpUpstream:
    """A server at `base_url` (the part before a dialect's path, such as `/chat/completions`), asked with `api_key` if there is one.

    A query in `base_url` (Azure's `api-version`) goes behind the path.

    `headers` are sent with every request. Raises `ConfigurationError` for a URL that cannot be used.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.base_url = base_url.rstrip("/")
        parts = urlsplit(self.base_url)
        shown = _without_credentials(self.base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError(f"upstream {name!r}: {shown!r} is not an http:// or https:// URL")
        try:
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"upstream {name!r}: {shown!r} has no valid port") from error
        self._host: str = parts.hostname
        self._tls = parts.scheme == "https"
        self._port: int = port or (443 if self._tls else 80)
        self._path = quote(parts.path.rstrip("/"), safe=_QUERY)
        self._query = f"?{quote(parts.query, safe=_QUERY)}" if parts.query else ""
        self._api_key = api_key
        self._head = self._render_head(parts.netloc.rpartition("@")[2], headers or {})
        self._redactor = Redactor(self._secrets(parts, headers or {}))
        self._context: ssl.SSLContext | None = None
        self._idle: dict[HttpProtocol, None] = {}  # the one used last is used next
        self._open: set[HttpProtocol] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def _render_head(self, host: str, headers: Mapping[str, str]) -> bytes:
        lines = {
            "host": host,
            "user-agent": "everytoken",
            "accept-encoding": "identity",  # compression delays tokens
            **({"authorization": f"Bearer {self._api_key}"} if self._api_key else {}),
            **{name.lower(): value for name, value in headers.items()},
        }
        for name, value in lines.items():
            if not (name.isascii() and value.isascii()) or any(c in name + value for c in "\r\n\0"):
                raise ConfigurationError(f"upstream {self.name!r}: the header {name!r} cannot be sent")
        return "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode("ascii")

    def _more(self, headers: Mapping[str, str]) -> bytes:
        """Render headers of a caller behind our own."""
        more = b""
        for name, value in headers.items():
            line = f"{name}: {value}"
            if (
                line.isascii()
                and line.isprintable()
                and b"\r\n%b:" % name.encode() not in b"\r\n" + self._head
            ):
                more += f"{line}\r\n".encode()
        return more

    def _secrets(self, parts: SplitResult, headers: Mapping[str, str]) -> list[str | None]:
        """Return what must not leave: the key, and what headers and the URL hold of that kind."""
        # Without a password the user's name is a token.
        credentials = parts.password or parts.username or ""
        found = [self._api_key, credentials, unquote(credentials)]
        for name, value in parse_qsl(parts.query.replace("+", "%2B")):
            if is_secret_header(name):
                found += (value, value.replace("+", " "))
        for name, value in headers.items():
            found += secrets_in_header(name, value)
        return found

    def connect(
        self,
        body: dict[str, Any],
        sink: Sink,
        *,
        streamed: bool,
        path: str = "/chat/completions",
        headers: Mapping[str, str] | None = None,
    ) -> Exchange:
        """Begin an attempt at `path`, behind the base URL: returns at once, reports to `sink`.

        `headers`, names in lower case, are sent too, except those that the upstream has of its own.
        """
        payload = msgspec.json.encode(body)
        accept = b"text/event-stream" if streamed else b"application/json"
        request = (
            b"POST %b HTTP/1.1\r\n%b%baccept: %b\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b"
            % (self._target(path), self._head, self._more(headers or {}), accept, len(payload), payload)
        )
        return self._begin(request, sink)

    async def models(self) -> list[dict[str, Any]]:
        """Return what `GET /models` lists. Raises `UpstreamError`; an upstream without the route has none."""
        loop = asyncio.get_running_loop()
        sink = _Once(loop.create_future())
        request = b"GET %b HTTP/1.1\r\n%baccept: application/json\r\n\r\n" % (
            self._target("/models"),
            self._head,
        )
        exchange = self._begin(request, sink)
        try:
            async with asyncio.timeout(_MODELS_LIMIT):
                body = await sink.body
        except TimeoutError as error:
            raise StalledError(
                f"upstream {self.name!r} did not list its models in time", phase="first-content"
            ) from error
        finally:
            exchange.release(reusable=True)
        if (excess := excess_in(body)) is not None:
            raise UpstreamError(f"upstream {self.name!r} sent a list of models that cannot be read: {excess}")
        try:
            listed = msgspec.json.decode(body)["data"]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError) as error:
            raise UpstreamError(
                f"upstream {self.name!r} sent a list of models in an unknown format"
            ) from error
        return [model for model in listed if isinstance(model, dict) and isinstance(model.get("id"), str)]

    async def start(self) -> None:
        """Connections are made when they are needed."""

    async def stop(self) -> None:
        """Close every connection and wait for what is still connecting."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for protocol in list(self._open):
            protocol.close()
        self._idle.clear()

    def redact(self, text: str) -> str:
        """Return `text` without this upstream's secrets, which some servers quote when they refuse them."""
        return self._redactor.text(text)

    def _target(self, route: str) -> bytes:
        return f"{self._path}{route}{self._query}".encode("ascii")

    # Connections

    def opened(self, protocol: HttpProtocol) -> None:
        """A connection stands."""
        self._open.add(protocol)

    def idle(self, protocol: HttpProtocol) -> None:
        """Take back a connection whose response has ended properly."""
        if len(self._idle) < _MAX_IDLE:
            self._idle[protocol] = None
        else:
            protocol.close()

    def lost(self, protocol: HttpProtocol) -> None:
        """A connection is gone."""
        self._open.discard(protocol)
        self._idle.pop(protocol, None)

    def _begin(self, request: bytes, sink: Sink) -> Exchange:
        exchange = Exchange(sink, redactor=self._redactor, later=asyncio.get_running_loop().call_soon)
        while self._idle:
            protocol, _ = self._idle.popitem()
            if protocol.send(request, exchange, retry=lambda: self._connect(request, exchange)):
                # Reported in a later loop turn, as for a new connection: the caller has no handle yet.
                asyncio.get_running_loop().call_soon(exchange.on_sent)
                return exchange
        self._connect(request, exchange)
        return exchange

    def _connect(self, request: bytes, exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(self._open_connection(request, exchange))
        exchange.connecting = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_connection(self, request: bytes, exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        try:
            if self._tls and self._context is None:
                self._context = await asyncio.to_thread(client_context)
            _, protocol = await loop.create_connection(
                lambda: HttpProtocol(self),
                self._host,
                self._port,
                ssl=self._context if self._tls else None,
            )
        except (OSError, ssl.SSLError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            failure = ConnectError(f"cannot connect to upstream {self.name!r}: {reason}")
            failure.__cause__ = error
            exchange.on_error(failure)
            return
        finally:
            exchange.connecting = None
        if exchange.released:
            protocol.close()
        elif protocol.send(request, exchange, retry=None):
            exchange.on_sent()
        else:
            exchange.on_error(ConnectError(f"upstream {self.name!r} closed the connection at once"))


def _without_credentials(url: str) -> str:
    """Return a URL, which may be none, without what stands before an `@` and in its query."""
    place, found, _ = url.partition("?")
    scheme, separator, rest = place.rpartition("://")
    _, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{MASK + at if at else ''}{host}{found and '?' + MASK}"


class _Once:
    """A sink that wants one whole body."""

    def __init__(self, body: asyncio.Future[bytes]) -> None:
        self.body = body

    def on_connected(self) -> None:
        """Nothing to do."""

    def on_accepted(self) -> None:
        """Nothing to do."""

    def on_data(self, data: bytes) -> None:
        """An event stream was not asked for."""

    def on_whole(self, body: bytes) -> None:
        if not self.body.done():
            self.body.set_result(body)

    def on_eof(self) -> None:
        self.on_whole(b"")

    def on_error(self, error: EverytokenError) -> None:
        if not self.body.done():
            self.body.set_exception(error)
