"""A worker's side: where it listens, what it tells the process that has started it, and what it asks the others."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from everytoken.cli.workers.peer import Peer, PeerGoneError
from everytoken.errors import JournalError
from everytoken.gateway.answering import answer_to
from everytoken.journal import SharedJournal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from everytoken.gateway import Gateway

__all__ = ["Place", "Worker"]

logger = logging.getLogger("everytoken.serve")

_PATIENCE = 3.0  # seconds for all the others to answer


class Place(NamedTuple):
    """What a worker is told when it is started: which one it is, and the descriptors it has inherited."""

    number: int
    listening: int
    line: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it. Raises `ValueError`."""
        number, listening, line = map(int, text.split(":"))
        return cls(number, listening, line)

    def __str__(self) -> str:
        return f"{self.number}:{self.listening}:{self.line}"


class Worker:
    """One of several processes that serve together; to its gateway, the way to its siblings."""

    def __init__(self, place: Place) -> None:
        self.number = place.number
        self.listening = socket.socket(fileno=place.listening)
        self._line = socket.socket(fileno=place.line)
        for one in (self.listening, self._line):
            one.set_inheritable(False)
            one.setblocking(False)
        self._peer: Peer | None = None
        self._gateway: Gateway | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def connected(self, gateway: Gateway, alone: Callable[[], None]) -> AsyncIterator[None]:
        """Answer the others as long as this lasts. `alone` is called when the process that has started this one is gone."""
        self._gateway = gateway
        self._peer = await Peer.over(self._line, self._handle)
        serving = asyncio.create_task(self._serve(self._peer, alone))
        gateway.siblings = self
        try:
            yield
        finally:
            gateway.siblings = None
            serving.cancel()
            self._peer.close()

    async def _serve(self, peer: Peer, alone: Callable[[], None]) -> None:
        await peer.serve()
        logger.error("the process that has started this worker is gone: it stops")
        alone()

    def ready(self) -> None:
        """Tell that it serves."""
        assert self._peer is not None
        assert self._gateway is not None
        journal = self._gateway.journal
        self._peer.tell("ready", journal.node if isinstance(journal, SharedJournal) else "")

    async def ask(self, question: str, about: Any = None) -> dict[int, Any]:
        """Return what the other workers answer, by their number."""
        if self._peer is None:
            return {}
        try:
            async with asyncio.timeout(_PATIENCE):
                answers = await self._peer.ask("others", [question, about])
        except (TimeoutError, PeerGoneError):
            return {}
        return {int(number): answer for number, answer in answers}

    async def _handle(self, kind: str, value: Any) -> Any:
        assert self._gateway is not None
        if kind == "lost":
            await self._take_over_from(self._gateway, value)
            return None
        return await answer_to(self._gateway, kind, value)

    async def _take_over_from(self, gateway: Gateway, node: str) -> None:
        assert isinstance(gateway.journal, SharedJournal)
        try:
            await gateway.journal.bury(node)
            await gateway.relays.take_over()
        except JournalError as error:
            # The watch, which looks again and again, finds them.
            logger.warning("looking for responses to take over: %s (%s)", error.message, error.code)
