"""Which web pages may call: a page of another origin must not spend, read or write for the person who visits it.

A browser says where a request comes from: `Sec-Fetch-Site` (Fetch Metadata), and before that `Origin` (RFC 6454).
Programs send neither. Nothing here reads a body.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from everytoken.errors import HostNotAllowedError, MediaTypeError, OriginNotAllowedError
from everytoken.gateway.cors import is_listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from everytoken.gateway.http import Request

__all__ = [
    "check_body",
    "check_host",
    "check_json",
    "check_origin",
    "is_json",
    "names_loopback",
    "preflight",
]

_METHODS = b"GET, HEAD, PUT, POST, DELETE, OPTIONS"
_ALLOWED = (
    b"Authorization, Content-Type, Accept, If-None-Match, Last-Event-ID, Idempotency-Key, Everytoken-Disconnect, "
    b"Stream-Seq, Stream-TTL, Stream-Expires-At, Stream-Closed, Producer-Id, Producer-Epoch, Producer-Seq, X-Request-Id"
)
_NAMES = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(\s*,\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_LONG_NAME = 256  # characters of a Host that is not remembered
_MAX_NAMES = 2000  # characters of the header names that a preflight asks for
_FILES = frozenset({"multipart/form-data", "application/octet-stream"})
_JSON = frozenset({"", "application/json", "text/plain", "application/x-www-form-urlencoded"})
_PORTS = {"http": 80, "https": 443}
_OWN = frozenset({"same-origin", "none"})


def is_foreign(request: Request) -> bool:
    """Whether a request comes from a web page of another origin."""
    site = request.header(b"sec-fetch-site")
    if site is not None:
        # The browser knows, also where a proxy in between has changed the Host.
        return site.lower() not in _OWN
    origin = request.header(b"origin")
    return origin is not None and not _is_host(origin, request)


def _is_host(origin: str, request: Request) -> bool:
    """Whether an origin is the address that the request was sent to."""
    try:
        parts = urlsplit(origin)
        port = parts.port or _PORTS.get(parts.scheme)
        host = urlsplit(f"//{request.header(b'host') or ''}")
        # The scheme is not compared: a proxy in front of us may speak TLS.
        return parts.hostname is not None and (
            (parts.hostname, port) == (host.hostname, host.port or _PORTS.get(parts.scheme))
        )
    except ValueError:
        return False


def check_origin(request: Request, origins: Sequence[str]) -> None:
    """Raise `OriginNotAllowedError` for a page of another origin that `origins` does not list."""
    if not is_foreign(request):
        return
    origin = request.header(b"origin")
    if is_listed(origin, origins):
        return
    told = origin if origin is not None and origin.isprintable() and len(origin) < 200 else None
    raise OriginNotAllowedError(
        f"pages of {told or 'another origin'} may not call this gateway; to allow it, "
        f'set origins = ["{told or "https://app.example"}"] in the configuration'
    )


def check_host(request: Request, hosts: Iterable[str]) -> None:
    """Raise `HostNotAllowedError` unless `Host` is a loopback name or in `hosts`: for a gateway on loopback.

    A page can have a name of its own resolve to 127.0.0.1 and would then be of the gateway's origin.
    """
    host = request.header(b"host")
    if host is None:
        return  # HTTP/1.0
    look = _name_if_foreign if len(host) < _LONG_NAME else _name_if_foreign.__wrapped__
    name = look(host, tuple(hosts))
    if name is None:
        return
    shown = name if name.isprintable() and 0 < len(name) < 200 else "NAME"
    raise HostNotAllowedError(
        f'this gateway does not accept that Host; to allow it, set hosts = ["{shown}"] in the configuration'
    )


def names_loopback(request: Request) -> bool:
    """Whether a request is addressed to this machine by one of the names that no other has."""
    host = request.header(b"host")
    return host is None or (len(host) < _LONG_NAME and _name_if_foreign(host, ()) is None)


@functools.lru_cache(maxsize=64)  # nearly all requests name the same one
def _name_if_foreign(host: str, hosts: tuple[str, ...]) -> str | None:
    """Return the name in a `Host` that is neither a loopback name nor in `hosts`; None for one that is."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        name = ""
    if name == "localhost" or name.endswith(".localhost") or name in map(_name_of, hosts):
        return None
    try:
        return None if ipaddress.ip_address(name).is_loopback else name
    except ValueError:
        return name


def _name_of(host: str) -> str:
    """Return the name in an entry of `hosts`, which may have a port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def check_json(request: Request) -> None:
    """Raise `MediaTypeError` for a body that does not say it is JSON.

    A page of another origin can send `text/plain` and forms without asking; ours, and programs, may send `text/plain`,
    and programs what `curl -d` sends.
    """
    told = request.header(b"content-type")
    if told is None or not told:
        return
    media = _media(told)
    if media == "application/json" or media.endswith("+json"):
        return
    if media == "text/plain" and not is_foreign(request):
        return
    from_page = request.header(b"sec-fetch-site") is not None or request.header(b"origin") is not None
    if media == "application/x-www-form-urlencoded" and not from_page:
        return
    raise MediaTypeError("the body must be JSON: send it as 'Content-Type: application/json'")


def check_body(request: Request) -> None:
    """Raise `MediaTypeError` for a body that is neither JSON nor a form with files, nor such a file by itself.

    A page of another origin can send a form without asking, so it has to be refused before, by `check_origin`.
    """
    media = _media(request.header(b"content-type") or "")
    if media not in _FILES and not media.startswith(("audio/", "image/", "video/")):
        check_json(request)


def is_json(content_type: str) -> bool:
    """Whether a body that `check_json` lets pass from a program, by its type, is JSON."""
    media = _media(content_type)
    return media in _JSON or media.endswith("+json")


def _media(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def preflight(request: Request) -> list[tuple[bytes, bytes]]:
    """Return what a page of a listed origin may send. A preflight comes without a key and depends on no stream."""
    wanted = request.header(b"access-control-request-headers") or ""
    # The official SDKs send headers of their own, whose names change with their versions.
    more = wanted if len(wanted) <= _MAX_NAMES and _NAMES.fullmatch(wanted) else ""
    headers = [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", _ALLOWED + (f", {more}".encode() if more else b"")),
        (b"access-control-max-age", b"3600"),
    ]
    if request.header(b"access-control-request-private-network") == "true":
        headers.append((b"access-control-allow-private-network", b"true"))
    return headers
