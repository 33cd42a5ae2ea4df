"""TLS: what the configuration says of it, and a server that speaks it and counts a connection from its first packet on.

asyncio's own tells nobody of a connection before its handshake is over, and waits 60 seconds for that.
"""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from typing import TYPE_CHECKING, Any

from everytoken.errors import ConfigurationError

if TYPE_CHECKING:
    import socket

    import uvicorn

    from everytoken.gateway.config import Config
    from everytoken.gateway.listener import GuardedProtocol

__all__ = ["TlsServer", "tls_context"]

_SHORT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_PAUSE = 1.0  # seconds without accepting where there are no descriptors left; asyncio's server does the same


class TlsServer:
    """Accepts the connections of a socket for a uvicorn server that has started; it goes among its `servers`."""

    def __init__(self, server: uvicorn.Server, listening: socket.socket, context: ssl.SSLContext) -> None:
        self._server = server
        self._listening = listening
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        listening.setblocking(False)
        listening.listen(server.config.backlog)
        self._do(self._accept())

    def _do(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        while True:
            try:
                accepted, address = await self._loop.sock_accept(self._listening)
            except OSError as error:
                await asyncio.sleep(_PAUSE if error.errno in _SHORT_OF else 0)
                continue
            protocol = self._protocol()
            if protocol.reserve(address[0]):
                self._do(self._open(protocol, accepted))
            else:
                accepted.close()  # an answer would cost a handshake, which is what there is too much of
            await asyncio.sleep(0)  # a client with many connections must not hold up the others

    def _protocol(self) -> GuardedProtocol:
        server = self._server
        make: Any = server.config.http_protocol_class
        protocol: GuardedProtocol = make(
            config=server.config, server_state=server.server_state, app_state=server.lifespan.state
        )
        return protocol

    async def _open(self, protocol: GuardedProtocol, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol,
                accepted,
                ssl=self._context,
                ssl_handshake_timeout=protocol.limits.head_timeout,
            )
        except OSError:  # which those of TLS are, and the one of being late
            protocol.release()
        except BaseException:
            protocol.release()
            raise

    def close(self) -> None:
        """Accept no more, and let go of the handshakes."""
        self._listening.close()
        for task in self._tasks:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until that is done."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)


def tls_context(config: Config) -> ssl.SSLContext | None:
    """Return what TLS is spoken with, or None. Raises `ConfigurationError`."""
    if not (config.tls_cert or config.tls_key):
        return None
    if not (config.tls_cert and config.tls_key):
        raise ConfigurationError("TLS needs both: tls_cert (--tls-cert) and tls_key (--tls-key)")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])

    def no_password() -> str:
        raise ConfigurationError(f"the key in {config.tls_key} has a password; use one without")

    try:
        context.load_cert_chain(config.tls_cert, config.tls_key, no_password)
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise ConfigurationError(
            f"{config.tls_cert} and {config.tls_key} cannot be used: {reason}"
        ) from error
    except OSError as error:
        file = config.tls_cert if not os.access(config.tls_cert, os.R_OK) else config.tls_key
        raise ConfigurationError(f"cannot read {file}: {error.strerror or error}") from error
    return context
