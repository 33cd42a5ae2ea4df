"""What a chunk costs with several nodes on one Redis, and on a cluster of three masters: at the gateways, and at Redis."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import uvloop
from tests.redis_cluster import ClusterServers
from tests.redis_server import RedisServer

from bench import processes
from bench.journal import chunk
from bench.measure import cpu_us
from bench.relaying import WARM_UP, load
from bench.stacks import everytoken
from everytoken.journal import StreamInfo
from everytoken.journal.redis import RedisJournal
from everytoken.journal.redis_connection import Address, RedisConnection, pack
from everytoken.journal.redis_entries import Keys

if TYPE_CHECKING:
    from collections.abc import Iterator

NODES: Final = (1, 2, 4)
PLACES: Final = ("one Redis", "three masters")
_RESPONSES: Final = 100  # in all
_CHUNKS: Final = 150
_INTERVAL: Final = 20  # ms


class Shared(NamedTuple):
    """µs of CPU for each chunk: of all nodes, and of all servers of Redis."""

    nodes_us: float
    redis_us: float
    errors: int


@contextmanager
def _place(name: str) -> Iterator[tuple[str, list[int]]]:
    with tempfile.TemporaryDirectory() as directory:
        servers: RedisServer | ClusterServers
        if name == PLACES[0]:
            servers = RedisServer(Path(directory))
            servers.start()
            url, each = servers.url, [servers]
        else:
            servers = ClusterServers(Path(directory), masters=3)
            servers.start()
            url, each = servers.url, servers.servers
        try:
            yield url, [one.pid for one in each]
        finally:
            servers.stop()


def by_nodes(
    places: tuple[str, ...] = PLACES, counts: tuple[int, ...] = NODES
) -> dict[str, dict[int, Shared]]:
    """Return what the same load costs on so many nodes."""
    found: dict[str, dict[int, Shared]] = {}
    for place in places:
        for count in counts:
            one = found.setdefault(place, {})[count] = _measure(place, count)
            wrong = f"  {one.errors} ERRORS" if one.errors else ""
            print(
                f"{place:14} {count} nodes {one.nodes_us:8.1f} µs, Redis {one.redis_us:6.1f} µs{wrong}",
                flush=True,
            )
    return found


def _measure(place: str, count: int) -> Shared:
    with ExitStack() as stack:
        upstream = stack.enter_context(processes.upstream())
        url, servers = stack.enter_context(_place(place))
        start = everytoken("--journal", url)
        nodes = [stack.enter_context(processes.relay(start, upstream)) for _ in range(count)]
        for node, pid in nodes:
            load(node, upstream, WARM_UP, pid)
        before = _spent([pid for _, pid in nodes]), _spent(servers)
        errors = _put_on([node for node, _ in nodes])
        after = _spent([pid for _, pid in nodes]), _spent(servers)
        chunks = _RESPONSES * _CHUNKS
        return Shared((after[0] - before[0]) / chunks, (after[1] - before[1]) / chunks, errors)


def _spent(pids: list[int]) -> float:
    return sum(cpu_us(pid) or 0.0 for pid in pids)


def _put_on(urls: list[str]) -> int:
    """Put the load on all nodes at once; return how many responses were wrong."""
    arguments = [
        "--responses",
        _RESPONSES // len(urls),
        "--chunks",
        _CHUNKS,
        "--interval-ms",
        _INTERVAL,
        "--ramp",
        0.5,
    ]
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.load", "--url", url, *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for url in urls
    ]
    try:
        return sum(
            int(json.loads(one.communicate(timeout=60)[0].splitlines()[-1])["errors"]) for one in running
        )
    finally:
        for one in running:
            processes.stop(one)


class Housekeeping(NamedTuple):
    """What Redis takes for the nodes themselves: µs of its CPU, and bytes.

    `look_us`: for one node that looks for others that are gone, for each node there is. `told_us`: to tell one node that
    waits of one takeover. `entry_bytes`: for a record of an open response; `sealed_bytes`: of one that has ended.
    """

    look_us: float
    told_us: float
    entry_bytes: float
    sealed_bytes: float


def housekeeping() -> Housekeeping:
    """Measure."""
    return uvloop.run(_housekeeping())


async def _housekeeping(
    nodes: int = 500, looks: int = 40, waiting: int = 100, records: int = 2000
) -> Housekeeping:
    with _place(PLACES[0]) as (url, [pid]):
        journal = RedisJournal(url)
        await journal.start()
        try:
            names = [f"{number:016x}" for number in range(nodes)]
            await _ask(journal, pack("SADD", Keys().nodes, *names))
            for name in names:
                await _ask(journal, pack("SET", Keys().alive(name.encode()), "1"))
            before = _spent([pid])
            for _ in range(looks):
                await journal.orphans()
            look = (_spent([pid]) - before) / looks / nodes
            told = await _told(journal, url, pid, waiting)
            writer = await journal.create(StreamInfo(id="one", content_type="application/json"))
            for number in range(records):
                writer.append(
                    [chunk(number).replace(b" w", b" r%04d n%05d t%016d" % (number % 7, number, number**3))]
                )
                while writer.log.tail <= number:  # noqa: ASYNC110  # one entry each, as with few responses
                    await asyncio.sleep(0)
            size = pack("MEMORY", "USAGE", Keys().stream("one"), "SAMPLES", 0)
            entry = await _ask(journal, size) / records
            writer.close([], {"outcome": "completed"})
            while await _ask(journal, pack("XLEN", Keys().stream("one"))) != 1:
                pass
            return Housekeeping(look, told, entry, await _ask(journal, size) / records)
        finally:
            await journal.stop()


async def _ask(journal: RedisJournal, command: bytes) -> Any:
    return await journal._ask(command)  # noqa: SLF001  # its own connection, which is what is measured


async def _told(journal: RedisJournal, url: str, pid: int, waiting: int) -> float:
    """Return the µs that Redis needs to tell one connection of a takeover."""
    address = Address.parse(url)
    connections = [await RedisConnection.connect(address, 5.0) for _ in range(waiting)]
    spent = 0.0
    for _ in range(20):
        calls = [
            asyncio.create_task(one.call("XREAD", "BLOCK", 5000, "STREAMS", Keys().taken, "$"))
            for one in connections
        ]
        while b"blocked_clients:%d" % (waiting + 1) not in await _ask(journal, pack("INFO", "clients")):
            pass
        before = _spent([pid])
        await _ask(journal, pack("XADD", Keys().taken, "*", "id", "none"))
        await asyncio.gather(*calls)
        spent += _spent([pid]) - before
    for one in connections:
        one.close()
    return spent / 20 / waiting
