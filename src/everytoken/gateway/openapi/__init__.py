"""`/openapi.json` and `/docs`: what this gateway serves, described in OpenAPI 3.1."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from everytoken.gateway.http import answer
from everytoken.gateway.openapi.document import document, operations
from everytoken.gateway.openapi.page import page
from everytoken.gateway.pages import CONTENT_SECURITY_POLICY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.gateway.http import Request
    from everytoken.gateway.services import Services

__all__ = ["PATHS", "Routes", "show"]

PATHS: Final = ("/openapi.json", "/docs")
_HEADERS: Final = [
    (b"cache-control", b"no-cache"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
]


class Routes:
    """The routes that a description is made of: path -> methods and what they are for."""

    def __init__(self, routes: Mapping[str, tuple[Sequence[str], str]]) -> None:
        self.key = tuple((path, tuple(methods), about) for path, (methods, about) in routes.items())


async def show(gateway: Services, request: Request, routes: Routes) -> None:
    """Answer with the description, or its page."""
    places = [path for path in gateway.pages if not path.startswith("/assets/")]
    every = (*routes.key, *((path, ("GET", "HEAD"), "A page") for path in places))
    described, shown = _made(every, tuple(gateway.dialects), tuple(gateway.config.pass_through))
    if request.path == PATHS[0]:
        await answer(request, 200, described, b"application/json", _HEADERS[:2])
    else:
        await answer(request, 200, shown, b"text/html; charset=utf-8", _HEADERS)


@lru_cache(maxsize=4)
def _made(
    routes: tuple[tuple[str, tuple[str, ...], str], ...], dialects: tuple[str, ...], passed: tuple[str, ...]
) -> tuple[bytes, bytes]:
    found = operations({path: (methods, about) for path, methods, about in routes}, dialects, passed)
    described = document(found)
    return json.dumps(described, ensure_ascii=False).encode(), page(described)
