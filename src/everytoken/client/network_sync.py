# Made from network_aio.py by tools/unasync.py; edit that one, then run: make unasync
"""Blocking network streams that keep to the current deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpcore2

from everytoken.client.watch import WATCH

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

__all__ = ["SyncBackend"]


class _SyncStream(httpcore2.NetworkStream):
    """A stream that keeps to the current watch."""

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
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        watch = WATCH.get()
        timeout = timeout if watch is None else watch.left()
        return _SyncStream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class SyncBackend(httpcore2.NetworkBackend):
    """Makes streams that keep to the current watch."""

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
        """Connect before the deadline; raises httpcore2's errors."""
        watch = WATCH.get()
        timeout = timeout if watch is None else watch.left()
        return _SyncStream(self._backend.connect_tcp(host, port, timeout, local_address, socket_options))

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect within `timeout` seconds: there is no network to wait for."""
        return _SyncStream(self._backend.connect_unix_socket(path, timeout, socket_options))

    def sleep(self, seconds: float) -> None:
        """Pause for `seconds`: httpcore2's own pauses between tries have nothing to do with the deadline."""
        self._backend.sleep(seconds)
