"""Any OpenAI-compatible HTTP server.

httptools parses HTTP (llhttp, the parser that uvicorn uses); this is the connection around it. It is our own because a
chunk must travel from `data_received` to the relay by plain calls: an HTTP client with streams and awaits costs as much
per chunk as everything else together (docs/decisions).
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from everytoken.errors import ConfigurationError, ConnectError, StalledError, UpstreamError
from everytoken.json import dumps
from everytoken.json.bounds import excess_in
from everytoken.redaction import MASK, Redactor, is_secret_header, secrets_in_header
from everytoken.upstream.connecting import Connector
from everytoken.upstream.exchange import Exchange
from everytoken.upstream.one_piece import OnePiece
from everytoken.upstream.passage import RawExchange, asked_of
from everytoken.upstream.protocol import HttpProtocol
from everytoken.upstream.redirects import QUERY, Asked, moved, origin_of
from everytoken.upstream.rendering import head_of, more_of, rendered
from everytoken.upstream.tls import client_context

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from urllib.parse import SplitResult

    from everytoken.upstream import Sink
    from everytoken.upstream.passage import Passed
    from everytoken.upstream.pooled import Pooled
    from everytoken.upstream.redirects import Origin

__all__ = ["HttpUpstream"]

# Connections kept for the next responses: a steady load needs as many as were busy at once.
_MAX_IDLE = 256
_MODELS_LIMIT = 10.0  # seconds


class HttpUpstream:
    """A server at `base_url` (the part before a dialect's path, such as `/chat/completions`), called with `api_key` if there is one.

    A query in `base_url` (Azure's `api-version`) is put after the path.

    `headers` are sent with every request. A redirect is followed on the same host, and to `redirect_hosts`, which get
    the key, too. The environment's proxies are used, but for loopback addresses. `http2`: speak HTTP/2 from the start,
    not only after the server has refused HTTP/1.1. Raises `ConfigurationError` for a URL that cannot be used.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        redirect_hosts: Sequence[str] = (),
        http2: bool = False,
    ) -> None:
        self.name = name
        self.base_url = base_url.rstrip("/")
        parts = urlsplit(self.base_url)
        shown = _without_credentials(self.base_url)
        try:
            origin = origin_of(parts)
        except ValueError as error:
            raise ConfigurationError(f"upstream {name!r}: {shown!r} has no valid port") from error
        if origin is None:
            raise ConfigurationError(f"upstream {name!r}: {shown!r} is not an http:// or https:// URL")
        self._origin = origin
        self._connector = Connector(name, origin, client_context, http2=http2)
        proxy = self._connector.proxy
        self._path = quote(parts.path.rstrip("/"), safe=QUERY)
        self._query = f"?{quote(parts.query, safe=QUERY)}" if parts.query else ""
        self._api_key = api_key
        self._headers = dict(headers or {})
        self._redirect_hosts = frozenset(host.lower() for host in redirect_hosts)
        self._elsewhere: dict[Origin, HttpUpstream] = {}
        self._head = head_of(name, parts.netloc.rpartition("@")[2], api_key, headers or {})
        self._redactor = Redactor(
            _secrets(self._api_key, proxy.secrets if proxy is not None else (), parts, headers or {})
        )
        self._idle: dict[Pooled, None] = {}  # the one used last is used next
        self._open: set[Pooled] = set()
        self._tasks: set[asyncio.Task[None]] = set()

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
        accept = "text/event-stream" if streamed else "application/json"
        payload, more = dumps(body), more_of(headers or {}, self._head)
        return self._begin(
            Asked("POST", self._origin, f"{self._path}{path}{self._query}", accept, payload, more), sink
        )

    @property
    def takes_pieces(self) -> bool:
        """Whether a request's body may follow in pieces: not in HTTP/2."""
        return not self._connector.http2

    def pass_on(self, passed: Passed, sink: Sink) -> Exchange:
        """Begin a request of any kind, behind the base URL: returns at once, reports the body as it comes.

        A body in pieces follows by the exchange's `Upload`, once it is connected.
        """
        more = more_of(passed.headers, self._head)
        asked = asked_of(passed, self._origin, self._path, self._query.removeprefix("?"), more)
        return self._begin(asked, sink, raw=True)

    async def models(self) -> list[dict[str, Any]]:
        """Return what `GET /models` lists. Raises `UpstreamError`; an upstream without the route has none."""
        loop = asyncio.get_running_loop()
        sink = OnePiece(loop.create_future())
        exchange = self._begin(
            Asked("GET", self._origin, f"{self._path}/models{self._query}", "application/json"), sink
        )
        try:
            async with asyncio.timeout(_MODELS_LIMIT):
                body = await sink.body
        except TimeoutError as error:
            message = f"upstream {self.name!r} did not list its models in time"
            raise StalledError(message, phase="first-content") from error
        finally:
            exchange.release(reusable=True)
        if (excess := excess_in(body)) is not None:
            raise UpstreamError(f"upstream {self.name!r} sent a list of models that cannot be read: {excess}")
        try:
            return models_in(msgspec.json.decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
            raise UpstreamError(
                f"upstream {self.name!r} sent a list of models in an unknown format"
            ) from error

    async def start(self) -> None:
        """Do nothing: connections are opened when they are needed."""

    async def stop(self) -> None:
        """Close every connection, and wait for those that are still connecting."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for protocol in list(self._open):
            protocol.close()
        self._idle.clear()
        for upstream in self._elsewhere.values():
            await upstream.stop()

    def redact(self, text: str) -> str:
        """Return `text` without this upstream's secrets, which some servers quote when they reject them."""
        return self._redactor.text(text)

    # Connections

    def opened(self, protocol: Pooled) -> None:
        """A connection has been made."""
        self._open.add(protocol)

    def idle(self, protocol: Pooled) -> None:
        """Take back a connection whose response has ended properly."""
        if len(self._idle) < _MAX_IDLE:
            self._idle[protocol] = None
        else:
            protocol.close()

    def lost(self, protocol: Pooled) -> None:
        """A connection has been lost."""
        self._open.discard(protocol)
        self._idle.pop(protocol, None)

    @property
    def _context(self) -> ssl.SSLContext | None:
        """The TLS context of its connections, once there has been one."""
        return self._connector.context

    def speaks_http2(self, request: bytes, exchange: Exchange | None) -> None:
        """Send a request again that the server could not read, in HTTP/2."""
        problem = self._connector.switch()
        if exchange is None:
            return
        if exchange.uploads:
            exchange.on_error(ConnectError(f"upstream {self.name!r} speaks only HTTP/2; try again"))
            return
        exchange.start_over()
        if problem is None:
            self._connect(request, exchange)
        else:
            exchange.on_error(problem)

    def _begin(self, asked: Asked, sink: Sink, *, raw: bool = False) -> Exchange:
        later, uploads = asyncio.get_running_loop().call_soon, bool(asked.framing)
        exchange = (
            RawExchange(sink, redactor=self._redactor, later=later, uploads=uploads)
            if raw
            else Exchange(sink, redactor=self._redactor, later=later)
        )
        if uploads:  # what can be sent only once gets a connection of its own
            self._connect(rendered(asked, self._head, self._connector.through), exchange)
        else:
            self._send(asked, exchange, self)
        return exchange

    def _send(self, asked: Asked, exchange: Exchange, home: HttpUpstream) -> None:
        """Send a request of `home`, which knows where it may be sent on to."""
        request = rendered(asked, self._head, self._connector.through)
        exchange.redirect = lambda status, location: home._redirect(
            asked, exchange, status, location
        )  # another one of these
        while self._idle:
            protocol, _ = self._idle.popitem()
            if protocol.send(request, exchange, retry=lambda: self._connect(request, exchange)):
                # Reported in a later turn of the loop, as for a new connection: the caller does not have it yet.
                asyncio.get_running_loop().call_soon(exchange.on_sent)
                return
        self._connect(request, exchange)

    def _redirect(self, asked: Asked, exchange: Exchange, status: int, location: str) -> bool:
        """Send a request on to where its answer says, if the key may go there; return whether it does."""
        further = moved(asked, self._origin, status, location, self._redirect_hosts)
        if further is None:
            return False
        exchange.start_over()
        self._at(further.origin)._send(further, exchange, self)  # noqa: SLF001  # see above
        return True

    def _at(self, origin: Origin) -> HttpUpstream:
        """Return the same upstream at another server."""
        if origin == self._origin:
            return self
        if origin not in self._elsewhere:
            headers = {name: value for name, value in self._headers.items() if name.lower() != "host"}
            url = f"{origin.scheme}://{origin.netloc}"
            self._elsewhere[origin] = HttpUpstream(
                self.name, url, api_key=self._api_key, headers=headers, http2=self._connector.http2
            )
        return self._elsewhere[origin]

    def _connect(self, request: bytes, exchange: Exchange) -> None:
        task = asyncio.get_running_loop().create_task(self._open_connection(request, exchange))
        exchange.connecting = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_connection(self, request: bytes, exchange: Exchange) -> None:
        try:
            protocol = await self._connector.open(self)
        except (OSError, ssl.SSLError, UnicodeError, ConnectError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            failure = ConnectError(f"cannot connect to upstream {self.name!r}: {reason}")
            failure.__cause__ = error
            exchange.on_error(failure)
            return
        finally:
            exchange.connecting = None
        if exchange.released:
            protocol.close()
        elif exchange.uploads and not isinstance(protocol, HttpProtocol):
            protocol.close()
            exchange.on_error(ConnectError(f"upstream {self.name!r} speaks only HTTP/2; try again"))
        elif protocol.send(request, exchange, retry=None):
            exchange.on_sent()
        elif isinstance(protocol, HttpProtocol) and self._connector.http2:
            self._connect(request, exchange)  # it has said so before it was asked
        else:
            exchange.on_error(ConnectError(f"upstream {self.name!r} closed the connection immediately"))


def _secrets(
    api_key: str | None, proxys: Sequence[str], parts: SplitResult, headers: Mapping[str, str]
) -> list[str | None]:
    """Return what must not be passed on: the key, and secrets in headers and URL, and the proxy's."""
    # Without a password, the user name is a token.
    credentials = parts.password or parts.username or ""
    found = [api_key, credentials, unquote(credentials), *proxys]
    for name, value in parse_qsl(parts.query.replace("+", "%2B")):
        if is_secret_header(name):
            found += (value, value.replace("+", " "))
    for name, value in headers.items():
        found += secrets_in_header(name, value)
    return found


def models_in(listed: Any) -> list[dict[str, Any]]:
    """Return the models of a list in any form: bare, in `data`, or in `models`.

    Raises `TypeError` for what is none.
    """
    if isinstance(listed, dict) and ("data" in listed or "models" in listed):
        listed = listed.get("data") or listed.get("models") or []
    if not isinstance(listed, list):
        raise TypeError("no list of models")
    objects = [model for model in listed if isinstance(model, dict)]
    # Ollama and Gemini call it a name.
    named = [model if "id" in model else {**model, "id": model.get("name")} for model in objects]
    return [model for model in named if isinstance(model.get("id"), str) and model["id"]]


def _without_credentials(url: str) -> str:
    """Return a URL, valid or not, without its user information and query."""
    place, found, _ = url.partition("?")
    scheme, separator, rest = place.rpartition("://")
    _, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{MASK + at if at else ''}{host}{found and '?' + MASK}"
