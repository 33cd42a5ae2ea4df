"""Appends by anybody entitled to, in PostgreSQL: checked and stored in the one transaction that locks the stream's row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.errors import FencedError
from everytoken.journal import Appended
from everytoken.journal.postgres_entries import decode_info, encode, kept_for, packed
from everytoken.journal.postgres_schema import MOVE, USED
from everytoken.journal.quota import OWN, Used, size_of
from everytoken.journal.rules import Marks, check_producers, is_duplicate, marks_after

if TYPE_CHECKING:
    from everytoken.journal import Append, Producer
    from everytoken.journal.quota import Quota

__all__ = ["submitted", "used"]

_MANY = 10_000


async def submitted(connection: Any, row: Any, append: Append, quota: Quota, retention: float) -> Appended:
    """Check an append to the stream in `row`, and store it. Raises what `everytoken.journal.Journal.submit` does."""
    producer = append.producer
    marks = await _marks(connection, row, producer)
    tail, closed = row["tail"], row["closed"]
    duplicate = is_duplicate(marks, append, closed=closed)
    if not duplicate and (append.records or (append.close and not closed)):
        info = decode_info(row["info"])
        if not row["shared"]:
            raise FencedError(f"stream {info.id} is written by its own writer")
        size = size_of(append.records)
        quota.check(info, row["bytes"], size, await used(connection, row["owner"], quota))
        if producer is not None:
            await _remember(connection, row["number"], producer, known=producer.id in marks.producers)
        if append.close:
            info.result, closed = append.result or {}, True
        tail += len(append.records)
        kept = kept_for(info, retention if closed else None)
        data = packed(append.records) if append.records else (0, b"")
        where = (row["number"], row["tail"], tail, closed)
        await connection.execute(
            MOVE, *where, size, marks_after(marks, append).sequence, encode(info), kept, *data
        )
    seq = None
    if producer is not None:
        seq = marks.producers[producer.id][1] if duplicate else producer.seq
    return Appended(tail, closed, duplicate=duplicate, seq=seq)


async def used(connection: Any, owner: str, quota: Quota) -> Used:
    """Return what the streams of an owner take; nothing of one who has no quota.

    Of more than `_MANY`, and than a key may have, which only chats can be, not all are looked at.
    """
    if owner == OWN:
        return Used()
    return Used(*await connection.fetchrow(USED, owner, max(quota.key_streams, _MANY) + 1))


async def _marks(connection: Any, row: Any, producer: Producer | None) -> Marks:
    """Return what a stream remembers, of the producers only this one."""
    known = None
    if producer is not None:
        known = await connection.fetchrow(
            "SELECT epoch, seq FROM everytoken.producers WHERE stream = $1 AND id = $2",
            row["number"],
            producer.id,
        )
    return Marks(row["sequence"], {} if known is None or producer is None else {producer.id: tuple(known)})


async def _remember(connection: Any, number: int, producer: Producer, *, known: bool) -> None:
    count = await connection.fetchval("SELECT count(*) FROM everytoken.producers WHERE stream = $1", number)
    check_producers(known, count)
    await connection.execute(
        "INSERT INTO everytoken.producers VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (stream, id) DO UPDATE SET epoch = excluded.epoch, seq = excluded.seq",
        *(number, producer.id, producer.epoch, producer.seq),
    )
