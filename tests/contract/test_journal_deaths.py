"""A kill -9 between any two operations of a journal (see `tests/journal_deaths.py`), and two writers at once."""

from __future__ import annotations

import asyncio
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.journal_backends import BACKENDS, Reader, info, read_all, shared_postgres, shared_redis, until

from everytoken.errors import FencedError
from sampling import SOAK

if TYPE_CHECKING:
    from everytoken.journal import Journal, Writer

EVERY = {"sqlite": 3, "redis": 3, "postgres": 8}  # steps there is a death; at each in the soak
SHARED = ("redis", "postgres")
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["sqlite", "redis", "postgres"])
def test_a_kill_between_any_two_operations_loses_nothing_that_was_acknowledged(
    kind: str, tmp_path: Path
) -> None:
    every = 1 if SOAK else EVERY[kind]
    places = {"redis": lambda: shared_redis().url, "postgres": lambda: shared_postgres().url}
    place = places[kind]() if kind in places else str(tmp_path / "journals")
    done = subprocess.run(
        [sys.executable, "-m", "tests.journal_deaths", kind, place, str(every)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=ROOT,
    )
    found = re.fullmatch(r"(\d+) deaths\n", done.stdout)
    assert found is not None, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert int(found[1]) > 50 // every


@pytest.mark.parametrize("kind", list(BACKENDS))
async def test_of_two_writers_at_once_only_the_later_one_adds_and_readers_see_what_is_stored(
    kind: str, tmp_path: Path
) -> None:
    """In a server the two are on different nodes; a file and memory have one process."""
    backend: Any = BACKENDS[kind](tmp_path)
    nodes: list[Journal] = [await backend.open() for _ in range(2 if kind in SHARED else 1)]
    chance = random.Random(5)
    writers: list[Writer] = [await nodes[0].create(info())]
    readers = [asyncio.create_task(Reader(await node.open("s")).run()) for node in nodes]
    sent: dict[int, int] = {0: 0}
    for _ in range(120):
        for epoch, writer in enumerate(writers[-2:], max(0, len(writers) - 2)):
            try:
                writer.append([b"%d.%d" % (epoch, sent[epoch])])
                sent[epoch] += 1
            except FencedError:
                assert writer is not writers[-1]
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        if chance.random() < 0.15:
            sent[len(writers)] = 0
            writers.append(await nodes[len(writers) % len(nodes)].claim("s"))
    writers[-1].close([b"end"], {})
    # Another node hears of it a moment later than the writer's.
    log = await nodes[0].open("s")
    await until(lambda: writers[-1].log.closed and log.closed)
    stored = await read_all(log)
    assert [list(one) for one in await asyncio.gather(*readers)] == [stored] * len(nodes)
    assert stored.pop() == b"end"
    pairs = [tuple(map(int, one.split(b"."))) for one in stored]
    assert pairs == sorted(pairs), (
        "nothing of an earlier writer comes behind a later one's, or behind its own"
    )
    for epoch, count in sent.items():
        own = [number for of, number in pairs if of == epoch]
        assert own == list(range(len(own))), "and none of its records is left out"
        # What one process has been given before a claim is stored; another node's claim may come before it.
        assert len(own) == count if len(nodes) == 1 else len(own) <= count
    assert len(writers) > 8
    for node in nodes:
        await node.stop()
