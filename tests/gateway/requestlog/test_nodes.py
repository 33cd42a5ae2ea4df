"""One request log of several nodes, in a real Redis; so in real time."""

from __future__ import annotations

import asyncio

from tests.journal_backends import BACKENDS

from everytoken.gateway.requestlog.kept import Kept
from everytoken.gateway.requestlog.query import Query
from gateway_serving import limit

HOUR = 3600.0
AT = 1_900_000_000.0


def entry(at):
    return {"at": at, "response": f"r{at}", "request": "q", "key": "", "outcome": "completed", "model": "m"}


async def test_all_nodes_write_one_log(tmp_path):
    backend = BACKENDS["redis"](tmp_path)
    journals = [await backend.open(), await backend.open()]
    both = [Kept(journal, 24 * HOUR, lambda: AT) for journal in journals]
    async with limit():
        for number, kept in enumerate(both):
            kept.add(entry(AT + number))
        await asyncio.gather(*(kept.flush() for kept in both))
        for kept in both:
            assert {found["at"] for found in await kept.find(Query())} == {AT, AT + 1}
    for journal in journals:
        await journal.stop()
