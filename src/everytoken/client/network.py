"""Deadlines on the network: a read waits until a point in time that moves, not for a span that begins anew.

HTTP clients know a time-out for each read. A server that sends a comment every second never runs into it, so what our
clocks need is set deeper: the streams that httpcore2 reads from take the time that is left until the deadline of the
`Watch` in force; without one nothing changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpcore2

from everytoken.client.watch import WATCH

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    import httpx2

__all__ = ["watch_network"]


class _Stream(httpcore2.NetworkStream):
    """A stream that keeps to the watch in force."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        watch = WATCH.get()
        return self._stream.read(max_bytes, timeout if watch is None else watch.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        watch = WATCH.get()
        self._stream.write(buffer, timeout if watch is None else watch.on_write())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        watch = WATCH.get()
        timeout = timeout if watch is None else watch.left()
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore2.NetworkBackend):
    """Makes streams that keep to the watch in force."""

    def __init__(self, backend: httpcore2.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        watch = WATCH.get()
        timeout = timeout if watch is None else watch.left()
        return _Stream(self._backend.connect_tcp(host, port, timeout, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.NetworkStream:
        return _Stream(self._backend.connect_unix_socket(path, timeout, socket_options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


class _AsyncStream(httpcore2.AsyncNetworkStream):
    """The same for asynchronous streams."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        watch = WATCH.get()
        return await self._stream.read(max_bytes, timeout if watch is None else watch.left())

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        watch = WATCH.get()
        await self._stream.write(buffer, timeout if watch is None else watch.on_write())

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        watch = WATCH.get()
        timeout = timeout if watch is None else watch.left()
        return _AsyncStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _AsyncBackend(httpcore2.AsyncNetworkBackend):
    """The same for asynchronous streams."""

    def __init__(self, backend: httpcore2.AsyncNetworkBackend) -> None:
        self._backend = backend

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        watch = WATCH.get()
        timeout = timeout if watch is None else watch.left()
        return _AsyncStream(
            await self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        )

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        return _AsyncStream(await self._backend.connect_unix_socket(path, timeout, socket_options))

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


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
        if isinstance(backend, httpcore2.NetworkBackend) and not isinstance(backend, _Backend):
            pool._network_backend = _Backend(backend)  # noqa: SLF001
        elif isinstance(backend, httpcore2.AsyncNetworkBackend) and not isinstance(backend, _AsyncBackend):
            pool._network_backend = _AsyncBackend(backend)  # noqa: SLF001
