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

    def __init__(self, count: int) -> None:
        self.count = count
        self.command = pack("WAIT", count, _WAIT)

    @classmethod
    def named_in(cls, url: str, durability: str) -> Replicas:
        """Return what `?replicas=` says with `replicated`, 1 by default. Raises `ConfigurationError`."""
        if durability != "replicated":
            return cls(0)
        text = dict(parse_qsl(urlsplit(url).query)).get("replicas", "1")
        if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST):
            raise ConfigurationError(
                f"not a valid journal URL: replicas is a number from 1 to {_MOST}, not {text[:20]!r}"
            )
        return cls(int(text))

    def are_enough(self, reply: object) -> bool:
        """Whether a reply to `command` says so."""
        return isinstance(reply, int) and reply >= self.count

    async def wait(self, connection: Pipeline) -> None:
        """Return when enough have all that was written on a connection. Raises `JournalUnavailableError`."""
        told = False
        while self.count:
            (reply,) = await connection.pipeline(self.command)
            if isinstance(reply, ReplyError):
                raise JournalUnavailableError(f"Redis: {reply}")
            if self.are_enough(reply):
                return
            if not told:
                told = True
                logger.warning(
                    "%d of %d replicas have what was stored: readers wait for the others", reply, self.count
                )

    async def wait_within(self, connection: Pipeline, seconds: float) -> None:
        """Do as `wait`; raise `JournalUnavailableError` also if it takes longer."""
        try:
            async with asyncio.timeout(seconds):
                await self.wait(connection)
        except TimeoutError as error:
            raise JournalUnavailableError("too few replicas of Redis have what was stored") from error
