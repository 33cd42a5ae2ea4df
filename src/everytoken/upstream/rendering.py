"""Requests to an upstream as bytes of HTTP/1.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everytoken.upstream.proxy import Proxy
    from everytoken.upstream.redirects import Asked

__all__ = ["head_of", "more_of", "rendered"]


def head_of(name: str, host: str, api_key: str | None, headers: Mapping[str, str]) -> bytes:
    """Return the header lines of all requests to the upstream called `name`. Raises `ConfigurationError`."""
    lines = {
        "host": host,
        "user-agent": "everytoken",
        "accept-encoding": "identity",  # compression delays tokens
        **({"authorization": f"Bearer {api_key}"} if api_key else {}),
        **{header.lower(): value for header, value in headers.items()},
    }
    for header, value in lines.items():
        if not (header.isascii() and value.isascii()) or any(c in header + value for c in "\r\n\0"):
            raise ConfigurationError(f"upstream {name!r}: the header {header!r} cannot be sent")
    return "".join(f"{header}: {value}\r\n" for header, value in lines.items()).encode("ascii")


def more_of(headers: Mapping[str, str], head: bytes) -> bytes:
    """Return the lines of a caller's headers, except those that are in `head` already."""
    more, own = b"", b"\r\n" + head
    for name, value in headers.items():
        line = f"{name}: {value}"
        if line.isascii() and line.isprintable() and b"\r\n%b:" % name.encode() not in own:
            more += f"{line}\r\n".encode()
    return more


def rendered(asked: Asked, head: bytes, through: Proxy | None) -> bytes:
    """Return a request with `head` among its headers; `through`: the proxy that is asked for all of its address."""
    place = f"http://{asked.origin.netloc}" if through is not None else ""
    lines = b"%b %b HTTP/1.1\r\n%b%b%baccept: %b\r\n" % (
        asked.method.encode(),
        f"{place}{asked.target}".encode("ascii"),
        head,
        through.header.encode("ascii") if through is not None else b"",
        asked.more,
        asked.accept.encode(),
    )
    if asked.payload is None:
        return lines + b"\r\n"
    length = asked.framing or b"content-length: %d\r\n" % len(asked.payload)
    return b"%bcontent-type: %b\r\n%b\r\n%b" % (lines, asked.media, length, asked.payload)
