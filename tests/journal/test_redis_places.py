"""Where the Redis to write to is: what URLs mean, slots, and real fail-overs of Sentinel and Cluster."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.journal_backends import Reader, info, read_all, until
from tests.redis_server import REDIS, RedisServer

from everytoken.errors import ConfigurationError, JournalUnavailableError
from everytoken.journal.redis import RedisJournal
from everytoken.journal.redis_cluster import RedisClusterJournal
from everytoken.journal.redis_connection import Address, RedisConnection
from everytoken.journal.redis_places import SLOTS, ClusterMap, Sentinels, hosts_of, place_at, slot_of, tags
from everytoken.journal.urls import check_url
from redis_cluster import ClusterServers, SentinelServers, ask, wait_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

needs_redis = pytest.mark.skipif(REDIS is None, reason="there is no redis-server")
pytestmark = pytest.mark.blocking_allowed("servers are started and killed beside the test")


# Slots, as the specification of Redis Cluster and its servers have them


@pytest.mark.parametrize(
    ("key", "slot"),
    [
        (b"123456789", 0x31C3),
        (b"{user1000}.following", slot_of(b"user1000")),
        (b"foo{}{bar}", 8363),
        (b"foo{{bar}}zap", 4015),
        (b"foo{bar}{zap}", 5061),
        (b"", 0),
    ],
)
def test_slots(key, slot):
    assert slot_of(key) == slot % SLOTS


@needs_redis
def test_a_server_computes_the_same_slots(tmp_path):
    server = ClusterServers(tmp_path, masters=1)
    server.start()
    try:
        for key in [b"foo{}{bar}", b"foo{{bar}}zap", b"everytoken:{7}:s:x", "ключ".encode(), b"{", b"}{a}"]:
            assert ask(server.masters[0], "CLUSTER", "KEYSLOT", key) == slot_of(key)
    finally:
        server.stop()


@pytest.mark.parametrize("masters", [1, 2, 3, 4, 6, 12])
def test_partitions_are_spread_evenly_over_masters_with_equal_ranges(masters):
    parts = [slot_of(tag.encode()) * masters // SLOTS for tag in tags(12)]
    assert set(Counter(parts).values()) == {12 // masters}


def test_the_tags_of_a_number_of_partitions_stay_what_they_are():
    """They are a part of how streams are stored."""
    assert tags(4) == ["{3}", "{2}", "{1}", "{0}"]


# URLs


def test_a_url_of_a_cluster_names_servers_and_how_to_get_in():
    hosts, access, path = hosts_of("rediss-cluster://u:p%40ss@a,b:7000,[::1]:7001/?ssl_ca_certs=/x", 6379)
    assert [(one.host, one.port) for one in hosts] == [("a", 6379), ("b", 7000), ("::1", 7001)]
    assert {(one.tls, one.user, one.password, one.ca) for one in hosts} == {(True, "u", "p@ss", "/x")}
    assert (access, path) == (hosts[0], "")


def test_a_url_of_sentinels_names_them_their_master_and_how_to_get_in_there():
    place = place_at("redis-sentinel://u:p@a,b:7000/mymaster/3?sentinel_password=s")
    assert isinstance(place, Sentinels)
    assert place._name == "mymaster"
    assert [(one.host, one.port, one.user, one.password) for one in place._sentinels] == [
        ("a", 26379, None, "s"),
        ("b", 7000, None, "s"),
    ]
    assert (place._master.user, place._master.password, place._master.database) == ("u", "p", 3)
    assert str(place) == "mymaster (by 2 Sentinels)"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis-sentinel://a", "write redis-sentinel://HOST:PORT,HOST:PORT/MASTER"),
        ("redis-sentinel://a/m/x", "the database is a number"),
        ("redis-sentinel:///m", "names no host"),
        ("redis-cluster://", "names no host"),
        ("redis-cluster://a/3", "one database only"),
        ("redis-cluster://a?partitions=0", "partitions is a number from 1 to 1024"),
        ("redis-cluster://a:b", "not a valid journal URL"),
    ],
)
def test_a_url_that_is_none_is_told_in_one_line_and_without_its_password(url, told):
    with pytest.raises(ConfigurationError) as refused:
        check_url(url)
    assert told in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("url", ["redis-cluster://a,b:7000?partitions=24", "redis-sentinel://a,b/m/1"])
def test_urls_that_are_fine(url):
    check_url(url)


def test_replicas_are_a_number():
    for text in ("0", "x", "-1", ""):
        with pytest.raises(ConfigurationError, match="replicas is a number"):
            RedisJournal(f"redis://a?replicas={text or '%20'}", durability="replicated")


# Looking it up


class Asked:
    """Stands for servers that are asked where masters are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: dict[int, Any]) -> None:
        self.ports: list[int] = []
        self.answers = answers
        monkeypatch.setattr("everytoken.journal.redis_places.ask_once", self._ask)

    async def _ask(self, server: Address, *_: object) -> Any:
        self.ports.append(server.port)
        answer = self.answers.get(server.port)
        if answer is None:
            raise JournalUnavailableError(f"{server.port} is away")
        return answer


