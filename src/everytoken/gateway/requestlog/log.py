"""The request log of a gateway: entries made, written as lines of JSON, and kept."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import InvalidRequestError, one_line
from everytoken.gateway.prices import Prices
from everytoken.gateway.requestlog.content import content_of
from everytoken.gateway.requestlog.entry import Entries
from everytoken.gateway.requestlog.kept import Kept, room_in
from everytoken.relay.logs import ENDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from everytoken.errors import EverytokenError
    from everytoken.gateway.config import Config
    from everytoken.gateway.http import Request
    from everytoken.gateway.requestlog.query import Query
    from everytoken.journal import Journal
    from everytoken.observer import Observers

__all__ = ["RequestLog"]

logger = logging.getLogger("everytoken.requests")

_MAX_TEXT: Final = 500  # characters of what a caller or an upstream has chosen
_REFUSALS: Final = 10  # a second; a flood of wrong calls must not fill the journal


class RequestLog:
    """Knows what has happened. Off, it observes nothing and costs nothing."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        name_of: Callable[[str], str],
        redact: Callable[[str], str],
    ) -> None:
        self.kept: Kept | None = None
        if config.keep_log > 0 and journal.durable:
            self.kept = Kept(journal, config.keep_log, most=room_in(config.max_journal))
        self._lines = config.log_format == "json"
        self.prices = Prices(config.prices)
        self._name_of = name_of
        self._redact = redact
        self._content_from = journal if config.log_content else None
        self._reading: set[asyncio.Task[None]] = set()
        self._second = 0
        self._refused: dict[str, int] = {}

    def observe(self, observers: Observers, urls: Callable[[], Mapping[str, str]]) -> None:
        """Be told of what happens from here on, if anything is done with it."""
        if self._lines:
            logging.getLogger(ENDS).disabled = True  # an entry says more
        if self.kept is not None or self._lines:
            observers.add(Entries(self._add, self.prices, self._name_of, urls))

    async def start(self) -> None:
        """Load the list of prices."""
        if self.kept is not None or self._lines:
            await self.prices.ready()

    async def stop(self) -> None:
        """Store what waits."""
        if self._lines:
            logging.getLogger(ENDS).disabled = False
        await asyncio.gather(*self._reading, return_exceptions=True)
        if self.kept is not None:
            await self.kept.stop()

    async def find(self, query: Query) -> list[dict[str, Any]]:
        """Return the entries that a query asks for, newest first. Raises `InvalidRequestError`, `JournalError`."""
        if self.kept is None:
            raise InvalidRequestError(
                "this gateway keeps no request log: its journal is in memory, or keep_log is 0"
            )
        await asyncio.gather(*self._reading, return_exceptions=True)
        return await self.kept.find(query)

    def refused(self, request: Request, error: EverytokenError, *, known: bool) -> None:
        """Record a refusal; of a flood only so many. `known`: the caller is let in, and only this was refused.

        Of a stranger the journal keeps nothing that they have written, and one refusal a second of each kind.
        """
        if self.kept is None and not self._lines:
            return
        now = time.time()
        if int(now) != self._second:
            self._second, self._refused = int(now), {}
        kind = "" if known else error.code
        count = self._refused[kind] = self._refused.get(kind, 0) + 1
        client = request.scope.get("client")
        entry = {
            "at": round(now, 3),
            "response": None,
            "request": request.id if known else "",
            "key": "" if request.key is None else request.key.name,
            "outcome": "refused",
            "error": error.code,
            "status": error.status,
            "peer": client[0] if client else "",
        }
        told = {
            "message": self._redact(one_line(error.message))[:_MAX_TEXT],
            "method": request.method[:_MAX_TEXT],
            "path": one_line(request.path)[:_MAX_TEXT],
        }
        if count <= _REFUSALS:
            self._write({**entry, **told, "request": request.id})
        if self.kept is not None and count <= (_REFUSALS if known else 1):
            self.kept.add({**entry, **told} if known else entry)

    def _add(self, entry: dict[str, Any]) -> None:
        if self._content_from is not None and entry["response"] is not None:
            task = asyncio.ensure_future(self._add_with_content(self._content_from, entry))
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)
        else:
            self._add_whole(entry)

    async def _add_with_content(self, journal: Journal, entry: dict[str, Any]) -> None:
        try:
            content = await content_of(journal, entry["response"])
        except Exception as error:  # the entry matters more
            logger.exception("the content of a response could not be logged")
            content = {"body": None, "answer": None, "why": type(error).__name__}
        self._add_whole({**entry, "content": content})

    def _add_whole(self, entry: dict[str, Any]) -> None:
        self._write(entry)
        if self.kept is not None:
            self.kept.add(entry)

    def _write(self, entry: dict[str, Any]) -> None:
        if self._lines:
            level = logging.INFO if entry["outcome"] in ("completed", "cancelled") else logging.WARNING
            if logger.isEnabledFor(level):
                # `logger.log` would look up the calling line, which costs as much as the rest.
                told = logger.makeRecord(
                    logger.name, level, __file__, 0, entry["outcome"], (), None, extra={"entry": entry}
                )
                logger.handle(told)
