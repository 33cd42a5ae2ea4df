"""Asynchronous network streams that keep to the current deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpcore2

from everytoken.client.watch import WATCH

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

__all__ = ["AsyncBackend"]


class _AsyncStream(httpcore2.AsyncNetworkStream):
    """A stream that keeps to the current watch."""

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


class AsyncBackend(httpcore2.AsyncNetworkBackend):
    """Makes streams that keep to the current watch."""

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
        """Connect before the deadline; raises httpcore2's errors."""
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
        """Connect within `timeout` seconds: there is no network to wait for."""
        return _AsyncStream(await self._backend.connect_unix_socket(path, timeout, socket_options))

    async def sleep(self, seconds: float) -> None:
        """Pause for `seconds`: httpcore2's own pauses between tries have nothing to do with the deadline."""
        await self._backend.sleep(seconds)
