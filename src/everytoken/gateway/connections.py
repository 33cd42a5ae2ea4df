"""Limits the number of connections, in all and from one address."""

from __future__ import annotations

import ipaddress
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from everytoken.gateway.config import Config

if TYPE_CHECKING:
    from uvicorn.server import ServerState

__all__ = ["CountedProtocol"]

logger = logging.getLogger("everytoken.gateway")

_SAID_EVERY = 1.0  # seconds between two log lines about connections that are refused
_DEFAULTS = Config()

_by_address: WeakKeyDictionary[ServerState, Counter[str]] = WeakKeyDictionary()


class CountedProtocol(HttpToolsProtocol):
    """One connection, which is counted. The limits are those of the application's `config`."""

    __slots__ = ("_address", "limits")

    _last_said = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """`args` and `kwargs` are uvicorn's."""
        super().__init__(*args, **kwargs)
        self.limits = _DEFAULTS
        self._address: str | None = None  # as it is counted

    def reserve(self, address: str) -> bool:
        """Count a connection that is not made yet; return False, with nothing counted, if it is one too many."""
        if self.count(address):
            self.release()
            return False
        return True

    def count(self, address: str) -> str:
        """Count the connection unless it is reserved; return which limit it is over, "" for none."""
        if self._address is not None:
            return ""
        self.limits = getattr(self.app, "config", None) or _DEFAULTS
        self.connections.add(self)
        addresses = _by_address.get(self.server_state)
        if addresses is None:
            addresses = _by_address[self.server_state] = Counter()
        self._address = counted = _counted_as(address)
        addresses[counted] += 1
        if len(self.connections) > self.limits.max_connections:
            too_many = "there are too many connections"
        elif addresses[counted] > self.limits.max_address_connections:
            too_many = "there are too many connections from one address"
        else:
            return ""
        now = self.loop.time()
        if now - CountedProtocol._last_said >= _SAID_EVERY:
            CountedProtocol._last_said = now
            logger.warning("refused a connection from %s: %s", address or "an unknown address", too_many)
        return too_many

    def release(self) -> None:
        """Stop counting it."""
        self.connections.discard(self)
        if self._address is not None:
            addresses = _by_address[self.server_state]
            addresses[self._address] -= 1
            if not addresses[self._address]:
                del addresses[self._address]
            self._address = None

    def shutdown(self) -> None:
        """Close it for the server, once it is made: what is only reserved is its own server's."""
        if self.transport is not None:
            super().shutdown()


def _counted_as(address: str) -> str:
    """Return whose connections one from `address` is counted with: of IPv6, a host commonly has a /64 to itself."""
    if ":" not in address:
        return address
    try:
        ip = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return str(ip.ipv4_mapped or ipaddress.IPv6Address(int(ip) >> 64 << 64))
