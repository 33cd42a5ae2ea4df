"""A response for a caller that does not stream: wait for its end, then join its records."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from everytoken.dialects.registry import dialect_of

if TYPE_CHECKING:
    from everytoken.gateway.follow import ReaderConnection
    from everytoken.journal import Log

__all__ = ["assembled", "until_ended"]

_BATCH = 1024 * 1024  # bytes of records that are joined without a pause


async def until_ended(log: Log, client: ReaderConnection) -> bool:
    """Wait until the response has ended; return False if its caller goes away before."""
    log.subscribe(client.wake)
    try:
        while not log.closed:
            if client.gone:
                return False
            await client.wait()
    finally:
        log.unsubscribe(client.wake)
    return True


async def assembled(log: Log) -> dict[str, Any]:
    """Return the records of a response joined, as its dialect does it."""
    accumulator = dialect_of(log.info.meta).accumulator()
    offset = 0
    while offset < log.tail:
        records = log.take(offset, _BATCH)
        if records is None:
            records = await log.fetch(offset, _BATCH)
        for record in records:
            accumulator.add(record)
        offset += len(records)
        await asyncio.sleep(0)  # a long response must not hold the others up
    return accumulator.message()
