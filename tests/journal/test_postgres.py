"""The PostgreSQL journal: several nodes, a server that goes away, comes back, hangs, forgets, or refuses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from tests.journal_backends import Reader, append, chunks, end, info, read_all, shared_postgres, until
from tests.postgres_server import PROGRAMS, PostgresServer, empty_postgres

from everytoken.errors import (
    ConfigurationError,
    FencedError,
    JournalUnavailableError,
    NotStorableError,
    OffsetInvalidError,
    StreamExistsError,
    StreamNotFoundError,
)
from everytoken.journal import Append
from everytoken.journal.ledger import Demand
from everytoken.journal.postgres import PostgresJournal
from everytoken.journal.urls import check_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Nodes = Callable[..., Awaitable[PostgresJournal]]

pytestmark = [
    pytest.mark.skipif(PROGRAMS is None, reason="there is no PostgreSQL"),
    pytest.mark.blocking_allowed("the server is looked after beside the test"),
]

HANGING = 0.4  # seconds after which a server that says nothing counts as dead, in tests that have one


@pytest.fixture
async def server() -> PostgresServer:
    server = shared_postgres()
    await empty_postgres(server.url)
    return server


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    started: list[PostgresJournal] = []

    async def start(server: PostgresServer, **settings: Any) -> PostgresJournal:
        journal = PostgresJournal(server.url, **settings)
        await journal.start()
        started.append(journal)
        return journal

    yield start
    for journal in started:
        await journal.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a server that says nothing for a moment for dead."""
    monkeypatch.setattr("everytoken.journal.postgres_link._PATIENCE", HANGING)
    monkeypatch.setattr("everytoken.journal.postgres_following._LOOK", HANGING)


async def _ask(server: PostgresServer, statement: str, *values: Any) -> Any:
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


async def _left_behind(server: PostgresServer, nodes: Nodes) -> tuple[PostgresJournal, PostgresJournal, Any]:
    """Return the writer of a stream of three records, a node that knows of the first only, and its log there."""
    dead, here = await nodes(server), await nodes(server)
    writer = await dead.create(info(), chunks(1))
    log = await here.open("s")
    await append(writer, chunks(2, 1))
    return dead, here, log


# Several nodes


async def test_an_ended_stream_becomes_one_packed_entry(server: PostgresServer, nodes: Nodes) -> None:
    here, there = await nodes(server), await nodes(server)
    writer = await here.create(info())
    slow = await there.open("s")
    for n in range(0, 120, 4):
        await append(writer, chunks(4, n))
    halfway = await there.open("s")
    size = "SELECT count(*), sum(length(data)) FROM everytoken.entries"
    [before] = await _ask(server, size)
    await end(writer, [b"last"])
    while (after := (await _ask(server, size))[0])[0] != 1:
        pass
    assert before[0] == 30
    assert after[1] < before[1] / 3
    expected = [*chunks(120), b"last"]
    assert await Reader(slow).run() == expected
    assert await Reader(halfway, 60).run() == expected[60:]
    for offset in (0, 1, 77, 120, 121):
        assert await read_all(await there.open("s"), offset, 300) == expected[offset:]


# Takeover


async def test_a_lease_runs_out_by_the_servers_clock_and_not_before(
    server: PostgresServer, nodes: Nodes
) -> None:
    node, other = await nodes(server, lease=300.0), await nodes(server)
    await node.create(info())
    [[left]] = await _ask(
        server, "SELECT extract(epoch FROM until - now()) FROM everytoken.nodes WHERE node = $1", node.node
    )
    assert 200 < left <= 300
    assert await other.orphans() == []
    await _ask(server, "UPDATE everytoken.nodes SET until = now() WHERE node = $1", node.node)
    assert await other.orphans() == ["s"]
    await node._beat()
    assert await other.orphans() == [], "it lives after all"


