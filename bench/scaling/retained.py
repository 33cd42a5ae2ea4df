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

COUNTS: Final = (100, 1_000, 10_000, 100_000, 1_000_000)
KINDS: Final = ("memory", "SQLite", "Redis")
_BATCH: Final = 500  # responses that are made at once, at most
_LOOKS: Final = 300
_REMOVED: Final = 10_000  # responses whose removal is measured in SQLite, at most
_COMMITS: Final = 50  # between two looks at how many are left
_RECORDS: Final = [chunk(number) for number in range(5)]
_KEPT: Final = 1e6  # seconds; the clock of the local journals is ours
_ROOM: Final = 2**50


class Retained(NamedTuple):
    """`start`: seconds; a lookup, the median and p99: µs; `removed`: µs of CPU for each response that is removed. None: not its own."""

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
        self.count = 0
        self.journal: Any = self._make()

    async def fill(self, count: int) -> None:
        """Have so many."""
        while self.count < count:
            size = max(10, min(_BATCH, count // 10))
            some = range(self.count, min(self.count + size, count))
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
            name = f"r{chosen.randrange(self.count)}"
            before = time.perf_counter()
            log = await self.journal.open(name)
            records = log.take(0, 65_536) or await log.fetch(0, 65_536)
            taken.append((time.perf_counter() - before) * 1e6)
            assert list(records) == _RECORDS
        return taken

    async def remove(self) -> float | None:
        """Return the µs of CPU for each that is removed, all of them being too old; None for a server's own work."""
        if self.kind == "Redis":
            return None
        while self.kind == "SQLite" and self.journal._ended:  # noqa: SLF001  # those that a start has found count from then
            self.journal._since_tidy = 10**6  # noqa: SLF001
            self.journal._commit.soon()  # noqa: SLF001
            await asyncio.sleep(0)
        self.now += 2 * _KEPT
        before = time.process_time()
        removed = await (self._remove_all() if self.kind == "memory" else self._remove_some())
        return (time.process_time() - before) / removed * 1e6

    async def _remove_all(self) -> int:
        while self.journal._streams:  # noqa: SLF001
            self.journal.sweep()
            await asyncio.sleep(0)  # a commit removes them
        return self.count

    async def _remove_some(self) -> int:
        """Have commits remove them, one after the other and not every 20 ms."""
        wanted, left = min(self.count, _REMOVED), self.count
        self.journal.sweep()
        while left > self.count - wanted:
            for _ in range(_COMMITS):
                self.journal._commit.soon()  # noqa: SLF001
                await asyncio.sleep(0)
            ((left,),) = self.journal._file.look_up("SELECT count(*) FROM streams")  # noqa: SLF001
        return self.count - int(left)


async def _measure(kind: str, counts: tuple[int, ...]) -> dict[int, Retained]:
    found = {}
    for count in counts:
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
