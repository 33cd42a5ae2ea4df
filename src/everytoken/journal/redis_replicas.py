"""`--durability replicated`: what a master has acknowledged is shown only when its replicas have it, too (`WAIT`)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from everytoken.errors import ConfigurationError, JournalUnavailableError
from everytoken.journal.redis_connection import ReplyError, pack

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Pipeline", "Replicas"]

logger = logging.getLogger("everytoken.journal")

_MOST = 100
_WAIT = 1000  # milliseconds for replicas to have what was written, before the server says that they have not


class Pipeline(Protocol):
    """What commands can be sent on."""

    async def pipeline(self, *commands: bytes) -> Sequence[Any]:
        """Send packed commands and return their replies."""


class Replicas:
    """How many replicas must have what is shown; none, where nobody has asked for it."""

    def __init__(self, count: int, key: bytes) -> None:
        """`key`: one that may be written."""
        self.count = count
        self.command = pack("WAIT", count, _WAIT)
        self._write = pack("SET", key, "1", "PX", 10 * _WAIT)

    @classmethod
    def named_in(cls, url: str, durability: str, key: bytes) -> Replicas:
        """Return what `?replicas=` says with `replicated`, 1 by default. Raises `ConfigurationError`."""
        if durability != "replicated":
            return cls(0, key)
        text = dict(parse_qsl(urlsplit(url).query)).get("replicas", "1")
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST):
            raise ConfigurationError(
                f"not a valid journal URL: replicas is a number from 1 to {_MOST}, not {text[:20]!r}"
            )
        return cls(int(text), key)

    def are_enough(self, reply: object) -> bool:
        """Whether a reply to `command` says so."""
        return isinstance(reply, int) and reply >= self.count

    async def wait(self, connection: Pipeline) -> None:
        """Return when enough have all that the server of a connection has. Raises `JournalUnavailableError`."""
        told = False
        while self.count:
            # WAIT is for what was written on the same connection: without that it returns at once.
            *_, reply = await connection.pipeline(self._write, self.command)
            if isinstance(reply, ReplyError):
                raise JournalUnavailableError(f"Redis: {reply}")
            if self.are_enough(reply):
                return
            if not told:
                told = True
                logger.warning(
                    "%d of %d replicas have what was stored: readers wait for the others", reply, self.count
                )

    async def wait_within(self, connection: Pipeline | None, seconds: float) -> None:
        """Do as `wait`; raise `JournalUnavailableError` also if it takes longer.

        `connection`: the one on which something was written; another one may be to a server that does not have it.
        """
        if not self.count:
            return
        if connection is None:
            raise JournalUnavailableError("the connection to Redis was lost")
        try:
            async with asyncio.timeout(seconds):
                await self.wait(connection)
        except TimeoutError as error:
            raise JournalUnavailableError("too few replicas of Redis have what was stored") from error