async def test_the_first_sentinel_that_answers_counts_and_is_the_first_to_be_asked_again(monkeypatch):
    asked = Asked(monkeypatch, {2: [b"h", b"7"]})
    place = Sentinels([Address(port=n) for n in (1, 2, 3)], "m", Address(password="p"))
    assert await place.find() == Address(host="h", port=7, password="p")
    assert await place.find() == Address(host="h", port=7, password="p")
    assert asked.ports == [1, 2, 2]
    asked.answers.clear()
    with pytest.raises(JournalUnavailableError, match="where Redis is cannot be found out"):
        await place.find()


async def test_servers_that_ask_at_once_ask_the_cluster_once_and_whoever_is_there_answers(monkeypatch):
    now = 0.0
    asked = Asked(monkeypatch, {2: [[0, 99, [b"h", 7, b"id"]], [100, SLOTS - 1, [b"", 8, b"id"], [b"r", 9]]]})
    cluster = ClusterMap([Address(host="seed", port=n, user="u") for n in (1, 2)], lambda: now)
    found = await asyncio.gather(*(cluster.master_of(slot) for slot in (0, 99, 100)))
    assert [(one.host, one.port, one.user) for one in found] == [
        ("h", 7, "u"),
        ("h", 7, "u"),
        ("seed", 8, "u"),
    ]
    assert asked.ports == [1, 2]
    now, asked.answers = (
        1.0,
        {8: [[0, SLOTS - 1, [b"new", 5, b"id"]]]},
    )  # a seed is gone; those found are asked
    assert (await cluster.master_of(3)).host == "new"
    assert asked.ports == [1, 2, 7, 8]


async def test_a_slot_that_nobody_has_and_servers_that_know_nothing(monkeypatch):
    Asked(monkeypatch, {1: [[0, 99, [b"h", 7, b"id"]]], 2: []})
    with pytest.raises(JournalUnavailableError, match="no master for slot 100"):
        await ClusterMap([Address(port=1)]).master_of(100)
    with pytest.raises(JournalUnavailableError, match="knows no slots"):
        await ClusterMap([Address(port=2)]).master_of(100)


# Real servers


@asynccontextmanager
async def running(servers: Any) -> AsyncIterator[Any]:
    try:
        await asyncio.to_thread(servers.start)
        yield servers
    finally:
        await asyncio.to_thread(servers.stop)


@asynccontextmanager
async def journals(count: int, make: Any) -> AsyncIterator[list[Any]]:
    started: list[Any] = []
    try:
        for _ in range(count):
            journal = make()
            await journal.start()
            started.append(journal)
        yield started
    finally:
        for journal in started:
            await journal.stop()


@needs_redis
async def test_a_replica_is_no_master_and_a_master_that_becomes_one_is_left(tmp_path: Path) -> None:
    async with running(SentinelServers(tmp_path, replicas=1, sentinels=1)) as servers:
        master, replica = servers.servers
        with pytest.raises(JournalUnavailableError, match="is not the master"):
            await RedisConnection.connect(Address(port=replica.port), 3.0, moves=True)
        connection = await RedisConnection.connect(Address(port=master.port), 3.0, moves=True)
        ask(master, "REPLICAOF", "127.0.0.1", replica.port)
        with pytest.raises(Exception, match="READONLY"):
            await connection.call("SET", "a", "b")
        await asyncio.wait_for(connection.lost.wait(), 5)


async def write_on(writers: list[Any], stop: asyncio.Event) -> list[list[bytes]]:
    """Append to streams until told to stop, each as fast as it is shown; return what was appended to each."""
    written: list[list[bytes]] = [[] for _ in writers]

    async def one(writer: Any, records: list[bytes]) -> None:
        while not stop.is_set():
            record = b'{"n":%d}' % len(records)
            records.append(record)
            writer.append([record])
            await until_shown(writer.log, len(records))

    await asyncio.gather(*(one(*pair) for pair in zip(writers, written, strict=True)))
    return written


async def until_shown(log: Any, tail: int) -> None:
    moved = asyncio.Event()
    log.subscribe(moved.set)
    try:
        async with asyncio.timeout(30):
            while log.tail < tail:
                moved.clear()
                await moved.wait()
    finally:
        log.unsubscribe(moved.set)


