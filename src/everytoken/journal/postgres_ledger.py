"""The counters of `everytoken.journal.ledger` in PostgreSQL: all nodes share them, and each reservation is one transaction.

The rules are those of `Counters`: a transaction locks the counters that it needs, reads them, and stores what is new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.journal.ledger import WINDOW, Counters, Demand, Refusal, Reservation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.journal.postgres_link import PostgresLink

__all__ = ["PostgresLedger"]

# Those that need the same counters take turns, and always begin with the same one. `$2` is for this transaction alone.
_LOCK: Final = """
SELECT set_config('synchronous_commit', $2, true), pg_advisory_xact_lock(hashtextextended(counter, 0))
FROM (SELECT DISTINCT unnest($1::text[]) AS counter ORDER BY 1) AS counters
"""

_READ: Final = """
SELECT 'total' AS kind, counter, '' AS name, amount, 0 AS second, 0::float8 AS until
FROM everytoken.totals WHERE counter = ANY($1::text[])
UNION ALL SELECT 'window', counter, '', amount, second, 0
FROM everytoken.windows WHERE counter = ANY($1::text[]) AND second > $2::float8
UNION ALL SELECT 'running', counter, name, 0, 0, until
FROM everytoken.running WHERE counter = ANY($1::text[]) AND until > $3
UNION ALL SELECT 'open', '', name, 0, 0, 0 FROM everytoken.reservations WHERE name = $4
"""

# The counters with their kinds, and what is added to each; of which second, whose, and until when.
_ADD: Final = """
WITH v AS (SELECT * FROM unnest($1::text[], $2::text[], $3::int8[]) AS v (kind, counter, amount)), totals AS (
  INSERT INTO everytoken.totals AS t SELECT counter, sum(amount), now() FROM v WHERE kind = 'total' GROUP BY counter
  ON CONFLICT (counter) DO UPDATE SET amount = t.amount + excluded.amount, used = excluded.used
), windows AS (
  INSERT INTO everytoken.windows AS w SELECT counter, $4, sum(amount) FROM v WHERE kind = 'window' GROUP BY counter
  ON CONFLICT (counter, second) DO UPDATE SET amount = w.amount + excluded.amount
), ended AS (
  DELETE FROM everytoken.running r USING v WHERE kind = 'ended' AND r.counter = v.counter AND r.name = $5
)
INSERT INTO everytoken.running SELECT DISTINCT counter, $5, $6::float8 FROM v WHERE kind = 'running'
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Demand]).decode


class PostgresLedger:
    """Counters in PostgreSQL. See `everytoken.journal.ledger.Ledger`."""

    def __init__(self, link: PostgresLink, *, durable: bool) -> None:
        """`durable`: a crash of the server must lose nothing."""
        self._link = link
        self._commit = "on" if durable else "off"

    async def reserve(
        self, name: str, now: float, until: float, demands: Sequence[Demand]
    ) -> Refusal | list[int]:
        """Reserve in one step. Raises `JournalUnavailableError`."""
        names = [demand.counter for demand in demands]
        async with self._link.transaction() as connection:
            await connection.execute(_LOCK, names, self._commit)
            rows = await connection.fetch(_READ, names, now - WINDOW, now, name)
            counters = _counters(rows)
            there = any(row["kind"] == "open" for row in rows)
            answer = counters.reserve(name, now, until, demands, there=there)
            if not (isinstance(answer, Refusal) or there):
                await connection.execute(
                    "INSERT INTO everytoken.reservations VALUES ($1, $2, $3, $4)",
                    *(name, int(now), until, _encode(list(demands))),
                )
                kinds, amounts = [demand.kind for demand in demands], [demand.amount for demand in demands]
                await connection.execute(_ADD, kinds, names, amounts, int(now), name, until)
            return answer

    async def settle(self, name: str, now: float, amounts: Sequence[int]) -> bool:
        """Settle in one step. Raises `JournalUnavailableError`."""
        async with self._link.transaction() as connection:
            row = await connection.fetchrow(
                "DELETE FROM everytoken.reservations WHERE name = $1 RETURNING at, demands", name
            )
            if row is None:
                return False
            demands = _decode(row["demands"])
            names = [demand.counter for demand in demands]
            await connection.execute(_LOCK, names, self._commit)
            in_window = row["at"] > now - WINDOW
            kinds = [_settled_as(demand, in_window=in_window) for demand in demands]
            more = [amount - demand.amount for demand, amount in zip(demands, amounts, strict=True)]
            await connection.execute(_ADD, kinds, names, more, row["at"], name, 0.0)
        return True

    async def reservation(self, name: str) -> Reservation | None:
        """Return an open reservation, None if it is none. Raises `JournalUnavailableError`."""
        rows = await self._link.fetch("SELECT * FROM everytoken.reservations WHERE name = $1", name)
        return _reservation(rows[0]) if rows else None

    async def open_before(self, at: float) -> list[tuple[str, Reservation]]:
        """Return what has not been settled. Raises `JournalUnavailableError`."""
        rows = await self._link.fetch(
            "SELECT * FROM everytoken.reservations WHERE at < $1 ORDER BY at LIMIT 1000", at
        )
        return [(row["name"], _reservation(row)) for row in rows]

    async def totals(self, counters: Sequence[str]) -> list[int]:
        """Return what counters hold. Raises `JournalUnavailableError`."""
        rows = await self._link.fetch(
            "SELECT counter, amount FROM everytoken.totals WHERE counter = ANY($1::text[])", list(counters)
        )
        found = {row["counter"]: row["amount"] for row in rows}
        return [found.get(name, 0) for name in counters]


def _reservation(row: Any) -> Reservation:
    return Reservation(row["at"], row["until"], _decode(row["demands"]))


def _settled_as(demand: Demand, *, in_window: bool) -> str:
    if demand.kind == "running":
        return "ended"
    return demand.kind if demand.kind == "total" or in_window else "over"


def _counters(rows: Sequence[Any]) -> Counters:
    """Return counters as they are stored."""
    counters = Counters()
    for row in rows:
        counters.have(row["kind"], row["counter"], row["amount"], row["second"], row["name"], row["until"])
    return counters
