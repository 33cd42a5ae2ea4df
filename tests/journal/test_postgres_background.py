"""An exception of any kind at any step of the PostgreSQL journal: it costs one response at most, and stops nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.journal_backends import PostgresKind, Reader, info, shared_postgres, until
from tests.journal_exceptions import EXCEPTIONS, raise_at
from tests.postgres_server import PROGRAMS, empty_postgres

from everytoken.journal import postgres_following, postgres_node, postgres_writing
from everytoken.journal.postgres import PostgresJournal
from everytoken.journal.postgres_following import PostgresFollower
from everytoken.journal.postgres_link import PostgresLink
from everytoken.journal.postgres_node import PostgresNode
from everytoken.journal.postgres_writing import PostgresWriting
from everytoken.journal.stream import Stream
from gateway_serving import limit
from sampling import sampled

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [
    pytest.mark.skipif(PROGRAMS is None, reason="there is no PostgreSQL"),
    pytest.mark.blocking_allowed("connections are made anew"),
]

STREAMS = 4


class Nodes:
    """Two nodes: one writes some streams, which the other one reads."""

    def __init__(self, here: PostgresJournal, there: PostgresJournal) -> None:
        self.here, self.there = here, there

    async def begin(self) -> None:
        self.writers = [await self.here.create(info(f"s{n}"), [b"0"]) for n in range(STREAMS)]
        self.reading = [
            asyncio.create_task(Reader(await self.there.open(f"s{n}")).run(20)) for n in range(STREAMS)
        ]
        await until(lambda: len(self.there._follower._followed) == STREAMS and not self.there._follower._new)

    async def end(self) -> int:
        """End all streams; return how many have not come to the reader as they were written."""
        lost = 0
        for writer, reading in zip(self.writers, self.reading, strict=True):
            if writer.log.lost is not None:
                reading.cancel()
            elif not writer.log.closed:
                writer.close([b"2"], {"outcome": "completed"})
        for records in await asyncio.gather(*self.reading, return_exceptions=True):
            if isinstance(records, BaseException) or list(records) != [b"0", b"1", b"2"]:
                lost += 1
        return lost


async def appended(nodes: Nodes) -> None:
    for writer in nodes.writers:
        writer.append([b"1"])
    await until(lambda: all(writer.log.tail == 2 or writer.log.lost for writer in nodes.writers))


async def refused(nodes: Nodes) -> None:
    """Have the server be where it does not expect the writer to be."""
    await nodes.there._link.fetch("UPDATE everytoken.streams SET tail = 0")
    await nodes.there._link.fetch("DELETE FROM everytoken.entries")
    await appended(nodes)


async def cut(nodes: Nodes) -> None:
    await PostgresKind.drop_connections(nodes.there)
    await appended(nodes)


async def ended(nodes: Nodes) -> None:
    await appended(nodes)
    for writer in nodes.writers:
        writer.close([b"2"], {"outcome": "completed"})
    await until(lambda: all(writer.log.closed for writer in nodes.writers))


async def taken(nodes: Nodes) -> None:
    await appended(nodes)
    nodes.writers[0] = await nodes.there.claim("s0")


async def beaten(nodes: Nodes) -> None:
    await appended(nodes)
    for node in (nodes.here, nodes.there):
        for chore in node._chores:
            assert not chore.done()


# Where it is raised, and how many streams that may cost.
STEPS: list[tuple[Callable[[Nodes], Any], Any, str, int]] = [
    (appended, PostgresWriting, "_entry", 1),
    (appended, postgres_writing, "packed", 1),
    (appended, postgres_writing, "_append", 0),
    (appended, Stream, "begin", 1),
    (appended, Stream, "commit", 1),
    (refused, PostgresWriting, "_compare", 0),
    (refused, PostgresWriting, "_compare_one", 1),
    (refused, PostgresWriting, "_give_again", 1),
    (refused, Stream, "keep", 1),
    (cut, PostgresLink, "connect", 0),
    (cut, PostgresFollower, "_listen", 0),
    (ended, PostgresWriting, "_seal", 0),
    (taken, PostgresWriting, "look_at", 0),
    (taken, PostgresWriting, "_look_at", 0),
    (taken, PostgresWriting, "fence", 1),
    (taken, Stream, "drop_pending", 1),
    (appended, PostgresFollower, "_watched", 0),
    (appended, PostgresFollower, "_read", 0),
    (appended, PostgresFollower, "_show_all", 0),
    (appended, postgres_following, "show", 1),
    (beaten, PostgresNode, "_beat", 0),
    (beaten, postgres_node, "_remove_records", 0),
]


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize(
    ("happens", "owner", "name", "cost"),
    sampled(STEPS, 2),
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_an_exception_in_the_background_stops_nothing(
    happens: Callable[[Nodes], Any],
    owner: Any,
    name: str,
    cost: int,
    at: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = shared_postgres()
    monkeypatch.setattr("everytoken.journal.postgres_node._SWEEP", 0.03)
    monkeypatch.setattr("everytoken.journal.postgres_following._LOOK", 0.2)
    for error in sampled(EXCEPTIONS, 4) if at == 1 else EXCEPTIONS[:1]:
        await empty_postgres(server.url)
        lease = 0.09 if happens is beaten else 10.0
        nodes = Nodes(*[PostgresJournal(server.url, lease=lease) for _ in range(2)])
        await nodes.here.start()
        await nodes.there.start()
        async with limit():
            await nodes.begin()
            with monkeypatch.context() as patch:
                raised = raise_at(patch, owner, name, at, error)
                await happens(nodes)
                if at == 1:
                    await until(raised)
                assert await nodes.end() <= cost, error
            for node in (nodes.here, nodes.there):
                await until(lambda: not node.commits.failing)  # noqa: B023
            writer = await nodes.here.create(info("after"))
            reader = Reader(await nodes.there.open("after"))
            writer.append([b"1", b"2"])
            writer.close([b"3"], {"outcome": "completed"})
            assert await reader.run() == [b"1", b"2", b"3"]
            await nodes.there.stop()
            await nodes.here.stop()
