"""A connection to Redis that comes back by itself."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from everytoken.errors import ConfigurationError, JournalUnavailableError
from everytoken.journal.redis_connection import RedisConnection, ReplyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from everytoken.journal.redis_places import Place

__all__ = ["RedisLink"]

logger = logging.getLogger("everytoken.journal")

_RETRY = (0.02, 1.0)  # seconds between tries to connect: first and longest


class RedisLink:
    """Keeps a connection; `connection` is None while there is none, or while `greet` is still at it."""

    def __init__(
        self, place: Place, greet: Callable[[RedisConnection], Awaitable[None]], patience: float
    ) -> None:
        """`greet` is called with every new connection, before anybody else gets it."""
        self._place = place
        self._greet = greet
        self._patience = patience
        self._task: asyncio.Task[None] | None = None
        self.connection: RedisConnection | None = None

    async def start(self) -> None:
        """Connect. Raises `JournalUnavailableError`, `ConfigurationError`."""
        connection = await self._connect()
        self._task = asyncio.create_task(self._stay(connection))

    async def stop(self) -> None:
        """Let go of it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.connection is not None:
            self.connection.close()
            await self.connection.lost.wait()
            self.connection = None

    async def pipeline(self, *commands: bytes) -> list[Any]:
        """Send packed commands and return their replies. Raises `JournalUnavailableError`."""
        if self.connection is None:
            raise JournalUnavailableError(f"Redis at {self._place} cannot be reached")
        return await self.connection.pipeline(*commands)

    async def ask(self, *commands: bytes) -> list[Any]:
        """Do as `pipeline`; a command that Redis refuses raises `JournalUnavailableError` too."""
        replies = await self.pipeline(*commands)
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise JournalUnavailableError(f"Redis: {reply}")
        return replies

    async def _connect(self) -> RedisConnection:
        address = await self._place.find()
        connection = await RedisConnection.connect(address, self._patience, moves=self._place.moves)
        try:
            await self._greet(connection)
        except BaseException:
            connection.close()
            raise
        self.connection = connection
        return connection

    async def _stay(self, connection: RedisConnection) -> None:
        while True:
            await connection.lost.wait()
            self.connection = None
            logger.warning("the connection to Redis at %s is lost", self._place)
            connection = await self._come_back()
            logger.warning("connected to Redis at %s again", self._place)

    async def _come_back(self) -> RedisConnection:
        pause = 0.0
        while True:
            await asyncio.sleep(pause)
            pause = min(max(pause * 2, _RETRY[0]), _RETRY[1])
            try:
                return await self._connect()
            except (JournalUnavailableError, ConfigurationError) as error:
                logger.debug("%s", error.message)
            except Exception:  # one failure must not end it for good
                logger.exception("connecting to Redis at %s failed", self._place)
