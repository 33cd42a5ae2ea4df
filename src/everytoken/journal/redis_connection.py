"""One connection to a Redis server: commands go out as they come, replies come back in their order.

Packing by hand and hiredis's parser: the hot path sends one command for each stream that moved, and a client library
made for comfort costs several times what Redis itself does.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import hiredis
import msgspec

from everytoken.errors import ConfigurationError, JournalUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Done = Callable[[list[Any] | None], None]

__all__ = ["Address", "RedisConnection", "ReplyError", "pack"]

ReplyError = hiredis.ReplyError

_CONNECT = 3.0  # seconds to get a connection
_STALL = 1.0  # seconds that the loop was late, after which it may have been the loop, and not the server
# Replies of a server that is not, or not now, the master of what was asked of it.
_ELSEWHERE = ("MOVED", "READONLY", "CLUSTERDOWN", "MASTERDOWN", "LOADING")


class Address(msgspec.Struct, frozen=True):
    """Where a Redis server is, and how to get in."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str | None = None  # of a Unix socket
    tls: bool = False
    user: str | None = None
    password: str | None = None
    database: int = 0
    ca: str | None = None  # file of the certificates to trust instead of the system's
    certificate: str | None = None  # file of our own, for a server that wants one
    key: str | None = None  # file of its key

    @property
    def moves(self) -> bool:
        """Whether the server can be another one next time: see `everytoken.journal.redis_places`."""
        return False

    async def find(self) -> Address:
        """Return where the server is."""
        return self

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `rediss://…` (TLS) or `unix://…/PATH?db=DB`.

        With TLS there may be `?ssl_ca_certs=FILE&ssl_certfile=FILE&ssl_keyfile=FILE`, named as redis-py has them. Raises `ConfigurationError`, without the password in it.
        """
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        try:
            user = unquote(parts.username) if parts.username else None
            password = unquote(parts.password) if parts.password else None
            if parts.scheme == "unix":
                database = int(query.get("db", "0"))
                return cls(path=unquote(parts.path), user=user, password=password, database=database)
            return cls(
                host=parts.hostname or "127.0.0.1",
                port=parts.port or 6379,
                tls=parts.scheme == "rediss",
                user=user,
                password=password,
                database=int(parts.path.strip("/") or 0),
                ca=query.get("ssl_ca_certs"),
                certificate=query.get("ssl_certfile"),
                key=query.get("ssl_keyfile"),
            )
        except ValueError as error:
            raise ConfigurationError("not a valid journal URL: write redis://HOST:PORT/DB") from error

    def __str__(self) -> str:
        return self.path or f"{self.host}:{self.port}"


_Made = TypeVar("_Made")


async def _in_time(loop: asyncio.AbstractEventLoop, connect: Callable[[], Awaitable[_Made]]) -> _Made:
    """Return the connection, or raise `TimeoutError`.

    If the loop stood still meanwhile, the time-out says nothing of the server, so it is tried once more.
    """
    began = loop.time()
    try:
        async with asyncio.timeout(_CONNECT):
            return await connect()
    except TimeoutError:
        if loop.time() - began < _CONNECT + _STALL:
            raise
    async with asyncio.timeout(_CONNECT):
        return await connect()


@cache
def _context(address: Address) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=address.ca)
        if address.certificate is not None:
            context.load_cert_chain(address.certificate, address.key)
    except OSError as error:  # a file that is not there, or holds something else
        raise ConfigurationError(
            f"the certificates for Redis at {address} cannot be used: {error}"
        ) from error
    return context


def pack(*command: bytes | str | int) -> bytes:
    """Return a command as it goes over the wire."""
    return cast("bytes", hiredis.pack_command(cast("Any", command)))


class RedisConnection(asyncio.Protocol):
    """A connection that is open, until `lost` is set. Use `connect` to get one."""

    def __init__(self, patience: float, *, moves: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._patience = patience
        self._moves = moves
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made
        # Of what was sent: how many replies are due, those that have come, whom to tell, and when it was sent.
        self._due: deque[tuple[int, list[Any], Done, float]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self.lost = asyncio.Event()

    @classmethod
    async def connect(cls, address: Address, patience: float, *, moves: bool = False) -> RedisConnection:
        """Return a connection. `patience`: seconds a reply may take, 0 for no limit.

        With `moves` it is to a master, and is closed as soon as the server says that it is the right one no more.
        Raises `JournalUnavailableError`; `ConfigurationError` if the server does not let us in.
        """
        loop = asyncio.get_running_loop()
        try:
            if address.path is not None:
                _, connection = await _in_time(
                    loop,
                    lambda: loop.create_unix_connection(lambda: cls(patience, moves=moves), address.path),
                )
            else:
                context = _context(address) if address.tls else None
                _, connection = await _in_time(
                    loop,
                    lambda: loop.create_connection(
                        lambda: cls(patience, moves=moves), address.host, address.port, ssl=context
                    ),
                )
        except ssl.SSLCertVerificationError as error:
            raise ConfigurationError(
                f"Redis at {address} cannot be trusted: {error.verify_message}; see ssl_ca_certs"
            ) from error
        except (OSError, TimeoutError) as error:
            reason = getattr(error, "strerror", None) or str(error) or "no answer"
            raise JournalUnavailableError(f"Redis at {address} cannot be reached: {reason}") from error
        try:
            if address.password is not None:
                await connection.call("AUTH", *filter(None, (address.user, address.password)))
            if address.database:
                await connection.call("SELECT", address.database)
            await connection.call("PING")
            role = await connection.call("ROLE") if moves else [b"master"]
        except JournalUnavailableError as error:
            hint = "" if address.tls or address.path else "; if it wants TLS, write rediss://"
            raise JournalUnavailableError(
                f"Redis at {address} closed the connection at once{hint}"
            ) from error
        except ReplyError as error:
            connection.close()
            if str(error).startswith(("LOADING", "MASTERDOWN", "BUSY")):
                raise JournalUnavailableError(f"Redis at {address}: {error}") from error
            raise ConfigurationError(f"Redis at {address} refuses access: {error}") from error
        if role[0] != b"master":
            connection.close()
            raise JournalUnavailableError(f"Redis at {address} is not the master")
        return connection

    # Sending

    def send(self, data: bytes, replies: int, done: Done) -> None:
        """Send packed commands; `done` gets all their replies at once, or None if the connection is lost before."""
        if self.lost.is_set():
            self._loop.call_soon(done, None)
            return
        self._due.append((replies, [], done, self._loop.time()))
        self._transport.write(data)
        if self._watch is None and self._patience:
            self._watch = self._loop.call_later(self._patience, self._look)

    async def pipeline(self, *commands: bytes) -> list[Any]:
        """Send packed commands and return their replies, errors among them. Raises `JournalUnavailableError`."""
        future: asyncio.Future[list[Any] | None] = self._loop.create_future()

        def done(replies: list[Any] | None) -> None:
            if not future.done():
                future.set_result(replies)

        self.send(b"".join(commands), len(commands), done)
        replies = await future
        if replies is None:
            raise JournalUnavailableError("the connection to Redis was lost")
        return replies

    async def call(self, *command: bytes | str | int) -> Any:
        """Send a command and return its reply. Raises `ReplyError`, `JournalUnavailableError`."""
        (reply,) = await self.pipeline(pack(*command))
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def close(self) -> None:
        """Let go of it at once."""
        self._transport.abort()

    def _look(self) -> None:
        """See whether a reply is overdue: a server that hangs, or a network that swallows, tells nobody."""
        self._watch = None
        if not self._due:
            return
        left = self._due[0][3] + self._patience - self._loop.time()
        if left <= 0:
            self.close()
        else:
            self._watch = self._loop.call_later(left, self._look)

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Give replies to those who wait for them."""
        reader, due = self._reader, self._due
        try:
            reader.feed(data)
            while due:
                count, replies, done, _ = due[0]
                while len(replies) < count:
                    reply = reader.gets()
                    if reply is False:
                        return
                    replies.append(reply)
                    if self._moves and reply.__class__ is ReplyError and str(reply).startswith(_ELSEWHERE):
                        self.close()
                due.popleft()
                done(replies)
        except hiredis.ProtocolError:
            self.close()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # its reason is nobody's business
        """Tell all who wait."""
        if self._watch is not None:
            self._watch.cancel()
        self.lost.set()
        due, self._due = self._due, deque()
        for _, _, done, _ in due:
            done(None)
