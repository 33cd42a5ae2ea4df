"""What every journal that several nodes share promises besides: readers and takeovers on any of them."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest
from tests.journal_backends import BACKENDS, Reader, append, chunks, end, info, read_all, until

from everytoken.errors import (
    FencedError,
    JournalUnavailableError,
    StreamClosedError,
    StreamNotFoundError,
)
from everytoken.journal import Append

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Nodes = Callable[..., Awaitable[Any]]

pytestmark = pytest.mark.blocking_allowed("the server is looked after beside the test")


@pytest.fixture(params=["redis", "valkey", "postgres"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return BACKENDS[request.param](tmp_path)


@pytest.fixture
async def nodes(kind: Any) -> AsyncIterator[Nodes]:
    started: list[Any] = []

    async def start(**settings: Any) -> Any:
        started.append(await kind.open(**settings))
        return started[-1]

    yield start
    for journal in started:
        await journal.stop()


# Readers


async def test_a_reader_on_another_node_follows_to_the_end(nodes: Nodes) -> None:
    here, there = await nodes(), await nodes()
    writer = await here.create(info(), chunks(3))
    reader = Reader(await there.open("s"))
    reading = asyncio.create_task(reader.run())
    for n in range(3, 60, 3):
        await append(writer, chunks(3, n))
    late = asyncio.create_task(Reader(await there.open("s"), 30).run())
    await end(writer, chunks(1, 60))
    assert await reading == chunks(61)
    assert await late == chunks(61)[30:]
    assert reader.log.info.result == {"outcome": "completed"}


async def test_readers_elsewhere_see_each_record_soon(nodes: Nodes) -> None:
    here, there = await nodes(), await nodes()
    writer = await here.create(info())
    log = await there.open("s")
    log.subscribe(lambda: None)
    for n in range(5):
        await append(writer, chunks(1, n))
        await until(lambda: log.tail == n + 1)  # noqa: B023
    assert await here.is_read_elsewhere("s")
    assert not await here.is_read_elsewhere("other")


async def test_many_streams_are_followed_at_once(nodes: Nodes) -> None:
    here, there = await nodes(), await nodes()
    writers = [await here.create(info(f"s{n}")) for n in range(100)]
    readers = [asyncio.create_task(Reader(await there.open(f"s{n}")).run(30)) for n in range(100)]
    for n in range(10):
        for writer in writers:
            writer.append(chunks(1, n))
        await asyncio.sleep(0)
    for writer in writers:
        writer.close(chunks(1, 10), {})
    assert all(records == chunks(11) for records in await asyncio.gather(*readers))


async def test_a_deleted_stream_is_gone_on_every_node(nodes: Nodes) -> None:
    here, there = await nodes(), await nodes()
    writer = await here.create(info())
    shared = await here.create(info("everybody's", shared=True))
    for name in ("s", "everybody's"):
        log = await there.open(name)
        log.subscribe(lambda: None)
    await here.delete("everybody's")
    await there.delete("s")
    if not writer.log.deleted:
        writer.append([b"late"])
    await until(lambda: writer.log.deleted)
    with pytest.raises(StreamNotFoundError):
        writer.append([b"later"])
    assert shared.log.deleted
    await until(lambda: log.deleted)
    assert (await there.create(info(), [b"new"])).log.tail == 1


async def test_submits_of_many_nodes_at_once_are_all_stored_once(nodes: Nodes) -> None:
    journals = [await nodes() for _ in range(3)]
    await journals[0].create(info(shared=True))
    reading = asyncio.create_task(Reader(await journals[2].open("s")).run())
    await asyncio.gather(
        *(
            journal.submit("s", Append(records=[b"%d.%d" % (n, i)]))
            for n, journal in enumerate(journals)
            for i in range(8)
        )
    )
    await journals[1].submit("s", Append(close=True, result={"by": "me"}))
    records = await read_all(await journals[1].open("s"))
    assert sorted(records) == sorted(b"%d.%d" % (n, i) for n in range(3) for i in range(8))
    assert await reading == records


async def test_a_writers_stream_takes_nobody_elses_records(nodes: Nodes) -> None:
    here, there = await nodes(), await nodes()
    writer = await here.create(info())
    with pytest.raises(FencedError):
        await there.submit("s", Append(records=[b"1"]))
    await append(writer, [b"2"])
    assert await read_all(await there.open("s")) == [b"2"]


# Takeover


async def test_a_node_without_a_sign_of_life_loses_its_streams_to_one_other(kind: Any, nodes: Nodes) -> None:
    dead = await nodes()
    for n in range(3):
        await dead.create(info(f"s{n}", created=float(n + 1)), chunks(2))
    await dead.create(info("everybody's", shared=True))
    others = [await nodes() for _ in range(4)]
    assert await others[0].orphans() == []
    await kind.silence(dead)
    for journal in others:
        assert await journal.orphans() == ["s0", "s1", "s2"]
    claims = await asyncio.gather(*(journal.claim("s0") for journal in others), return_exceptions=True)
    assert [type(claim) for claim in claims].count(FencedError) == 3
    assert await others[0].orphans() == ["s1", "s2"]


@pytest.mark.parametrize("quiet", [False, True])
async def test_a_node_that_is_known_to_be_gone_loses_its_streams_at_once(
    kind: Any, nodes: Nodes, *, quiet: bool
) -> None:
    """Also just after the server was away, when nobody counts as dead for being silent."""
    dead, lives, other = [await nodes(lease=300.0) for _ in range(3)]
    await dead.create(info("gone"), chunks(1))
    kept = await lives.create(info("kept"), chunks(1))
    if quiet:
        kind.spare_the_silent(other)
    assert await other.orphans() == []
    await other.bury(dead.node)
    assert await other.orphans() == ["gone"]
    await append(await other.claim("gone"), chunks(1, 1))
    await append(kept, chunks(1, 1))
    assert await other.orphans() == []


async def test_what_another_node_has_taken_over_is_not_taken_away_from_it(nodes: Nodes) -> None:
    """All that are told of a death look at once; who is later must not disturb who is at it."""
    dead, quick, late = [await nodes(lease=300.0) for _ in range(3)]
    await dead.create(info(), chunks(1))
    for node in (quick, late):
        await node.bury(dead.node)
        assert await node.orphans() == ["s"]
    writer = await quick.claim("s")
    with pytest.raises(FencedError):
        await late.claim("s")
    await append(writer, chunks(1, 1))
    assert (await late.claim("s")).log.tail == 2  # for good reason, as who stops it has


async def test_a_takeover_whose_reply_is_lost_is_tried_again(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream may be ours by then. Nobody else would find it, for its node lives."""
    dead, here = await nodes(), await nodes()
    await dead.create(info(), chunks(2))
    await here.bury(dead.node)
    assert await here.orphans() == ["s"]
    taken_over = here._taken_over

    async def without_a_reply(*_: Any) -> Any:
        raise JournalUnavailableError("the connection was lost")

    monkeypatch.setattr(here, "_taken_over", without_a_reply)
    for _ in range(2):
        with pytest.raises(JournalUnavailableError):
            await here.claim("s")
        assert await here.orphans() == ["s"]
    monkeypatch.setattr(here, "_taken_over", taken_over)
    writer = await here.claim("s")
    assert await here.orphans() == []
    await append(writer, chunks(1, 2))
    await end(writer, [b"end"])
    assert await read_all(await dead.open("s")) == [*chunks(3), b"end"]


