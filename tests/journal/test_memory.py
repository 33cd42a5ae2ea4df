"""The journal in memory: what it lets go of, and what that costs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.journal_backends import Clock, info, is_there

from everytoken.journal import memory
from everytoken.journal.memory import MemoryJournal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RECORD = b'{"some": "record"}'


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def journal(clock: Clock) -> AsyncIterator[MemoryJournal]:
    journal = MemoryJournal(retention=100.0, now=clock)
    await journal.start()
    yield journal
    await journal.stop()


async def _end(journal: Any, *names: str) -> None:
    for name in names:
        await journal.create(info(name), [RECORD], closed=True)


async def test_what_is_too_old_goes_a_batch_at_a_time(
    journal: MemoryJournal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_BATCH", 10)
    await _end(journal, *(f"old{n}" for n in range(25)))
    clock.ahead += 99
    await _end(journal, "young")
    clock.ahead += 2
    journal.sweep()
    left = [sum([await is_there(journal, f"old{n}") for n in range(25)])]
    for n in range(3):
        await _end(journal, f"new{n}")  # whoever comes has some of them removed
        left.append(sum([await is_there(journal, f"old{n}") for n in range(25)]))
    assert left == [15, 5, 0, 0]
    assert await is_there(journal, "young")
    assert await is_there(journal, "new0")


async def test_beyond_the_size_the_oldest_go_at_once(clock: Clock) -> None:
    journal = MemoryJournal(max_bytes=20_000, now=clock)
    await _end(journal, *(f"s{n}" for n in range(400)))
    assert journal.size <= 20_000
    kept = [n for n in range(400) if await is_there(journal, f"s{n}")]
    assert kept == list(range(kept[0], 400))
    assert len(kept) > 50


async def _seconds_for_each(count: int) -> float:
    """Return the CPU that each of `count` takes that are removed, all of them too old."""
    clock = Clock()
    journal = MemoryJournal(retention=10.0, now=clock)
    await _end(journal, *(f"s{n}" for n in range(count)))
    clock.ahead += 20
    before = time.process_time()
    while await is_there(journal, f"s{count - 1}"):
        journal.sweep()
    return (time.process_time() - before) / count


async def test_removing_one_costs_the_same_however_many_are_kept() -> None:
    few = min([await _seconds_for_each(500) for _ in range(5)])
    assert await _seconds_for_each(40_000) < 4 * few
