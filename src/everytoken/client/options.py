"""The arguments of an HTTP client, by name, so that type checkers know our own too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    import httpx2

__all__ = ["AsyncOptions", "Options"]


class _Common(TypedDict, total=False):
    auth: Any
    params: Any
    headers: Any
    cookies: Any
    verify: ssl.SSLContext | str | bool
    cert: Any
    trust_env: bool
    http1: bool
    http2: bool
    proxy: httpx2.Proxy | httpx2.URL | str | None
    timeout: httpx2.Timeout | float | None
    follow_redirects: bool
    limits: httpx2.Limits
    max_redirects: int
    event_hooks: Mapping[str, list[Callable[..., Any]]] | None
    base_url: httpx2.URL | str
    default_encoding: str | Callable[[bytes], str | None]


class Options(_Common, total=False):
    """The arguments of `httpx2.Client`."""

    mounts: Mapping[str, httpx2.BaseTransport | None] | None
    transport: httpx2.BaseTransport | None


class AsyncOptions(_Common, total=False):
    """The arguments of `httpx2.AsyncClient`."""

    mounts: Mapping[str, httpx2.AsyncBaseTransport | None] | None
    transport: httpx2.AsyncBaseTransport | None
