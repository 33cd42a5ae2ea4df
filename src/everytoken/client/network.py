"""Deadlines on the network: a read waits until a deadline that can move, not for a time-out that starts again.

HTTP clients have a time-out for each read. A server that sends a comment every second never runs into it. So our
deadlines apply one level below: the streams that httpcore2 reads from wait for the time left until the deadline of the
current `Watch`. Without a watch nothing changes.
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
    """Make all transports of `client` keep to the current watch.

    httpcore2 takes a network backend as an argument, but httpx2 has no way to pass one on, so it is replaced inside the
    connection pools. A transport without such a pool (a user's own, a mock) is left as it is: then deadlines are checked
    only between reads, and the request's time-outs limit each read.
    """
    transports = [getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values()]
    for transport in transports:
        pool: Any = getattr(transport, "_pool", None)
        backend = getattr(pool, "_network_backend", None)
        if isinstance(backend, httpcore2.NetworkBackend) and not isinstance(backend, SyncBackend):
            pool._network_backend = SyncBackend(backend)  # noqa: SLF001
        elif isinstance(backend, httpcore2.AsyncNetworkBackend) and not isinstance(backend, AsyncBackend):
            pool._network_backend = AsyncBackend(backend)  # noqa: SLF001
