"""One node at a PostgreSQL: its signs of life, what it tidies up, and which streams others have left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import EverytokenError, JournalUnavailableError, NotStorableError
from everytoken.journal.ids import missing
from everytoken.journal.ledger import WINDOW
from everytoken.journal.postgres_ledger import PostgresLedger
from everytoken.journal.postgres_link import PostgresLink

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from everytoken.errors import StreamNotFoundError

__all__ = ["PostgresNode"]

logger = logging.getLogger("everytoken.journal")

_AT_ONCE: Final = 500  # streams that are removed in one transaction
_SWEEP: Final = 15.0  # seconds between two looks for what is too old
_FORGOTTEN: Final = (
    3600  # seconds after which a node that gave no sign of life and has no stream is forgotten
)


class PostgresNode:
    """What a node does by itself; `PostgresJournal` is what it offers."""

    def __init__(self, url: str, *, retention: float, lease: float, durable: bool) -> None:
        """`durable`: a crash of the server must lose nothing of what is appended."""
        self._durable = durable
        self.node = secrets.token_hex(8)
        self._link = PostgresLink(url)
        self._retention = retention
        self._lease = lease
        self._buried: set[str] = set()  # nodes that are known to be gone
        self._left_by: dict[str, str] = {}  # by whom each orphan was left, as seen last
        self._unsure: set[str] = set()  # streams that we may have taken over: the reply was lost
        self._quiet_until = 0.0
        self._failing = False  # whether a sign of life could not be given
        self._doubtful: set[str] = set()  # streams that may have been made, without our knowing
        self._chores: list[asyncio.Task[None]] = []

    async def _begin_chores(self) -> None:
        await self._beat()
        self._chores = [
            asyncio.create_task(self._every(self._lease / 3, self._live_on)),
            asyncio.create_task(self._every(_SWEEP, self.sweep_old)),
        ]

    async def _end_chores(self) -> None:
        for task in self._chores:
            task.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        with contextlib.suppress(EverytokenError):
            await self._link.fetch("DELETE FROM everytoken.nodes WHERE node = $1", self.node)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except (JournalUnavailableError, NotStorableError):
                pass
            except Exception:  # one failure must not end it for good
                logger.exception("the journal could not do what it does by itself")

    async def _live_on(self) -> None:
        try:
            await self._beat()
        except JournalUnavailableError:
            self._failing = True
            raise
        if self._failing:  # nor could anybody else give a sign of life, who must not be taken for dead
            self._failing = False
            self._quiet_until = asyncio.get_running_loop().time() + self._lease

    async def _beat(self) -> None:
        await self._link.fetch(
            "INSERT INTO everytoken.nodes VALUES ($1, now() + make_interval(secs => $2)) "
            "ON CONFLICT (node) DO UPDATE SET until = excluded.until",
            self.node,
            self._lease,
        )
        for stream_id in list(self._doubtful):
            await self._remove_doubtful(stream_id)

    async def settings(self) -> dict[str, str]:
        """Return what the server is set to. Raises `JournalUnavailableError`."""
        names = (
            "fsync",
            "full_page_writes",
            "synchronous_commit",
            "synchronous_standby_names",
            "server_version",
        )
        rows = await self._link.fetch(
            "SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[])", list(names)
        )
        return {row["name"]: row["setting"] for row in rows}

    def _say_how_durable(self, settings: dict[str, str]) -> None:
        logger.info("journal in PostgreSQL %s at %s", settings["server_version"], self._link.place)
        if settings["fsync"] == "off":
            logger.warning(
                "PostgreSQL at %s has fsync = off: a crash of its machine can take all responses",
                self._link.place,
            )

    async def _remove_doubtful(self, stream_id: str) -> None:
        """Remove what was made without an acknowledgement: its caller was told that there is nothing."""
        await self._remove(stream_id, f"node IN ('', '{self.node}')")
        self._doubtful.discard(stream_id)

    async def _remove(self, stream_id: str, condition: str) -> bool:
        """Remove a stream if that holds; return whether it did."""
        async with self._link.transaction() as connection:
            rows = await connection.fetch(
                f"DELETE FROM everytoken.streams WHERE id = $1 AND {condition} "
                "RETURNING number, pg_notify('everytoken', 'g' || number)",
                stream_id,
            )
            await _remove_records(connection, rows)
        return bool(rows)

    async def sweep_old(self) -> None:
        """Remove what is too old. Raises `JournalUnavailableError`."""
        removed = _AT_ONCE
        while removed == _AT_ONCE:
            async with self._link.transaction() as connection:
                rows = await connection.fetch(
                    "DELETE FROM everytoken.streams WHERE number IN (SELECT number FROM everytoken.streams "
                    "WHERE expires <= now() ORDER BY expires LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING number",
                    _AT_ONCE,
                )
                removed = len(rows)
                await _remove_records(connection, rows)
        await self._link.fetch(
            "DELETE FROM everytoken.nodes n WHERE until < now() - make_interval(secs => $1) "
            "AND NOT EXISTS (SELECT 1 FROM everytoken.streams s WHERE s.node = n.node AND s.node <> '')",
            float(_FORGOTTEN),
        )
        await self._link.fetch("DELETE FROM everytoken.totals WHERE used < now() - interval '400 days'")
        now = time.time()
        await self._link.fetch("DELETE FROM everytoken.windows WHERE second < $1::float8", now - 2 * WINDOW)
        await self._link.fetch("DELETE FROM everytoken.running WHERE until < $1", now - WINDOW)

    def ledger(self) -> PostgresLedger:
        """Return counters that all nodes share."""
        return PostgresLedger(self._link, durable=self._durable)

    def missing(self, stream_id: str) -> StreamNotFoundError:
        """Return what is to be said of a stream that is not there: what is older than `retention` may have been removed."""
        return missing(stream_id, removed=time.time() - self._retention)

    # Takeover

    async def bury(self, node: str) -> None:
        """Record that a node is known to be gone. Raises `JournalUnavailableError`."""
        self._buried.add(node)
        await self._link.fetch("DELETE FROM everytoken.nodes WHERE node = $1", node)


async def _remove_records(connection: Any, rows: list[Any]) -> None:
    """Remove what streams had that are removed. In a statement of its own: what was added while that one waited is seen."""
    numbers = [row[0] for row in rows]
    for table in ("entries", "producers"):
        await connection.execute(
            f"DELETE FROM everytoken.{table} WHERE stream = ANY($1::int8[])",
            numbers,
        )
