"""What it costs to retain many responses: to start, to look one up, to remove those that are old."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import uvloop
from tests.redis_server import RedisServer

from bench.journal import chunk
from bench.stats import quantile
from everytoken.journal import StreamInfo
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.redis import RedisJournal
from everytoken.journal.sqlite import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTS: Final = (100, 1_000, 10_000, 100_000)
KINDS: Final = ("memory", "SQLite", "Redis")
_BATCH: Final = 500  # responses that are made at once, at most
_LOOKS: Final = 300
_RECORDS: Final = [chunk(number) for number in range(5)]
_KEPT: Final = 1e6  # seconds; the clock of the local journals is ours
_ROOM: Final = 2**50


class Retained(NamedTuple):
    """`start`: seconds; a lookup, the median and p99: µs; `removed`: µs for each response that is removed. None: not its own."""

    start: float | None
    lookup: float
    lookup_p99: float
    removed: float | None


class _Filled:
    """A journal that is filled, a response a second by its own clock."""

    def __init__(self, kind: str, directory: Path, url: str) -> None:
        self.kind = kind
        self._make: Callable[[], Any] = {
            "memory": lambda: MemoryJournal(retention=_KEPT, max_bytes=_ROOM, now=lambda: self.now),
            "SQLite": lambda: SqliteJournal(
                directory / "journal.sqlite", retention=_KEPT, max_bytes=_ROOM, now=lambda: self.now
            ),
            "Redis": lambda: RedisJournal(url, retention=1e6),
        }[kind]
        self.now = time.time()
        self.count = self.first = 0
        self.journal: Any = self._make()

    async def fill(self, count: int) -> None:
        """Have so many."""
        while self.count - self.first < count:
            size = max(10, min(_BATCH, count // 10))
            some = range(self.count, min(self.count + size, self.first + count))
            self.now += len(some)
            infos = [
                StreamInfo(
                    id=f"r{number}",
                    content_type="application/json",
                    created=self.now,
                )
                for number in some
            ]
            await asyncio.gather(*(self.journal.create(info, _RECORDS, closed=True) for info in infos))
            self.count = some[-1] + 1

    async def restart(self) -> float | None:
        """Return the seconds that a start takes; None for what forgets."""
        if self.kind == "memory":
            return None
        await self.journal.stop()
        self.journal = self._make()
        before = time.perf_counter()
        await self.journal.start()
        return time.perf_counter() - before

    async def look_up(self) -> list[float]:
        """Return the µs that it takes to read a response from its beginning, for some by chance."""
        taken = []
        chosen = random.Random(self.count)
        for _ in range(_LOOKS):
            name = f"r{chosen.randrange(self.first, self.count)}"
            before = time.perf_counter()
            log = await self.journal.open(name)
            records = log.take(0, 65_536) or await log.fetch(0, 65_536)
            taken.append((time.perf_counter() - before) * 1e6)
            assert list(records) == _RECORDS
        return taken

    async def remove(self) -> float | None:
        """Return the µs for each of all that are retained to be removed; None for a journal in a file or a server."""
        if self.kind != "memory":
            return None
        count = self.count - self.first
        self.now += 2 * _KEPT
        before = time.perf_counter()
        while self.journal._streams:  # noqa: SLF001
            self.journal.sweep()
            await asyncio.sleep(0)  # a commit removes them
        taken = time.perf_counter() - before
        self.first = self.count
        return taken / count * 1e6


async def _measure(kind: str, counts: tuple[int, ...]) -> dict[int, Retained]:
    found = {}
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = ""
        if kind == "Redis":
            server = RedisServer(directory)
            server.start()
            stack.callback(server.stop)
            url = server.url
        filled = _Filled(kind, directory, url)
        await filled.journal.start()
        try:
            for count in counts:
                await filled.fill(count)
                start = await filled.restart()
                taken = await filled.look_up()
                one = found[count] = Retained(
                    start, quantile(taken, 0.5), quantile(taken, 0.99), await filled.remove()
                )
                print(f"{kind:7} {count:8} retained: {one}", flush=True)
        finally:
            await filled.journal.stop()
    return found


def by_retained(
    kinds: tuple[str, ...] = KINDS, counts: tuple[int, ...] = COUNTS
) -> dict[str, dict[int, Retained]]:
    """Return what each journal costs with so many."""
    return {kind: uvloop.run(_measure(kind, counts)) for kind in kinds}
