"""Deadlines on the network: a read waits until a point in time that moves, not for a span that begins anew.

HTTP clients know a time-out for each read. A server that sends a comment every second never runs into it, so what our
clocks need is set deeper: the streams that httpcore2 reads from take the time that is left until the deadline of the
`Watch` in force; without one nothing changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpcore2

from everytoken.client.network_aio import AsyncBackend
from everytoken.client.network_sync import SyncBackend

if TYPE_CHECKING:
    import httpx2

__all__ = ["watch_network"]


def watch_network(client: httpx2.Client | httpx2.AsyncClient) -> None:
    """Let all transports of `client` keep to the watch in force.

    httpcore2 takes a network backend as an argument, and httpx2 has no way to pass one on; so it is put where the
    connection pools look for it. A transport without such a pool (a user's own, a mock) is left as it is: then deadlines are
    looked at between reads only, and the time-outs of the request bound each read.
    """
    transports = [getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values()]
    for transport in transports:
        pool: Any = getattr(transport, "_pool", None)
        backend = getattr(pool, "_network_backend", None)
        if isinstance(backend, httpcore2.NetworkBackend) and not isinstance(backend, SyncBackend):
            pool._network_backend = SyncBackend(backend)  # noqa: SLF001
        elif isinstance(backend, httpcore2.AsyncNetworkBackend) and not isinstance(backend, AsyncBackend):
            pool._network_backend = AsyncBackend(backend)  # noqa: SLF001
