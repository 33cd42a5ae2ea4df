"""The Redis journal: several nodes, a server that goes away, comes back, hangs, forgets, or refuses."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.journal_backends import Reader, append, chunks, end, info, read_all, shared_redis, until
from tests.redis_server import REDIS, RedisServer

import everytoken.journal.redis_follower as follower_module
from everytoken.errors import (
    ConfigurationError,
    FencedError,
    JournalUnavailableError,
    OffsetInvalidError,
    ProducerStaleError,
    QuotaExceededError,
    StreamNotFoundError,
)
from everytoken.journal import Append, Producer
from everytoken.journal.quota import Quota
from everytoken.journal.redis import RedisJournal
from everytoken.journal.redis_connection import Address, pack
from everytoken.journal.redis_entries import Keys, State, encode
from everytoken.journal.redis_quota import RedisQuota
from everytoken.journal.rules import Marks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Nodes = Callable[..., Awaitable[RedisJournal]]

pytestmark = [
    pytest.mark.skipif(REDIS is None, reason="there is no redis-server"),
    pytest.mark.blocking_allowed("the server is looked after beside the test"),
]


@pytest.fixture
def server() -> RedisServer:
    return shared_redis()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    started: list[RedisJournal] = []

    async def start(server: RedisServer, **settings: Any) -> RedisJournal:
        journal = RedisJournal(server.url, **settings)
        await journal.start()
        started.append(journal)
        return journal

    yield start
    for journal in started:
        await journal.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a server that says nothing for a moment for dead."""
    monkeypatch.setattr("everytoken.journal.redis_node.PATIENCE", 0.3)
    monkeypatch.setattr(follower_module, "_BLOCK", 100)


