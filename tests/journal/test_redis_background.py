"""Whatever is raised in the Redis journal's background work: it costs at most the stream it belongs to."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from tests.journal_backends import BACKENDS, Reader, info, until
from tests.journal_exceptions import EXCEPTIONS, raise_at

from everytoken.errors import JournalError
from everytoken.journal import redis_follower
from everytoken.journal.packed import PackedRecords
from everytoken.journal.redis import RedisJournal
from everytoken.journal.redis_commands import Commands
from everytoken.journal.redis_connection import RedisConnection, pack
from everytoken.journal.redis_entries import Entry, Keys
from everytoken.journal.redis_follower import RedisFollower
from everytoken.journal.redis_link import RedisLink
from everytoken.journal.redis_writing import RedisWriting
from everytoken.journal.stream import Stream
from gateway_serving import limit
from sampling import sampled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = ("x", "y")


class Nodes:
    """Two nodes: `here` writes the streams x and y, and both of them read them."""

    def __init__(self, here: RedisJournal, there: RedisJournal) -> None:
        self.here = here
        self.there = there
        self.writers: dict[str, Any] = {}
        self.written: dict[str, list[bytes]] = {}
        self.readers: dict[tuple[str, RedisJournal], asyncio.Task[Any]] = {}
        self.gone: set[str] = set()  # what has been deleted

    async def begin(self) -> None:
        readers = []
        for name in NAMES:
            self.written[name] = [b"1", b"2"]
            self.writers[name] = await self.here.create(info(name), self.written[name])
            for node in (self.here, self.there):
                reader = Reader(await node.open(name))
                readers.append(reader)
                self.readers[name, node] = asyncio.create_task(reader.run())
        await until(lambda: all(reader.offset == 2 for reader in readers))

    def append(self, name: str, record: bytes, *, last: bool = False) -> None:
        """Append, unless the writer has been told that it cannot."""
        with contextlib.suppress(JournalError):
            if last:
                self.writers[name].close([record], {"outcome": "completed"})
            else:
                self.writers[name].append([record])
            self.written[name].append(record)

    async def end(self) -> int:
        """End all streams; return how many have failed their readers, who were told so."""
        for name in NAMES:
            self.append(name, b"last", last=True)
        failed = 0
        for name in set(NAMES) - self.gone:
            for node in (self.here, self.there):
                try:
                    records = await self.readers[name, node]
                except JournalError:
                    failed += 1
                    break  # what its writer cannot end is ended by whoever takes it over
                assert records == self.written[name], name
        for name in self.gone:
            for node in (self.here, self.there):
                with pytest.raises(JournalError):
                    await self.readers[name, node]
        return failed

    async def stop(self) -> None:
        for task in self.readers.values():
            task.cancel()
        await asyncio.gather(*self.readers.values(), return_exceptions=True)
        await self.here.stop()
        await self.there.stop()


async def ask(node: RedisJournal, *command: bytes | str) -> Any:
    """Ask Redis as nobody else does, so that nothing is raised here."""
    assert node._link.connection is not None
    (reply,) = await node._link.connection.pipeline(pack(*command))
    return reply


# What makes the background work begin


async def refused(nodes: Nodes) -> None:
    """Redis has lost a stream, and takes nothing more for it."""
    await ask(nodes.here, "DEL", Keys().stream("x"))
    nodes.append("x", b"3")
    nodes.append("y", b"3")


async def cut(nodes: Nodes) -> None:
    """All connections break while something is to be stored."""
    for link in (nodes.here._link, nodes.there._link, nodes.there._follower._own):
        assert link.connection is not None
        link.connection.close()
    nodes.append("x", b"3")
    nodes.append("y", b"3")
    await until(lambda: nodes.here._link.connection is None)
    nodes.append("x", b"4")
    nodes.append("y", b"4")


async def ended(nodes: Nodes) -> None:
    nodes.append("x", b"3", last=True)


async def taken(nodes: Nodes) -> None:
    """The other node takes a stream over; the writer that was has something to say later."""
    old = nodes.writers["x"]
    nodes.writers["x"] = await nodes.there.claim("x")
    nodes.append("x", b"3")
    await until(lambda: nodes.writers["x"].log.tail == 3)
    with contextlib.suppress(JournalError):
        old.append([b"too late"])


async def deleted(nodes: Nodes) -> None:
    nodes.gone.add("x")
    await nodes.here.delete("x")
    nodes.append("y", b"3")  # wakes the other node, which waits for something to move


async def followed(nodes: Nodes) -> None:
    nodes.append("x", b"3")
    nodes.append("y", b"3")


async def beaten(nodes: Nodes) -> None:
    """Both nodes give a sign of life, and another one."""
    alive = [Keys().alive(node._node.encode()) for node in (nodes.here, nodes.there)]
    for _ in range(2):
        await ask(nodes.here, "DEL", *alive)
        while await ask(nodes.here, "EXISTS", *alive) != 2:
            pass


# Where it is raised, and how many streams that may cost.
STEPS: list[tuple[Callable[[Nodes], Any], Any, str, int]] = [
    (refused, RedisWriting, "_compare_all", 0),
    (refused, Commands, "last_entry", 0),
    (refused, RedisLink, "pipeline", 1),
    (refused, RedisWriting, "_compare", 1),
    (refused, RedisWriting, "_give_again", 1),
    (refused, Stream, "keep", 1),
    (refused, Stream, "commit", 1),
    (cut, RedisJournal, "_beat", 0),
    (cut, RedisConnection, "call", 0),
    (cut, RedisWriting, "reconcile", 0),
    (cut, RedisWriting, "_compare_all", 0),
    (cut, Commands, "last_entry", 0),
    (cut, RedisConnection, "pipeline", 0),
    (cut, Stream, "begin", 0),
    (cut, Stream, "keep", 1),
    (cut, Stream, "commit", 1),
    (cut, RedisWriting, "_compare", 1),
    (ended, RedisWriting, "_seal", 0),
    (ended, Commands, "seal", 0),
    (ended, PackedRecords, "dump", 0),
    (ended, RedisLink, "pipeline", 0),
    (taken, RedisFollower, "_take_note", 0),
    (taken, RedisWriting, "look_at", 0),
    (taken, RedisWriting, "_look_at", 0),
    (taken, RedisWriting, "fence", 1),
    (taken, Stream, "drop_pending", 1),
    (deleted, RedisFollower, "_look", 0),
    (deleted, RedisFollower, "_read", 0),
    (deleted, Keys, "read", 0),
    (followed, RedisFollower, "_read", 0),
    (followed, RedisFollower, "_show_all", 0),
    (followed, Keys, "stream", 0),
    (followed, RedisConnection, "call", 0),
    (followed, RedisFollower, "_show", 1),
    (followed, redis_follower, "show", 1),
    (followed, Entry, "__init__", 1),
    (followed, Stream, "show", 1),
    (beaten, RedisJournal, "_beat", 0),
    (beaten, RedisLink, "pipeline", 0),
]
LEASE = {beaten: 0.09}  # three signs of life in that time


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
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lease = LEASE.get(happens, 10.0)
    for error in EXCEPTIONS if at == 1 else EXCEPTIONS[:3]:
        kind = BACKENDS["redis"](tmp_path)
        here = await kind.open(lease=lease)
        try:
            nodes = Nodes(here, await kind.open(lease=lease))
        except BaseException:
            await here.stop()
            raise
        async with limit():
            await nodes.begin()
            with monkeypatch.context() as patch:
                raised = raise_at(patch, owner, name, at, error)
                await happens(nodes)
                if at == 1:
                    await until(raised)
                assert await nodes.end() <= cost, error
            for node in (nodes.here, nodes.there):
                await until(lambda: node._link.connection is not None and not node.commits.failing)  # noqa: B023
            writer = await nodes.here.create(info("after"))
            reader = Reader(await nodes.there.open("after"))
            writer.append([b"1", b"2"])
            writer.close([b"3"], {"outcome": "completed"})
            assert await reader.run() == [b"1", b"2", b"3"]
            await nodes.stop()
