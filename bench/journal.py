"""What a journal costs for each record: appended, committed, and taken by one reader. `python -m bench.journal [KIND…]`.

Streams get their chunks a few in each turn of the loop, as they do when a gateway has read from some upstreams. CPU
time is that of this process, and beside it that of the server; what is not the journal's is the same for all kinds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from tests.postgres_server import PostgresServer
from tests.redis_server import RedisServer

from everytoken.journal import StreamInfo
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.postgres import PostgresJournal
from everytoken.journal.redis import RedisJournal
from everytoken.journal.sqlite import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from everytoken.journal import Journal, Writer

STREAMS = (20, 300)
RATE = 50  # chunks a second of each
PER_TURN = 5  # streams that get one in the same turn of the loop
SECONDS = 3.0  # of each run
RUNS = 3
KINDS = ("memory", "sqlite", "redis", "postgres")


def chunk(number: int) -> bytes:
    """Return a chunk as llama.cpp sends it."""
    return (
        b'{"choices":[{"finish_reason":null,"index":0,"delta":{"content":" w%d"}}],"created":1700000000,'
        b'"id":"chatcmpl-0123456789abcdefghijklmnopqrstuv","model":"a-model","system_fingerprint":"b1-abc",'
        b'"object":"chat.completion.chunk"}' % (number % 997)
    )


class Reader:
    """Takes what is committed, at once, and knows how long it took to come."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.offset = 0
        self.sent = 0.0
        self.delays: list[float] = []
        writer.log.subscribe(self.moved)

    def moved(self) -> None:
        self.offset += len(self.writer.log.take(self.offset, 65_536) or ())
        self.delays.append(time.perf_counter() - self.sent)

    def append(self, records: list[bytes]) -> None:
        self.sent = time.perf_counter()
        self.writer.append(records)


async def run(journal: Journal, streams: int) -> tuple[float, float]:
    """Return the CPU µs for each record, and the median delay from append to reader in ms."""
    readers = [
        Reader(await journal.create(StreamInfo(id=f"{streams}-{n}", content_type="application/json")))
        for n in range(streams)
    ]
    chunks = [[chunk(number)] for number in range(997)]
    loop = asyncio.get_running_loop()
    turn = sent = 0
    cpu = time.process_time()
    began = loop.time()
    while loop.time() < began + SECONDS:
        due = int((loop.time() - began) * streams * RATE)
        while sent < due:
            for reader in [readers[(sent + n) % streams] for n in range(min(PER_TURN, due - sent))]:
                reader.append(chunks[turn % 997])
                sent += 1
            turn += 1
            await asyncio.sleep(0)
        await asyncio.sleep(0.001)
    cpu = time.process_time() - cpu
    for reader in readers:
        reader.writer.close([], {"outcome": "completed"})
    while not all(reader.writer.log.closed for reader in readers):  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert sum(reader.offset for reader in readers) == sent
    delays = [delay for reader in readers for delay in reader.delays[:-1]]
    return cpu / sent * 1e6, statistics.median(delays) * 1e3


@contextlib.asynccontextmanager
async def journals(kind: str) -> AsyncIterator[tuple[Journal, Callable[[], float]]]:
    """Give a journal of this kind, and the CPU seconds its server has used."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        server = {"redis": lambda: RedisServer(path), "postgres": lambda: PostgresServer(fsync=True)}.get(
            kind, lambda: None
        )()
        if server is not None:
            server.start()
        make: dict[str, Callable[[], Journal]] = {
            "memory": MemoryJournal,
            "sqlite": lambda: SqliteJournal(path / "journal.sqlite"),
            "redis": lambda: RedisJournal(server.url),  # type: ignore[union-attr]
            "postgres": lambda: PostgresJournal(server.url),  # type: ignore[union-attr]
        }
        journal = make[kind]()
        await journal.start()
        try:
            yield journal, lambda: 0.0 if server is None else sum(map(cpu_of, server.pids))
        finally:
            await journal.stop()
            if server is not None:
                server.stop()


def cpu_of(pid: int) -> float:
    """Return the CPU seconds another process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(kind: str, streams: int) -> None:
    """Measure one kind of journal and print a line."""
    costs, servers, delays = [], [], []
    for _ in range(RUNS):
        async with journals(kind) as (journal, server):
            before = server()
            cost, delay = await run(journal, streams)
            servers.append((server() - before) / (streams * RATE * SECONDS) * 1e6)
            costs.append(cost)
            delays.append(delay)
    print(
        f"{kind:8} {streams:4} streams: {statistics.median(costs):5.1f} µs a record, server "
        f"{statistics.median(servers):4.1f} µs, delay {statistics.median(delays):.2f} ms",
        flush=True,
    )


async def main(kinds: list[str]) -> None:
    """Measure each kind."""
    for streams in STREAMS:
        for kind in kinds or KINDS:
            await measure(kind, streams)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
