"""The little HTTP that the routes share: a request with limits, and answers."""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

import msgspec

from everytoken.errors import (
    AuthenticationError,
    EverytokenError,
    InvalidRequestError,
    MalformedEventError,
    MethodNotAllowedError,
    OverloadedError,
    RateLimitedError,
    RequestTooLargeError,
    StatusError,
    error_body,
)
from everytoken.gateway.paths import canonical
from everytoken.gateway.server import direct_of
from everytoken.json import dumps, loads
from everytoken.json.bounds import (
    MAX_VALUES,
    has_too_many_values,
    is_too_deep,
    is_within,
    problem_in,
    problem_in_text,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from everytoken.dialects.dialect import Dialect
    from everytoken.gateway.keys import Key

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

__all__ = [
    "Bodies",
    "BrokenOffError",
    "ClientGoneError",
    "Request",
    "answer",
    "answer_error",
    "answer_json",
    "break_off",
    "read_json_object",
    "start",
]


_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_PLAIN = re.compile(r"[A-Za-z0-9/_-]*")  # what needs no escapes in a URL
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class ClientGoneError(Exception):
    """The client has left; there is nobody to answer."""


class BrokenOffError(Exception):
    """Raised through a server that is not ours, so that it breaks a response off that must not seem whole."""


class Bodies:
    """The bytes of request bodies that are being received, all together, and how many they may be."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.held = 0
        self.limit = limit


class Request:
    """One HTTP request. `path` is the part behind where the application is mounted (`root`), as our routes spell it.

    `deployment` is the one that an Azure path names, "" without one.
    `id` is the caller's `x-request-id` if that is a sane one. `started` tells whether the answer's head has been sent.
    """

    __slots__ = (
        "_headers",
        "admitted",
        "bodies",
        "deployment",
        "dialect",
        "extra",
        "id",
        "key",
        "method",
        "path",
        "receive",
        "root",
        "scope",
        "send",
        "started",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.root: str = scope.get("root_path", "")
        path: str = scope["path"]
        # ASGI says that `path` contains the mount point; some frameworks leave it out.
        mounted = self.root and (path == self.root or path.startswith(self.root.rstrip("/") + "/"))
        self.path, self.deployment = canonical(path[len(self.root.rstrip("/")) :] if mounted else path)
        self.bodies: Bodies | None = None
        self.admitted = False  # whether it may be answered at all: it is not of a page that may not call
        self.key: Key | None = None  # the caller's, once it has been looked at
        self.dialect: Dialect | None = None  # in which the caller is told of errors; None: OpenAI's
        self.started = False
        self._headers: dict[bytes, bytes] | None = None
        given = self.header(b"x-request-id")
        self.id = (
            given if given is not None and _REQUEST_ID.fullmatch(given) else f"req_{os.urandom(12).hex()}"
        )
        # Headers of the answer, whatever it is.
        self.extra: list[tuple[bytes, bytes]] = [(b"x-request-id", self.id.encode())]

    def url(self, path: str) -> bytes:
        """Return where `path` of this application is for the client, fit for a header."""
        # Under a mount such as `/{tenant}` the root holds what the client wrote, unescaped: line ends and all.
        whole = self.root.rstrip("/") + path
        return (whole if _PLAIN.fullmatch(whole) else quote(whole)).encode()

    def header(self, name: bytes) -> str | None:
        """Return a header by its lower-case name, or None."""
        if self._headers is None:
            self._headers = dict(self.scope["headers"])
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1").strip()

    def query(self) -> dict[str, str]:
        """Return the query's parameters; of a repeated one, the last."""
        query = self.scope.get("query_string")
        return dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {}

    async def body(self, limit: int) -> bytes:
        """Return the whole body. Raises `RequestTooLargeError` above `limit` bytes, `ClientGoneError`."""
        declared = self.header(b"content-length")
        if declared is not None and declared.isdigit() and int(declared[:18]) > limit:
            raise RequestTooLargeError(f"the body is over the limit of {limit} bytes")
        body = bytearray()
        bodies = self.bodies or Bodies(limit)
        try:
            while True:
                message = await self.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                part = message.get("body", b"")
                body += part
                bodies.held += len(part)
                if len(body) > limit:
                    raise RequestTooLargeError(f"the body is over the limit of {limit} bytes")
                if bodies.held > bodies.limit:
                    raise OverloadedError("too many request bodies are being received; try again")
                if not message.get("more_body", False):
                    return bytes(body)
        finally:
            bodies.held -= len(body)

    async def emit(self, message: dict[str, Any]) -> None:
        """Send an ASGI message. Raises `ClientGoneError`."""
        try:
            await self.send(message)
        except OSError as error:
            # ASGI 2.4: so a server says that the client has gone.
            raise ClientGoneError from error


def read_json_object(data: bytes) -> dict[str, Any]:
    """Read a request body. Raises `InvalidRequestError` when it is not a JSON object, or has what cannot be kept."""
    if has_too_many_values(data):
        raise InvalidRequestError(f"the body has more than {MAX_VALUES:,} values")
    problem: tuple[str, str] | None = None
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = problem_in_text(data)
        value = None if problem is not None else _with_halves(data)
        if problem is None and value is None:
            raise InvalidRequestError(f"the body cannot be read as JSON: {error}") from error
    if problem is None:
        if not isinstance(value, dict):
            raise InvalidRequestError("the body must be a JSON object")
        problem = None if is_within(data) else problem_in(value)
        if problem is None:
            return value
    path, what = problem
    where = repr(path) if path else "the body"
    raise InvalidRequestError(f"{where} {what}", param=path or None)


def _with_halves(data: bytes) -> Any:
    """Read JSON with half a surrogate pair in a text, which an upstream may well take; None for any other problem."""
    if _HALF.search(data) is None:
        return None
    try:
        value = loads(data.decode())
        # What upstreams, logs and metrics know a model by has to be text.
        str(value.get("model") if isinstance(value, dict) else "").encode()
    except (UnicodeError, MalformedEventError):
        return None
    return value


async def start(request: Request, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Send the head of an answer."""
    request.started = True
    head = [*headers, *request.extra]
    if len(request.extra) > 1:  # more than the request's id, whose name no other header has
        said = {name for name, _ in request.extra}
        head = [*(header for header in headers if header[0] not in said), *request.extra]
    if status == 200 and (direct := direct_of(request)) is not None and direct.begin(head):
        return
    await request.emit({"type": "http.response.start", "status": status, "headers": head})


async def answer(
    request: Request, status: int, body: bytes, media: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send an answer that is there in full; the body is left out for HEAD. A 204 has neither type nor length."""
    head = [(b"x-content-type-options", b"nosniff"), *headers]
    if status != 204:
        head = [(b"content-type", media), (b"content-length", b"%d" % len(body)), *head]
    await start(request, status, head)
    await request.emit({"type": "http.response.body", "body": b"" if request.method == "HEAD" else body})


async def answer_json(
    request: Request, status: int, value: Any, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send `value` as JSON."""
    await answer(request, status, dumps(value), b"application/json", headers)


async def answer_error(
    request: Request, error: EverytokenError, more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send an error as the API would: the object, and the status of its code; `more` headers besides its own."""
    headers, body = list(more), error_body(error)
    if isinstance(error, MethodNotAllowedError):
        headers.append((b"allow", ", ".join(error.allow).encode()))
    if isinstance(error, OverloadedError):
        headers.append((b"retry-after", b"1"))
    if isinstance(error, AuthenticationError):
        headers.append((b"www-authenticate", b"Bearer"))  # RFC 9110 section 15.5.2 asks for it
    if isinstance(error, StatusError | RateLimitedError | OverloadedError) and error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % int(error.retry_after + 0.999)))
    if isinstance(error, StatusError):
        own = upstream_error_object(error)
        if own is not None and error.status == error.upstream_status:
            body = own
    if request.dialect is not None:
        body = request.dialect.refusal(body, status=error.status)
    await answer_json(request, error.status, body, headers)


async def break_off(request: Request) -> None:
    """Break a response off, so that nobody takes it for whole. Raises `BrokenOffError` under another server."""
    direct = direct_of(request)
    if direct is not None:
        direct.abort()
        return
    # An exception is enough for a server, but Starlette's BaseHTTPMiddleware ends the body properly before it passes
    # the exception on. A message that is none of ASGI's makes it, and any other, stop where it is.
    with contextlib.suppress(Exception):
        await request.send({"type": "everytoken.broken-off"})
    raise BrokenOffError


def upstream_error_object(error: StatusError) -> dict[str, Any] | None:
    """Return the upstream's own error body if it is in OpenAI's form, or None."""
    if is_too_deep(error.body):
        return None
    try:
        value = msgspec.json.decode(error.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("error"), dict) else None
