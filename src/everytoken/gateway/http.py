"""The little HTTP that the routes share: a request with limits, and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from everytoken.errors import (
    EverytokenError,
    MethodNotAllowedError,
    RequestTooLargeError,
    StatusError,
    error_body,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

__all__ = ["ClientGoneError", "Request", "answer", "answer_error", "answer_json", "start"]


class ClientGoneError(Exception):
    """The client has left before its request was whole; there is nobody to answer."""


class Request:
    """One HTTP request. `path` is the part behind where the application is mounted (`root`)."""

    __slots__ = ("_headers", "method", "path", "receive", "root", "scope", "send")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.root: str = scope.get("root_path", "")
        path: str = scope["path"]
        # ASGI says that `path` contains the mount point; some frameworks leave it out.
        self.path = path[len(self.root) :] if self.root and path.startswith(self.root) else path
        self._headers: dict[bytes, bytes] | None = None

    def header(self, name: bytes) -> str | None:
        """Return a header by its lower-case name, or None."""
        if self._headers is None:
            self._headers = dict(self.scope["headers"])
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1").strip()

    def query(self) -> dict[str, str]:
        """Return the query's parameters; of a repeated one, the last."""
        return dict(parse_qsl(self.scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True))

    async def body(self, limit: int) -> bytes:
        """Return the whole body. Raises `RequestTooLargeError` above `limit` bytes, `ClientGoneError`."""
        declared = self.header(b"content-length")
        if declared is not None and declared.isdigit() and int(declared[:18]) > limit:
            raise RequestTooLargeError(f"the body is over the limit of {limit} bytes")
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            part = message.get("body", b"")
            size += len(part)
            if size > limit:
                raise RequestTooLargeError(f"the body is over the limit of {limit} bytes")
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)


async def start(request: Request, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Send the head of an answer."""
    await request.send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def answer(
    request: Request, status: int, body: bytes, media: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send an answer that is there in full; the body is left out for HEAD."""
    head = [(b"content-length", b"%d" % len(body)), (b"x-content-type-options", b"nosniff"), *headers]
    if media:
        head.insert(0, (b"content-type", media))
    if status == 204:
        head = head[1:]
    await start(request, status, head)
    await request.send({"type": "http.response.body", "body": b"" if request.method == "HEAD" else body})


async def answer_json(
    request: Request, status: int, value: Any, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send `value` as JSON."""
    await answer(request, status, msgspec.json.encode(value), b"application/json", headers)


async def answer_error(request: Request, error: EverytokenError) -> None:
    """Send an error as OpenAI would: the object, and the status of its code."""
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, MethodNotAllowedError):
        headers.append((b"allow", ", ".join(error.allow).encode()))
    if isinstance(error, StatusError):
        if error.retry_after is not None:
            headers.append((b"retry-after", b"%d" % int(error.retry_after + 0.999)))
        own = upstream_error_object(error)
        if own is not None and error.status == error.upstream_status:
            await answer_json(request, error.status, own, headers)
            return
    await answer_json(request, error.status, error_body(error), headers)


def upstream_error_object(error: StatusError) -> dict[str, Any] | None:
    """Return the upstream's own error body if it is in OpenAI's form, or None."""
    try:
        value = msgspec.json.decode(error.body)
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("error"), dict) else None