@pytest.mark.parametrize("comes", ["a reader", "a writer"])
async def test_who_comes_while_a_stream_is_taken_over_sees_nothing_twice(
    server: PostgresServer, nodes: Nodes, monkeypatch: pytest.MonkeyPatch, comes: str
) -> None:
    """What is written here must not be followed as well: an entry could be shown before its reply, and with it again."""
    dead, here, log = await _left_behind(server, nodes)
    read = here._follower._read
    claims: list[asyncio.Task[Any]] = []

    async def while_somebody_comes(streams: Any) -> Any:
        monkeypatch.setattr(here._follower, "_read", read)
        if comes == "a reader":
            log.subscribe(lambda: None)
        else:
            claims.append(asyncio.create_task(here.claim("s")))
        for _ in range(5):
            await here._link.fetch("SELECT 1")
        return await read(streams)

    monkeypatch.setattr(here._follower, "_read", while_somebody_comes)
    writer = await here.claim("s")
    for claim in claims:
        first, writer = writer, await claim
        with pytest.raises(FencedError):
            first.append([b"by the first"])
    assert here._follower._followed == {}
    for n in range(3, 20):
        await append(writer, chunks(1, n))
    await end(writer, [b"end"])
    assert await read_all(log) == [*chunks(20), b"end"]
    assert await read_all(await dead.open("s")) == [*chunks(20), b"end"]


# A server that goes away


async def test_a_server_that_has_crashed_is_gone_on_with(own_server: PostgresServer, nodes: Nodes) -> None:
    """It loses what it has acknowledged in the last moment: appends do not wait for its disk."""
    here, there = await nodes(own_server), await nodes(own_server)
    writer = await here.create(info(meta={"of": "me"}), chunks(5))
    reading = asyncio.create_task(Reader(await there.open("s")).run(30))
    for n in range(5, 10):
        await append(writer, chunks(1, n))
    await until(lambda: there._streams["s"].tail == 10)
    own_server.kill()
    writer.append(chunks(5, 10))
    await until(lambda: here.commits.failing)
    with pytest.raises(JournalUnavailableError):
        await here.open("other")
    assert writer.log.tail == 10, "nothing is shown that is not stored"
    own_server.start()
    await until(lambda: writer.log.tail == 15)
    await append(writer, chunks(5, 15))
    await end(writer, [b"end"])
    assert await reading == [*chunks(20), b"end"]
    log = await there.open("s")
    assert (log.info.meta, await read_all(log)) == ({"of": "me"}, [*chunks(20), b"end"])
    await here.create(info("new"))


async def test_a_server_that_hangs_is_waited_for(
    own_server: PostgresServer, nodes: Nodes, impatient: None
) -> None:
    here, there = await nodes(own_server, lease=0.9), await nodes(own_server, lease=0.9)
    writer = await here.create(info())
    reading = asyncio.create_task(Reader(await there.open("s")).run(30))
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
    await until(lambda: there._failing)
    own_server.resume()
    await until(lambda: writer.log.tail == 6)
    assert not writer.full
    await until(lambda: there._quiet_until)
    assert await there.orphans() == [], "who could give no sign of life is not dead for that"
    await end(writer, [])
    assert len(await reading) == 6
    await here.create(info("new"))


