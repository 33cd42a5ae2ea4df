"""What a journal costs for each record: appended, committed, and taken by one reader. `python -m bench.journal [KIND…]`.

Every turn some streams get a chunk each, as they do when a gateway's event loop has read from several upstreams. CPU
time is that of this process (and of redis-server); the reader's work is the same for all kinds.
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
from tests.redis_server import RedisServer

from everytoken.journal import StreamInfo
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.redis import RedisJournal
from everytoken.journal.sqlite import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from everytoken.journal import Journal, Writer

STREAMS = 300
RECORDS = 60_000  # in each run
RUNS = 3
KINDS = ("memory", "sqlite", "redis")


def chunk(number: int) -> bytes:
    """Return a chunk as llama.cpp sends it."""
    return (
        b'{"choices":[{"finish_reason":null,"index":0,"delta":{"content":" w%d"}}],"created":1700000000,'
        b'"id":"chatcmpl-0123456789abcdefghijklmnopqrstuv","model":"a-model","system_fingerprint":"b1-abc",'
        b'"object":"chat.completion.chunk"}' % (number % 997)
    )


class Reader:
    """Takes what is committed, at once."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.offset = 0
        self.waiting: asyncio.Future[None] | None = None
        writer.log.subscribe(self.moved)

    def moved(self) -> None:
        self.offset += len(self.writer.log.take(self.offset, 65_536) or ())
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(None)


async def run(journal: Journal, per_turn: int) -> tuple[float, float]:
    """Return the CPU µs for each record, and the longest turn in ms."""
    readers = [
        Reader(await journal.create(StreamInfo(id=f"{per_turn}-{n}", content_type="application/json")))
        for n in range(STREAMS)
    ]
    chunks = [[chunk(number)] for number in range(997)]
    turns = RECORDS // per_turn
    longest = 0.0
    cpu = time.process_time()
    for turn in range(turns):
        began = time.perf_counter()
        moving = [readers[(turn * per_turn + n) % STREAMS] for n in range(per_turn)]
        last = moving[-1]
        last.waiting = asyncio.get_running_loop().create_future()
        for reader in moving:
            reader.writer.append(chunks[turn % 997])
        await last.waiting  # without spinning, which would count as the journal's CPU time
        last.waiting = None
        longest = max(longest, time.perf_counter() - began)
    cpu = time.process_time() - cpu
    for reader in readers:
        reader.writer.close([], {"outcome": "completed"})
    while not all(reader.writer.log.closed for reader in readers):  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert sum(reader.offset for reader in readers) == turns * per_turn
    return cpu / (turns * per_turn) * 1e6, longest * 1e3


@contextlib.asynccontextmanager
async def journals(kind: str) -> AsyncIterator[tuple[Journal, Callable[[], float]]]:
    """Give a journal of this kind, and the CPU seconds its server has used."""
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory)) if kind == "redis" else None
        journal: Journal
        if server is not None:
            server.start()
            journal = RedisJournal(server.url)
        else:
            journal = (
                MemoryJournal() if kind == "memory" else SqliteJournal(Path(directory) / "journal.sqlite")
            )
        await journal.start()
        try:
            yield journal, lambda: 0.0 if server is None else cpu_of(server.pid)
        finally:
            await journal.stop()
            if server is not None:
                server.stop()


def cpu_of(pid: int) -> float:
    """Return the CPU seconds another process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(kind: str, per_turn: int) -> None:
    """Measure one kind of journal and print a line."""
    costs, servers, longest = [], [], []
    for _ in range(RUNS):
        async with journals(kind) as (journal, server):
            before = server()
            cost, turn = await run(journal, per_turn)
            servers.append((server() - before) / RECORDS * 1e6)
            costs.append(cost)
            longest.append(turn)
    print(
        f"{kind:8} {per_turn:3} streams a turn: {statistics.median(costs):5.1f} µs, server "
        f"{statistics.median(servers):4.1f} µs, longest {max(longest):.1f} ms",
        flush=True,
    )


async def main(kinds: list[str]) -> None:
    """Measure each kind."""
    for per_turn in (1, 15, 300):
        for kind in kinds or KINDS:
            await measure(kind, per_turn)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
