"""Heads of requests, before the application sees them, and the response to one that is refused."""

from __future__ import annotations

import re
import secrets
from email.utils import formatdate
from typing import TYPE_CHECKING

import httptools
import msgspec

from everytoken.errors import EverytokenError, InvalidRequestError, NotImplementedHereError, error_body

if TYPE_CHECKING:
    from collections.abc import Iterable

    Headers = list[tuple[bytes, bytes]]

__all__ = ["problem_with_head", "refusal", "take_host_of_target"]

_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]*")
_REASONS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    414: b"URI Too Long",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    503: b"Service Unavailable",
}


def problem_with_head(headers: Headers, method: bytes, version: str) -> EverytokenError | None:
    """Return why a request with this head is refused, or None. Header names are in lower case."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        return InvalidRequestError("a request has one Host header")  # RFC 9112 section 3.2
    if hosts and _HOST.fullmatch(hosts[0].strip()) is None:
        return InvalidRequestError("the Host header is not valid")
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and codings != [b"chunked"]:
        return NotImplementedHereError("the only transfer encoding that is supported is chunked")
    if method == b"CONNECT":
        return InvalidRequestError("this is not a proxy")
    return None


def take_host_of_target(headers: Headers, url: bytes) -> None:
    """Put the host of a target such as `http://host/path` in place of Host (RFC 9112 section 3.2.2)."""
    if url.startswith(b"/") or b"://" not in url:
        return
    target = httptools.parse_url(url)
    host: bytes = target.host or b""
    value = b"[%b]" % host if b":" in host else host
    if target.port is not None:
        value += b":%d" % target.port
    # In place: the scope has the same list.
    headers[:] = [*(line for line in headers if line[0] != b"host"), (b"host", value)]


def refusal(error: EverytokenError, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the whole response to a request that is refused with `error`, with `headers` among its own."""
    body = msgspec.json.encode(error_body(error))
    return (
        b"HTTP/1.1 %d %b\r\ndate: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
        b"connection: close\r\nx-request-id: req_%b\r\n%b\r\n%b"
    ) % (
        error.status,
        _REASONS.get(error.status, b"Error"),
        formatdate(usegmt=True).encode(),
        len(body),
        secrets.token_hex(12).encode(),
        b"".join(b"%b: %b\r\n" % line for line in headers),
        body,
    )