async def test_what_may_have_been_made_without_our_knowing_is_removed(
    server: PostgresServer, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller was told that there is nothing; a node that finds it later must not pay for it."""
    journal = await nodes(server, lease=300.0)
    fetch = journal._link.fetch

    async def without_a_reply(*arguments: Any, **more: Any) -> Any:
        await fetch(*arguments, **more)
        raise JournalUnavailableError("the connection was lost")

    monkeypatch.setattr(journal._link, "fetch", without_a_reply)
    for name in ("s", "again"):
        with pytest.raises(JournalUnavailableError):
            await journal.create(info(name), [b"1"])
    monkeypatch.undo()
    assert (await journal.create(info("again"), [b"2"])).log.tail == 1
    await journal._beat()
    other = await nodes(server)
    await other.bury(journal.node)
    assert await other.orphans() == ["again"]
    with pytest.raises(StreamNotFoundError):
        await journal.open("s")


async def test_records_that_the_server_has_lost_are_given_again_by_their_writer(
    server: PostgresServer, nodes: Nodes
) -> None:
    here, there = await nodes(server), await nodes(server)
    writer = await here.create(info(), chunks(4))
    for n in (4, 8):
        await append(writer, chunks(4, n))
    reading = asyncio.create_task(Reader(await there.open("s")).run())
    await until(lambda: there._streams["s"].watched)
    await _go_back(server, 4)
    writer.append(chunks(1, 12))
    await until(lambda: writer.log.tail == 13)
    await end(writer, [b"end"])
    assert await reading == [*chunks(13), b"end"]
    assert await read_all(await there.open("s")) == [*chunks(13), b"end"]


async def _go_back(server: PostgresServer, tail: int) -> None:
    """Have the server hold what it held before, as after a failover to a replica that was behind."""
    await _ask(server, "DELETE FROM everytoken.entries WHERE first >= $1", tail)
    await _ask(server, "UPDATE everytoken.streams SET tail = $1", tail)


@pytest.mark.parametrize("takeovers", [1, 2])
async def test_a_reader_ahead_of_what_is_left_is_told_and_not_spliced(
    server: PostgresServer, nodes: Nodes, takeovers: int
) -> None:
    dead, there, new = await nodes(server), await nodes(server), await nodes(server)
    writer = await dead.create(info(), chunks(4))
    log = await there.open("s")
    log.subscribe(lambda: None)
    await append(writer, chunks(4, 4))
    await until(lambda: log.tail == 8)
    dead._writing._ours.clear()  # it is dead: it gives nothing again
    await there._follower.stop()
    await _go_back(server, 4)
    for _ in range(takeovers):
        taker = await new.claim("s")
        await append(taker, [b"something"] * 6)
    await there._follower.start()
    await there._follower._read([log])
    await until(lambda: log.deleted)
    with pytest.raises(OffsetInvalidError):
        await log.fetch(7, 100)
    assert await read_all(await there.open("s")) == [*chunks(4), *[b"something"] * 6 * takeovers]


async def test_one_stream_that_cannot_be_stored_keeps_no_other_from_it(
    server: PostgresServer, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await nodes(server)
    writers = [await journal.create(info(f"s{n}")) for n in range(5)]
    for number, writer in enumerate(writers):
        writer.append([b"1"])
        if number == 2:
            writer.close([], {"too": 2**64})
    await until(lambda: all(writer.log.tail for writer in writers if writer is not writers[2]))
    await until(lambda: writers[2].log.closed)
    assert writers[2].log.info.result["outcome"] == "interrupted"  # type: ignore[index]
    with pytest.raises(NotStorableError):
        await journal.create(info("odd", meta={"n": 2**64}))
    for name in ("nul\0", "\ud800"):
        with pytest.raises(NotStorableError):
            await journal.create(info(name))
        with pytest.raises(StreamNotFoundError):
            await journal.open(name)
    await journal.probe()


# Time, places


async def test_what_is_too_old_is_removed_with_all_that_belongs_to_it(
    server: PostgresServer, nodes: Nodes
) -> None:
    journal = await nodes(server, retention=1000.0)
    await journal.create(info("kept"), chunks(2))
    for n in range(700):
        await _ask_made(journal, f"s{n}")
    await _ask(server, "UPDATE everytoken.streams SET expires = now() WHERE id <> 'kept'")
    with pytest.raises(StreamNotFoundError):
        await journal.open("s0")
    await journal.sweep_old()
    counts = "SELECT (SELECT count(*) FROM everytoken.streams), (SELECT count(*) FROM everytoken.entries)"
    assert [tuple(row) for row in await _ask(server, counts)] == [(1, 1)]
    await journal.create(info("s0"), closed=True)
    with pytest.raises(StreamExistsError):
        await journal.create(info("s0"))


async def _ask_made(journal: PostgresJournal, name: str) -> None:
    await journal.create(info(name), chunks(1), closed=True)


async def test_what_is_kept_is_kept_for_its_time(server: PostgresServer, nodes: Nodes) -> None:
    journal = await nodes(server, retention=1000)
    writer = await journal.create(info("ended"))
    await journal.create(info("ttl", ttl=60, shared=True))
    await journal.create(info("expires", expires=info().created + 30))
    left = "SELECT extract(epoch FROM expires - now()) FROM everytoken.streams WHERE id = $1"

    async def life(name: str) -> float | None:
        [[seconds]] = await _ask(server, left, name)
        return None if seconds is None else float(seconds)

    assert await life("ended") is None
    await end(writer, chunks(3))
    for name, due in (("ended", 1000), ("ttl", 60), ("expires", 30)):
        assert due - 5 < (await life(name) or 0) <= due, name
    shorten = "UPDATE everytoken.streams SET expires = now() + interval '5 s' WHERE id = 'ttl'"
    await _ask(server, shorten)
    await journal.open("ttl", touch=False)
    assert (await life("ttl") or 0) <= 5
    await journal.open("ttl")
    assert (await life("ttl") or 0) > 50
    await _ask(server, shorten)
    await journal.submit("ttl", Append(records=[b"1"]))
    assert (await life("ttl") or 0) > 50


async def test_budgets_are_kept_when_what_is_over_is_removed(server: PostgresServer, nodes: Nodes) -> None:
    journal = await nodes(server)
    ledger = journal.ledger()
    demands = [Demand("w", "window", 5, 0), Demand("r", "running", 1, 0), Demand("t", "total", 7, 0)]
    await ledger.reserve("one", 1000.0, 1010.0, demands)
    await journal.sweep_old()
    for table, rows in (("windows", 0), ("running", 0), ("totals", 1)):
        assert [row[0] for row in await _ask(server, f"SELECT count(*) FROM everytoken.{table}")] == [rows]
    assert await ledger.totals(["t", "none"]) == [7, 0]


async def test_a_server_that_is_not_there_is_said_so_in_one_line(own_server: PostgresServer) -> None:
    own_server.kill()
    with pytest.raises(JournalUnavailableError) as refused:
        await PostgresJournal(own_server.url.replace("@", ":secret@")).start()
    assert "cannot be reached" in refused.value.message
    assert "\n" not in refused.value.message
    assert "secret" not in refused.value.message


async def test_of_several_servers_the_one_that_can_be_written_to_is_used(
    server: PostgresServer, own_server: PostgresServer, nodes: Nodes
) -> None:
    await _ask(own_server, "ALTER SYSTEM SET default_transaction_read_only = on")
    await _ask(own_server, "SELECT pg_reload_conf()")
    while not await _reads_only(own_server):
        pass
    first = own_server.url.partition("@")[2].partition("/")[0]
    both = PostgresJournal(server.url.replace("@", f"@{first},"))
    await both.start()
    await both.create(info(), [b"1"], closed=True)
    await both.stop()
    assert await read_all(await (await nodes(server)).open("s")) == [b"1"]


async def _reads_only(server: PostgresServer) -> bool:
    [[shown]] = await _ask(server, "SHOW default_transaction_read_only")
    return bool(shown == "on")


async def test_a_database_that_is_not_there_is_said_so(server: PostgresServer) -> None:
    with pytest.raises(ConfigurationError, match='database "none" does not exist'):
        await PostgresJournal(server.url.replace("/postgres", "/none")).start()


async def test_tables_of_a_newer_version_are_refused_and_not_changed(
    own_server: PostgresServer, nodes: Nodes
) -> None:
    await nodes(own_server)
    await _ask(own_server, "UPDATE everytoken.version SET number = 2")
    with pytest.raises(ConfigurationError, match="of version 2"):
        await nodes(own_server)


async def test_of_two_nodes_that_start_at_once_one_makes_the_tables(
    own_server: PostgresServer, nodes: Nodes
) -> None:
    await asyncio.gather(*(nodes(own_server) for _ in range(4)))
    assert len(await _ask(own_server, "SELECT * FROM everytoken.version")) == 1


async def test_a_replica_that_nobody_waits_for_is_said_so(server: PostgresServer) -> None:
    with pytest.raises(ConfigurationError, match="synchronous_standby_names"):
        await PostgresJournal(server.url, durability="replicated").start()


@pytest.mark.parametrize(("durability", "waits"), [("process", "off"), ("power", "on")])
async def test_an_append_waits_for_the_disk_where_it_is_to_survive_the_loss_of_power(
    server: PostgresServer, nodes: Nodes, durability: str, waits: str
) -> None:
    journal = await nodes(server, durability=durability)
    assert await journal._writing._connection.fetchval("SHOW synchronous_commit") == waits
    [[shown]] = await journal._link.fetch("SHOW synchronous_commit")
    assert shown == "on", "what begins is there in any case"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h:x/db",
        "postgresql://h:99999/db",
        "postgres://h/db?sslmode=nonsense",
        "postgresql://h/db?x",
    ],
)
def test_what_is_no_url_is_said_so(url: str) -> None:
    with pytest.raises(ConfigurationError):
        check_url(url)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://u:p%40@h/db", "h/db"),
        ("postgres://u@[::1]:7/db", "::1:7/db"),
        ("postgresql://u:p@a:1,b:2/db", "a:1,b:2/db"),
        ("postgresql:///db", "localhost/db"),
    ],
)
def test_urls(url: str, place: str) -> None:
    assert PostgresJournal(url)._link.place == place
