"""Where an upstream may send a request on to: its own host, or one that is listed, because the key goes along."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urljoin, urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection
    from urllib.parse import SplitResult

__all__ = ["FOLLOWED", "QUERY", "Asked", "Origin", "moved", "origin_of"]

FOLLOWED = frozenset({301, 302, 307, 308})
"""Statuses that are followed with the same method; for a GET 303, too, which makes every request one."""

QUERY = "/?%:@!$&'()*+,;=~"
"""What a query may hold (RFC 3986 section 3.4), with what is escaped already."""

_MAX_HOPS = 5
_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """A server, as URLs name it."""

    scheme: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """Host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def netloc(self) -> str:
        """The host, and the port where it is not the usual one."""
        return self.address if self.port != _PORTS[self.scheme] else self.address.rpartition(":")[0]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request on its way; `target` is path and query, `more` headers of the caller, `hops` how often it was sent on.

    `media` is the type of the body. `framing`: the header line that says how long a body is that follows in pieces.
    """

    method: str
    origin: Origin
    target: str
    accept: str
    payload: bytes | None = None
    more: bytes = b""
    media: bytes = b"application/json"
    framing: bytes = b""
    hops: int = 0


def origin_of(parts: SplitResult) -> Origin | None:
    """Return the server of a split URL, None if it is no http:// or https:// URL. Raises `ValueError` for its port."""
    if parts.scheme not in _PORTS or not parts.hostname:
        return None
    return Origin(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])


def moved(asked: Asked, home: Origin, status: int, location: str, hosts: Collection[str]) -> Asked | None:
    """Return the request that a redirect of an upstream at `home` asks for, None where it is not followed.

    `hosts` are those that may be asked besides `home`, with or without their port. A POST stays one, because it is
    what was asked. Never from TLS to none.
    """
    if (status not in FOLLOWED and not (status == 303 and asked.method == "GET")) or asked.hops >= _MAX_HOPS:
        return None
    try:
        parts = urlsplit(urljoin(f"{asked.origin.scheme}://{asked.origin.netloc}{asked.target}", location))
        to = origin_of(parts)
    except ValueError:
        return None
    if to is None or not _may_go(home, to, hosts):
        return None
    query = f"?{quote(parts.query, safe=QUERY)}" if parts.query else ""
    target = (quote(parts.path, safe=QUERY) or "/") + query
    if (to, target) == (asked.origin, asked.target):
        return None  # it asks for another attempt
    return replace(asked, origin=to, target=target, hops=asked.hops + 1)


def _may_go(home: Origin, to: Origin, hosts: Collection[str]) -> bool:
    if home.scheme == "https" and to.scheme != "https":
        return False
    # To TLS on the same host: what many servers do with all that comes without.
    secured = Origin("https", home.host, 443) if home.port == 80 else home
    return to in {home, secured} or to.host in hosts or to.address in hosts