async def test_a_stopped_nodes_streams_can_be_taken_over_at_once(kind: Any, nodes: Nodes) -> None:
    node, other = await kind.open(), await nodes()
    writer = await node.create(info(), [b"1"])
    writer.append([b"2"])
    await node.stop()
    assert await other.orphans() == ["s"]
    assert await read_all((await other.claim("s")).log) == [b"1", b"2"]


async def test_a_writer_that_wakes_up_after_the_takeover_cannot_add_a_byte(nodes: Nodes) -> None:
    old, new = await nodes(), await nodes()
    await old._follower.stop()  # a paused process hears nothing
    writer = await old.create(info(), chunks(2))
    told: list[bool] = []
    writer.when_fenced(lambda: told.append(True))
    taker = await new.claim("s")
    writer.append([b"late"])  # it is not told yet
    await until(lambda: told)
    with pytest.raises(FencedError):
        writer.append([b"later"])
    with pytest.raises(FencedError):
        writer.close([], {})
    await append(taker, [b"right"])
    await end(taker, [])
    assert await read_all(await new.open("s")) == [*chunks(2), b"right"]


async def test_a_node_that_has_lost_a_stream_without_knowing_can_take_it_back(nodes: Nodes) -> None:
    """What it still wanted to have stored never will be, and nobody may wait for it for ever."""
    old, new = await nodes(), await nodes()
    await old._follower.stop()  # a paused process hears nothing
    writer = await old.create(info(), chunks(2))
    await append(await new.claim("s"), [b"right"])
    writer.append([b"late"])
    async with asyncio.timeout(5):
        again = await old.claim("s")
    await end(again, [b"end"])
    third = await nodes()
    assert await read_all(await third.open("s")) == [*chunks(2), b"right", b"end"]


async def test_a_silent_writer_is_told_of_the_takeover_and_its_readers_go_on_with_the_other(
    nodes: Nodes,
) -> None:
    old, new = await nodes(), await nodes()
    writer = await old.create(info(), chunks(2))
    told: list[bool] = []
    writer.when_fenced(lambda: told.append(True))
    reading = asyncio.create_task(Reader(await old.open("s")).run())
    following = asyncio.create_task(Reader(await new.open("s")).run())
    await asyncio.sleep(0)
    taker = await new.claim("s")
    await until(lambda: told)
    await append(taker, [b"right"])
    await end(taker, [b"end"])
    assert await reading == [*chunks(2), b"right", b"end"]
    assert await following == [*chunks(2), b"right", b"end"]


async def test_a_closed_stream_cannot_be_claimed(nodes: Nodes) -> None:
    journal = await nodes()
    await end(await journal.create(info()), [])
    with pytest.raises(StreamClosedError):
        await journal.claim("s")


# A server that goes away


@pytest.mark.parametrize("seed", range(3))
async def test_connections_that_break_at_any_moment_lose_and_double_nothing(
    kind: Any, nodes: Nodes, seed: int
) -> None:
    chance = random.Random(seed)
    here, there, other = await nodes(), await nodes(), await nodes()
    writers = [await here.create(info(f"s{n}")) for n in range(5)]
    readers = [
        asyncio.create_task(Reader(await journal.open(f"s{n}")).run(30))
        for n in range(5)
        for journal in (here, there)
    ]
    for n in range(200):
        for writer in writers:
            if chance.random() < 0.5:
                writer.append(chunks(1, writer.log.tail + len(writer.log.storing) + len(writer.log.pending)))
        if chance.random() < 0.06:
            await kind.drop_connections(other)
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        if n % 50 == 0:
            await until(lambda: all(not writer.log.waits for writer in writers))
    await until(lambda: all(not writer.log.waits for writer in writers))
    for writer in writers:
        writer.close([b"end"], {"outcome": "completed"})
    for records in await asyncio.gather(*readers):
        assert records == [*chunks(len(records) - 1), b"end"]
    third = await nodes()
    for writer in writers:
        records = await read_all(await third.open(writer.log.info.id))
        assert records == [*chunks(writer.log.tail - 1), b"end"]