async def _drop_connections(journal: RedisJournal) -> None:
    await journal._ask(pack("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))


async def _all_followed(node: RedisJournal, other: RedisJournal) -> None:
    """Wait until a node has read all that Redis has of what it follows."""
    for _ in range(2):  # the first may find a read under way that began before
        mark = await other._ask(pack("XADD", Keys().taken, "*", "id", "none"))
        await until(lambda mark=mark: node._follower._last_taken == mark)


async def _left_behind(server: RedisServer, nodes: Nodes) -> tuple[RedisJournal, RedisJournal, Any]:
    """Return the writer of a stream of three records, a node that knows of the first only, and its log there."""
    dead, here = await nodes(server), await nodes(server)
    writer = await dead.create(info(), chunks(1))
    log = await here.open("s")
    await append(writer, chunks(2, 1))
    return dead, here, log


def _hold_replies(node: RedisJournal, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Keep Redis' replies to appends from a node, until the function that is returned is called."""
    connection, holding = node._link.connection, True
    held: list[tuple[Any, Any]] = []
    assert connection is not None
    send = connection.send

    def hold(data: bytes, replies: int, done: Any) -> None:
        late = b"NOMKSTREAM" in data
        send(data, replies, lambda found: held.append((done, found)) if late and holding else done(found))

    def release() -> None:
        nonlocal holding
        holding = False
        for done, found in held:
            done(found)

    monkeypatch.setattr(connection, "send", hold)
    return release


# Several nodes


async def test_an_ended_stream_becomes_one_packed_entry(server: RedisServer, nodes: Nodes) -> None:
    here, there = await nodes(server), await nodes(server)
    writer = await here.create(info())
    slow = await there.open("s")
    for n in range(0, 120, 4):
        await append(writer, chunks(4, n))
    halfway = await there.open("s")
    size = await here._ask(pack("MEMORY", "USAGE", Keys().stream("s")))
    await end(writer, [b"last"])
    while await here._ask(pack("XLEN", Keys().stream("s"))) != 1:
        pass
    assert await here._ask(pack("MEMORY", "USAGE", Keys().stream("s"))) < size / 2
    expected = [*chunks(120), b"last"]
    assert await Reader(slow).run() == expected
    assert await Reader(halfway, 60).run() == expected[60:]
    for offset in (0, 1, 77, 120, 121):
        assert await read_all(await there.open("s"), offset, 300) == expected[offset:]


async def test_streams_that_redis_has_removed_are_used_no_more(server: RedisServer, nodes: Nodes) -> None:
    here, there = await nodes(server), await nodes(server)
    here.quotas = there.quotas = RedisQuota(here._link, here._keys, Quota(key_streams=600), here.gone)
    for at in range(0, 600, 100):
        await asyncio.gather(*(here.create(info(f"{n}", shared=True)) for n in range(at, at + 100)))
    with pytest.raises(QuotaExceededError):
        await there.create(info("more", shared=True))
    for n in range(100, 600):
        await here._ask(pack("DEL", Keys().stream(f"{n}"), Keys().info(f"{n}")))
    await there.create(info("more", shared=True))
    total, each = b"everytoken:t:", b"everytoken:u:"
    assert await here._ask(pack("HGET", total, "streams")) == b"101"
    assert await here._ask(pack("HLEN", each)) == 101
    assert await here._ask(pack("HGET", total, "bytes")) == b"0"


async def test_producers_that_a_version_before_has_stored_are_known(
    server: RedisServer, nodes: Nodes
) -> None:
    journal = await nodes(server)
    await journal.create(info(shared=True), [b"1"])
    # As it stood before producers had a hash of their own.
    state = State(info(shared=True), Marks("a", {"p": (0, 4), "q": (1, 0)}))
    await journal._ask(pack("SET", Keys().info("s"), encode(state)))
    assert (await journal.submit("s", Append(records=[b"2"], producer=Producer("p", 0, 4)))).duplicate
    await journal.submit("s", Append(records=[b"2"], producer=Producer("p", 0, 5)))
    again = await journal.submit("s", Append(records=[b"2"], producer=Producer("p", 0, 5)))
    assert (again.duplicate, again.seq) == (True, 5)
    with pytest.raises(ProducerStaleError):
        await journal.submit("s", Append(records=[b"2"], producer=Producer("q", 0, 0)))
    assert await read_all(await journal.open("s")) == [b"1", b"2"]


# Takeover


async def test_a_reader_that_comes_while_a_stream_is_taken_over_sees_nothing_twice(
    server: RedisServer, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written here must not be followed as well: an entry could be shown before its reply, and with it again."""
    dead, here, log = await _left_behind(server, nodes)
    entries = here._reading.entries

    async def while_somebody_comes(stream_id: str, offset: int) -> AsyncIterator[Any]:
        log.subscribe(lambda: None)
        async for entry in entries(stream_id, offset):
            yield entry

    monkeypatch.setattr(here._reading, "entries", while_somebody_comes)
    writer = await here.claim("s")
    release = _hold_replies(here, monkeypatch)
    writer.append(chunks(1, 3))
    while await dead._ask(pack("XLEN", Keys().stream("s"))) < 4:
        pass
    await _all_followed(here, dead)
    release()
    await until(lambda: not log.waits)
    await end(writer, [b"end"])
    assert await read_all(log) == [*chunks(4), b"end"]


async def test_a_stream_that_is_taken_over_while_it_is_opened_shows_nothing_twice(
    server: RedisServer, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, here, log = await _left_behind(server, nodes)
    entries = here._reading.entries
    writers: list[Any] = []

    async def once_it_is_written_here(stream_id: str, offset: int) -> AsyncIterator[Any]:
        monkeypatch.setattr(here._reading, "entries", entries)
        writers.append(await here.claim(stream_id))
        writers.append(_hold_replies(here, monkeypatch))
        writers[0].append(chunks(1, 3))
        async for entry in entries(stream_id, offset):
            yield entry

    monkeypatch.setattr(here._reading, "entries", once_it_is_written_here)
    assert await here.open("s") is log
    writer, release = writers
    release()
    await until(lambda: not log.waits)
    await end(writer, [b"end"])
    assert await read_all(log) == [*chunks(4), b"end"]


async def test_of_two_on_one_node_that_take_a_stream_over_the_later_one_writes_it(
    server: RedisServer, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody stops what is about to be taken over."""
    dead, here, log = await _left_behind(server, nodes)
    entries = here._reading.entries
    claims: list[asyncio.Task[Any]] = []

    async def while_another_one_comes(stream_id: str, offset: int) -> AsyncIterator[Any]:
        monkeypatch.setattr(here._reading, "entries", entries)
        claims.append(asyncio.create_task(here.claim("s")))
        for _ in range(50):
            if not claims[0].done():
                await here._ask(pack("PING"))
        async for entry in entries(stream_id, offset):
            yield entry

    monkeypatch.setattr(here._reading, "entries", while_another_one_comes)
    first = await here.claim("s")
    second = await claims[0]
    with pytest.raises(FencedError):
        first.append([b"by the first"])
    await append(second, chunks(1, 3))
    await end(second, [b"end"])
    assert await read_all(log) == [*chunks(4), b"end"]
    assert await read_all(await dead.open("s")) == [*chunks(4), b"end"]


async def test_a_node_that_is_gone_is_remembered_when_redis_is_away(
    own_server: RedisServer, nodes: Nodes
) -> None:
    dead, other = await nodes(own_server, lease=300.0), await nodes(own_server, lease=300.0)
    await dead.create(info(), chunks(1))
    own_server.kill()
    await until(lambda: other._link.connection is None)
    with pytest.raises(JournalUnavailableError):
        await other.bury(dead.node)
    own_server.start()
    await until(lambda: other._link.connection is not None)
    assert await other.orphans() == ["s"]


async def test_of_many_nodes_some_are_looked_for_at_a_time(
    server: RedisServer, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, node = await nodes(server, lease=300.0), await nodes(server)
    await dead.create(info(), chunks(1))
    living = [f"living-{number}" for number in range(300)]
    await node._ask(pack("SADD", Keys().nodes, *living))
    for name in living:
        await node._ask(pack("SET", Keys().alive(name.encode()), "1"))
    await node._ask(pack("DEL", Keys().alive(dead.node.encode())))
    pipeline = node._link.pipeline
    asked: list[int] = []

    async def noted(*commands: bytes) -> list[Any]:
        asked.append(len(commands))
        return await pipeline(*commands)

    monkeypatch.setattr(node._link, "pipeline", noted)
    looks = 0
    while not await node.orphans():
        looks += 1
        assert looks < 1000
    assert max(asked) <= 64
    monkeypatch.undo()
    await node._ask(pack("SREM", Keys().nodes, *living, dead.node))
    await node.bury(dead.node)
    assert await node.orphans() == ["s"], "whom somebody knows to be gone is always looked for"


async def test_a_lease_runs_out_by_itself_and_not_before(server: RedisServer, nodes: Nodes) -> None:
    node, other = await nodes(server, lease=0.4), await nodes(server)
    await node.create(info())
    life = await other._ask(pack("PTTL", Keys().alive(node._node.encode())))
    assert 0 < life <= 400
    node._beating.cancel()  # type: ignore[union-attr]
    async with asyncio.timeout(5):
        while not await other.orphans():
            pass


# A server that goes away


async def test_what_is_appended_in_the_moment_the_connection_comes_back_is_stored_once(
    server: RedisServer, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = await nodes(server), await nodes(server)
    writer = await here.create(info(), chunks(3))
    real = here._writing.reconcile

    async def reconcile(connection: Any) -> None:
        writer.append(chunks(1, 3))
        await real(connection)

    monkeypatch.setattr(here._writing, "reconcile", reconcile)
    await _drop_connections(there)
    await until(lambda: writer.log.tail == 4)
    await append(writer, chunks(1, 4))
    assert await read_all(writer.log) == chunks(5)
    assert await read_all(await there.open("s")) == chunks(5)


@pytest.mark.parametrize("persistent", [True, False], ids=["with its file", "having forgotten everything"])
async def test_a_server_that_is_started_again_is_gone_on_with(
    tmp_path: Path, nodes: Nodes, *, persistent: bool
) -> None:
    server = RedisServer(tmp_path, persistent=persistent)
    server.start()
    try:
        here, there = await nodes(server), await nodes(server)
        writer = await here.create(info(meta={"of": "me"}), chunks(5))
        reading = asyncio.create_task(Reader(await there.open("s")).run())
        await append(writer, chunks(5, 5))
        await until(lambda: there._streams["s"].tail == 10)
        server.kill()
        writer.append(chunks(5, 10))
        await until(lambda: here._link.connection is None)
        with pytest.raises(JournalUnavailableError):
            await here.create(info("new"))
        assert writer.log.tail == 10, "nothing is shown that is not stored"
        server.start()
        await until(lambda: writer.log.tail == 15)
        await append(writer, chunks(5, 15))
        await end(writer, [b"end"])
        assert await reading == [*chunks(20), b"end"]
        log = await there.open("s")
        assert (log.info.meta, await read_all(log)) == ({"of": "me"}, [*chunks(20), b"end"])
        await here.create(info("new"))
    finally:
        server.stop()


async def test_a_server_that_hangs_is_waited_for(
    own_server: RedisServer, nodes: Nodes, impatient: None
) -> None:
    here, there = await nodes(own_server), await nodes(own_server)
    writer = await here.create(info())
    reading = asyncio.create_task(Reader(await there.open("s")).run())
    await append(writer, chunks(2))
    own_server.pause()
    for n in range(4):
        writer.append([b"%d" % n * 300_000])
    assert writer.full
    with pytest.raises(JournalUnavailableError):
        await here.create(info("new"))
    with pytest.raises(JournalUnavailableError):
        await here.open("other")
    assert writer.log.tail == 2
    own_server.resume()
    await until(lambda: writer.log.tail == 6)
    assert not writer.full
    await end(writer, [])
    assert len(await reading) == 6
    await until(lambda: here._link.connection is not None)
    await here.create(info("new"))
    assert await there.orphans() == [], "who could give no sign of life is not dead for that"


async def test_a_server_that_has_no_memory_left_is_waited_for(own_server: RedisServer, nodes: Nodes) -> None:
    journal = await nodes(own_server)
    writers = [await journal.create(info(f"s{n}")) for n in range(3)]
    await journal._ask(pack("CONFIG", "SET", "maxmemory", "1"))
    for writer in writers:
        writer.append([b"1"])
    await until(lambda: journal._writing.commit.failing)
    with pytest.raises(JournalUnavailableError):
        await journal.create(info("new"))
    assert all(writer.log.tail == 0 for writer in writers)
    await journal._ask(pack("CONFIG", "SET", "maxmemory", "0"))
    await until(lambda: all(writer.log.tail == 1 for writer in writers))
    await journal.create(info("new"))


# A server that has lost the last records


async def _go_back(journal: RedisJournal, dump: bytes) -> None:
    """Have Redis hold what it held before, as after a failover to a replica that was behind."""
    await journal._link.pipeline(
        pack("RESTORE", Keys().stream("s"), 0, dump, "REPLACE"),
        pack("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"),
    )


async def test_records_that_redis_has_lost_are_given_again_by_their_writer(
    server: RedisServer, nodes: Nodes
) -> None:
    here, there = await nodes(server), await nodes(server)
    writer = await here.create(info(), chunks(4))
    dump = await there._ask(pack("DUMP", Keys().stream("s")))
    await append(writer, chunks(4, 4))
    await append(writer, chunks(4, 8))
    reading = asyncio.create_task(Reader(await there.open("s")).run())
    await until(lambda: there._streams["s"].watched)
    writer.append(chunks(1, 12))
    await _go_back(there, dump)
    await until(lambda: writer.log.tail == 13)
    await end(writer, [b"end"])
    assert await reading == [*chunks(13), b"end"]
    assert await read_all(await there.open("s")) == [*chunks(13), b"end"]


async def test_a_reader_ahead_of_what_is_left_is_told_and_not_spliced(
    server: RedisServer, nodes: Nodes
) -> None:
    dead, there, new = await nodes(server), await nodes(server), await nodes(server)
    writer = await dead.create(info(), chunks(4))
    dump = await there._ask(pack("DUMP", Keys().stream("s")))
    log = await there.open("s")
    log.subscribe(lambda: None)
    await append(writer, chunks(4, 4))
    await until(lambda: log.tail == 8)
    dead._writing._ours.clear()  # it is dead: it gives nothing again
    await _go_back(new, dump)
    await until(lambda: new._link.connection is not None and there._link.connection is not None)
    with pytest.raises(OffsetInvalidError):
        (await new.open("s")).take(8, 100)
    taker = await new.claim("s")
    await append(taker, [b"something else"])
    await until(lambda: log.deleted)
    with pytest.raises(OffsetInvalidError):
        await log.fetch(7, 100)
    assert await read_all(await there.open("s")) == [*chunks(4), b"something else"]


# Time, places


async def test_what_is_kept_is_kept_for_its_time(server: RedisServer, nodes: Nodes) -> None:
    journal = await nodes(server, retention=1000)
    writer = await journal.create(info("ended"))
    await journal.create(info("ttl", ttl=60, shared=True))
    await journal.create(info("expires", expires=info().created + 30))

    async def life(name: str) -> tuple[int, int]:
        return tuple(
            await journal._link.pipeline(pack("PTTL", Keys().stream(name)), pack("PTTL", Keys().info(name)))
        )  # type: ignore[return-value]

    assert await life("ended") == (-1, -1)
    await end(writer, chunks(3))
    for name, due in (("ended", 1_000_000), ("ttl", 60_000), ("expires", 30_000)):
        assert all(due - 5000 < left <= due for left in await life(name)), name
    await journal._link.pipeline(
        pack("PEXPIRE", Keys().stream("ttl"), 5000), pack("PEXPIRE", Keys().info("ttl"), 5000)
    )
    await journal.open("ttl", touch=False)
    assert max(await life("ttl")) <= 5000
    await journal.open("ttl")
    assert min(await life("ttl")) > 50_000
    await journal._link.pipeline(
        pack("PEXPIRE", Keys().stream("ttl"), 5000), pack("PEXPIRE", Keys().info("ttl"), 5000)
    )
    await journal.submit("ttl", Append(records=[b"1"]))
    assert min(await life("ttl")) > 50_000


async def test_the_readers_of_a_stream_that_redis_has_dropped_are_told(
    server: RedisServer, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "_READING", 0.05)
    monkeypatch.setattr(follower_module, "_SAYS", 1)
    journal = await nodes(server)
    await journal.create(info(shared=True), [b"1"])
    log = await journal.open("s")
    log.subscribe(lambda: None)
    await journal._ask(pack("DEL", Keys().stream("s"), Keys().info("s")))
    await until(lambda: log.deleted)


async def test_a_server_that_is_not_there_is_said_so_in_one_line(own_server: RedisServer) -> None:
    own_server.kill()
    with pytest.raises(JournalUnavailableError) as refused:
        await RedisJournal(own_server.url).start()
    assert "cannot be reached" in refused.value.message
    assert "\n" not in refused.value.message


async def test_a_server_that_does_not_let_us_in_is_said_so(own_server: RedisServer, nodes: Nodes) -> None:
    journal = await nodes(own_server)
    await journal._ask(pack("CONFIG", "SET", "requirepass", "secret"))
    for url in (own_server.url, own_server.url.replace("//", "//:wrong@")):
        with pytest.raises(ConfigurationError, match="refuses access") as refused:
            await RedisJournal(url).start()
        assert "wrong" not in refused.value.message
    allowed = RedisJournal(own_server.url.replace("//", "//:secret@").replace("/0", "/3"))
    await allowed.start()
    await allowed.create(info())
    await allowed.stop()
    with pytest.raises(StreamNotFoundError):
        await journal.open("s")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://h", Address("h")),
        ("redis://h:1/2", Address("h", 1, database=2)),
        ("rediss://u:p%40@[::1]:7/", Address("::1", 7, tls=True, user="u", password="p@")),
        ("unix:///run/redis.sock?db=4", Address(path="/run/redis.sock", database=4)),
    ],
)
def test_urls(url: str, address: Address) -> None:
    assert Address.parse(url) == address


@pytest.mark.parametrize("url", ["redis://h:x", "redis://h/x", "redis://h:99999"])
def test_what_is_no_url_is_said_so(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Address.parse(url)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((("appendonly", "yes"), ("appendfsync", "everysec")), "appended to a file, synced everysec"),
        ((("appendonly", "no"), ("save", "60 1")), "saved now and then (60 1)"),
        ((("appendonly", "no"), ("save", "")), "kept in its memory only"),
    ],
)
async def test_how_durable_the_server_is_stands_in_the_log(
    own_server: RedisServer, nodes: Nodes, caplog: pytest.LogCaptureFixture, settings: Any, words: str
) -> None:
    journal = await nodes(own_server)
    for name, value in settings:
        await journal._ask(pack("CONFIG", "SET", name, value))
    with caplog.at_level("INFO", "everytoken.journal"):
        await nodes(own_server)
    assert words in caplog.text
    page = (Path(__file__).parents[2] / "docs" / "journal.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"^```\n(.*)\n```$", page, re.MULTILINE)
    told = [re.sub(r" at .*?: ", " at 10.0.0.5:6379: ", message) for message in caplog.messages]
    assert (shown in told) == ("everysec" in words)


async def test_what_is_read_at_once_is_bounded_also_where_small_entries_come_first(
    server: RedisServer, nodes: Nodes
) -> None:
    journal = await nodes(server)
    await journal.create(info(shared=True))
    large = [random.randbytes(1024 * 1024) for _ in range(8)]
    for record in [b"small"] * 40 + large:
        await journal.submit("s", Append(records=[record]))
    log = await journal.open("s")
    sizes = []
    for offset in range(log.tail):
        found = await journal._reading._some("s", offset)
        sizes.append(sum(len(part) for _, fields in found for part in fields))
    assert max(sizes) < 1.3 * 1024 * 1024
    assert await read_all(log) == [b"small"] * 40 + large
