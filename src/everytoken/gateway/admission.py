"""Decides whether a response may be opened: limits of rate, number and budget, supplied by the operator."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Request as ModelRequest
    from everytoken.gateway.http import Request

__all__ = ["Admission", "Asked", "Release", "admitted"]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be decided on: the request as it was read, and who asks.

    `owner` is the id of the caller's API key (of a key of the configuration, its fingerprint), "" while none is needed.
    `peer` is the address of the connection, "" if it is not known; behind a proxy it is the proxy's.
    """

    request: ModelRequest
    owner: str
    peer: str
    request_id: str


Release = Callable[[], object]
"""Is called once, in the event loop, when the response has ended or was not opened after all."""

Admission = Callable[[Asked], Release | Awaitable[Release | None] | None]
"""Is called before a response is opened: nothing has been stored, no upstream has been asked.

It lets the request in by returning, at once or by a coroutine, and refuses it by raising an `EverytokenError`, such as
`RateLimitedError`, which the caller gets with its status. What it returns, if not None, is called at the end.
"""


async def admitted(
    admission: Admission, http: Request, request: ModelRequest, *, owner: str
) -> Release | None:
    """Ask `admission`. Raises what it raises."""
    client = http.scope.get("client")
    asked = Asked(request=request, owner=owner, peer=client[0] if client else "", request_id=http.id)
    decided = admission(asked)
    return await decided if inspect.isawaitable(decided) else decided
