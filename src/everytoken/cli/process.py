"""System settings of the server's process: open files, memory, event loop, listening socket."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import socket
import sys
from typing import TYPE_CHECKING

import msgspec

from everytoken.errors import ConfigurationError

if TYPE_CHECKING:
    import asyncio

    from everytoken.gateway import Config

__all__ = ["allow_many_connections", "give_memory_back", "listen", "loop_factory", "within_descriptors"]

logger = logging.getLogger("everytoken.serve")

_BACKLOG = 2048  # connections that the kernel queues while we are busy
_UNSENT = 64 * 1024  # bytes that the kernel buffers beyond what has been sent
_FEW = 1000  # connections: a lower limit deserves a warning
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # as malloc.h has them
_LARGE = 1024 * 1024  # bytes; returning smaller blocks is not worth a system call
_RESERVED = 64  # descriptors for everything but connections


def allow_many_connections() -> None:
    """Raise the limit of open files as far as we may: many systems begin with 1024."""
    try:
        import resource  # noqa: PLC0415  # there is none for Windows
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS refuses what is above a limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def give_memory_back() -> None:
    """Make glibc return large blocks to the system as soon as they are free.

    By default it keeps blocks of up to 32 MiB in its heap once one of that size has been freed, and a heap with anything
    at its end does not shrink. The memory of a few large bodies would never be returned.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, 8 * _LARGE)  # with less, every read would return its buffer


def within_descriptors(config: Config) -> Config:
    """Limit connections to the available descriptors: a response needs one here and one upstream."""
    try:
        import resource  # noqa: PLC0415  # there is none for Windows
    except ImportError:
        return config
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = max(1, (soft - _RESERVED) // 2)
    if soft == resource.RLIM_INFINITY or room >= config.max_connections:
        return config
    level = logging.WARNING if room < _FEW else logging.DEBUG
    logger.log(level, "max_connections is %d: the system allows %d open files", room, soft)
    return msgspec.structs.replace(config, max_connections=room)


def loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop, or None for asyncio's own where there is no uvloop."""
    try:
        import uvloop  # noqa: PLC0415  # there is none for Windows
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises `ConfigurationError` if the address is not available."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            # Connections inherit it. Without it the kernel buffers megabytes for each stalled reader, and thousands of
            # those use up its memory for sockets.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        hint = "; --port 0 takes a free one" if port else ""
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror or error}{hint}"
        ) from error
    listening.set_inheritable(False)
    return listening
