"""Answers as the protocol wants them: its errors, and what browsers need to hear (section 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.errors import EverytokenError, StreamClosedError
from everytoken.gateway.durable import headers
from everytoken.gateway.http import answer_error, start

if TYPE_CHECKING:
    from everytoken.gateway.durable.headers import Headers
    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services

__all__ = ["refuse", "respond"]


async def respond(request: Request, status: int, head: Headers, body: bytes | None = None) -> None:
    """Send an answer that is there in full. Without a `body` it has no length either: 204, 304, and to HEAD."""
    length = [] if body is None else [(b"content-length", b"%d" % len(body))]
    await start(request, status, [*length, *headers.COMMON, *head])
    await request.emit({"type": "http.response.body", "body": body or b""})


async def refuse(gateway: Services, request: Request, stream_id: str, error: EverytokenError) -> None:
    """Send an error with the headers that the protocol gives it."""
    head = [*headers.COMMON[1:], *headers.error_headers(error)]
    if isinstance(error, StreamClosedError):
        try:
            log = await gateway.journal.open(stream_id, touch=False)
        except EverytokenError:
            pass  # it has gone meanwhile; that it was closed is still true
        else:
            head += headers.state(log.tail, up_to_date=False, closed=True)
    await answer_error(request, error, head)