async def shown_over_a_failover(journals: list[Any], failover: Any) -> None:
    """Write through one node and read through another while a master dies: everything is shown, once and in order."""
    here, there = journals
    writers = [await here.create(info(f"s{n}")) for n in range(24)]
    readers = [Reader(await there.open(f"s{n}")) for n in range(24)]
    # How long servers take to agree on another master is theirs to say: readers are timed from then on.
    reading = [asyncio.create_task(reader.run(patience=None)) for reader in readers]
    stop = asyncio.Event()
    writing = asyncio.create_task(write_on(writers, stop))
    await until_shown(writers[0].log, 20)
    await failover()
    tails = [writer.log.tail for writer in writers]
    for writer, tail in zip(writers, tails, strict=True):
        await until_shown(writer.log, tail + 20)
    stop.set()
    written = await writing
    for writer in writers:
        writer.close([], {"outcome": "completed"})
    async with asyncio.timeout(30):
        seen = await asyncio.gather(*reading)
    assert seen == written
    for n, records in enumerate(written):
        assert await read_all(await there.open(f"s{n}")) == records


@needs_redis
@pytest.mark.parametrize("durability", ["process", "replicated"])
async def test_a_master_of_a_cluster_that_is_killed_is_gone_on_with_by_its_replica(
    tmp_path: Path, durability: str
) -> None:
    async with running(
        ClusterServers(tmp_path, masters=3, replicas=1 if durability == "process" else 2)
    ) as cluster:

        async def failover() -> None:
            dead, replicas = cluster.masters[1], cluster.replicas[1]
            dead.kill()
            await wait_async(lambda: any(ask(one, "ROLE")[0] == b"master" for one in replicas))

        async with journals(2, lambda: RedisClusterJournal(cluster.url, durability=durability)) as both:
            await shown_over_a_failover(both, failover)


@needs_redis
async def test_a_master_that_sentinels_replace_is_gone_on_with(tmp_path: Path) -> None:
    async with running(SentinelServers(tmp_path)) as servers:

        async def failover() -> None:
            before = servers.master()
            before.kill()
            await wait_async(lambda: servers.master() is not before)

        async with journals(2, lambda: RedisJournal(servers.url, durability="replicated")) as both:
            await shown_over_a_failover(both, failover)


@needs_redis
async def test_with_replicated_nothing_is_shown_that_no_replica_has(tmp_path: Path) -> None:
    async with running(SentinelServers(tmp_path, replicas=1, sentinels=1)) as servers:
        master, replica = servers.servers
        async with journals(1, lambda: RedisJournal(master.url, durability="replicated")) as (journal,):
            writer = await journal.create(info(), [b"1"])
            replica.pause()
            writer.append([b"2"])
            await until(lambda: ask(master, "XLEN", journal._keys.stream("s")) == 2)
            with pytest.raises(JournalUnavailableError, match="too few replicas"):
                await journal.create(info("new"))
            assert writer.log.tail == 1
            replica.resume()
            await until_shown(writer.log, 2)
            assert await read_all(writer.log) == [b"1", b"2"]


@needs_redis
async def test_one_server_is_no_cluster_and_says_so(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    try:
        with pytest.raises(ConfigurationError, match="is no cluster: write redis://"):
            await RedisClusterJournal(f"redis-cluster://127.0.0.1:{server.port}").start()
    finally:
        server.stop()


@needs_redis
async def test_another_number_of_partitions_than_before_is_refused(tmp_path: Path) -> None:
    async with running(ClusterServers(tmp_path, masters=1)) as cluster:
        async with journals(1, lambda: RedisClusterJournal(f"{cluster.url}?partitions=3")):
            pass
        with pytest.raises(ConfigurationError, match=r"over 3 partitions: add \?partitions=3 to its URL"):
            await RedisClusterJournal(cluster.url).start()


@needs_redis
async def test_partitions_that_move_to_another_master_are_followed(tmp_path: Path) -> None:
    async with running(ClusterServers(tmp_path, masters=2)) as cluster:
        one, other = cluster.masters

        def move() -> None:
            """Give all the slots of one master to the other, with their keys."""
            name = ask(other, "CLUSTER", "MYID")
            for tag in tags(12):
                slot = slot_of(tag.encode())
                if slot < SLOTS // 2:
                    ask(other, "CLUSTER", "SETSLOT", slot, "IMPORTING", ask(one, "CLUSTER", "MYID"))
                    ask(one, "CLUSTER", "SETSLOT", slot, "MIGRATING", name)
                    while keys := ask(one, "CLUSTER", "GETKEYSINSLOT", slot, 100):
                        ask(one, "MIGRATE", "127.0.0.1", other.port, "", 0, 5000, "KEYS", *keys)
                    for server in (other, one):
                        ask(server, "CLUSTER", "SETSLOT", slot, "NODE", name)

        async with journals(2, lambda: RedisClusterJournal(cluster.url)) as both:
            await shown_over_a_failover(both, lambda: asyncio.to_thread(move))
