"""Steps from a journal: exact, whatever their length, and read once."""

from __future__ import annotations

import asyncio

import pytest
from tests.journal_backends import BACKENDS

from everytoken.gateway.console.overview import Overview
from everytoken.gateway.requestlog.kept import Kept
from everytoken.journal.memory import MemoryJournal
from gateway_serving import limit
from made_entries import keep, made

AT = 1_900_000_000.0  # 2800 seconds into an hour
HOUR = 3600.0


class Watched(Kept):
    """Counts what is read."""

    read = 0

    async def records(self, hour, offset):
        async for some in super().records(hour, offset):
            self.read += len(some)
            yield some


@pytest.fixture
async def journal():
    opened = MemoryJournal()
    await opened.start()
    async with limit():
        yield opened
    await opened.stop()


def looking(journal, now=lambda: AT):
    kept = Watched(journal, 7 * 86_400.0, now)
    return kept, Overview(kept, now)


async def look(overview, span, seconds):
    return await overview.steps(int((AT - span) // seconds), int(AT // seconds), seconds)


@pytest.mark.parametrize(
    ("span", "seconds"), [(6 * HOUR, 60.0), (6 * HOUR, 600.0), (6 * HOUR, 3600.0), (HOUR, 7.0)]
)
async def test_the_sums_are_those_of_the_entries(journal, span, seconds):
    await keep(journal, 500, AT, 5 * HOUR)
    _, overview = looking(journal)
    steps = await look(overview, span, seconds)
    first = int((AT - span) // seconds) * seconds
    begun = [entry for entry in made(500, AT, 5 * HOUR) if entry["at"] >= first]
    ended = [entry for entry in made(500, AT, 5 * HOUR) if entry["at"] + entry["seconds"] >= first]
    shown = [step.shown() for step in steps.values()]
    assert sum(one["begun"] for one in shown) == len(begun)
    assert sum(one["ended"] for one in shown) == len(ended)
    assert sum(one["cost"] for one in shown) == pytest.approx(sum(entry["cost"] for entry in ended))
    assert sum(one["tokens"]["output"] for one in shown) == sum(entry["tokens"]["output"] for entry in ended)


@pytest.mark.parametrize("backend", ["sqlite", "redis"])
async def test_all_journals_that_keep_a_log_can_be_counted(backend, tmp_path):
    opened = await BACKENDS[backend](tmp_path).open()
    async with limit():
        await keep(opened, 50, AT, 2 * HOUR)
        _, overview = looking(opened)
        steps = await look(overview, 3 * HOUR, 600.0)
        assert sum(step.begun for step in steps.values()) == 50
    await opened.stop()


async def test_what_was_read_is_not_read_again(journal):
    await keep(journal, 300, AT, 5 * HOUR)
    kept, overview = looking(journal)
    for _ in range(2):
        await look(overview, 6 * HOUR, 600.0)
    await look(overview, 6 * HOUR, 3600.0)
    assert kept.read == 300
    kept.add(next(made(1, AT, 1.0)))
    steps = await look(overview, 6 * HOUR, 600.0)
    assert kept.read == 301
    assert sum(step.begun for step in steps.values()) == 301


async def test_many_who_look_at_once_read_once(journal):
    await keep(journal, 300, AT, 5 * HOUR)
    kept, overview = looking(journal)
    found = await asyncio.gather(*(look(overview, 6 * HOUR, 600.0) for _ in range(5)))
    assert kept.read == 300
    assert {sum(step.begun for step in steps.values()) for steps in found} == {300}


async def test_an_hour_is_read_until_nobody_adds_to_it_any_more(journal):
    now = AT
    kept, overview = looking(journal, lambda: now)
    for later in (0.0, 850.0, 3000.0):
        before = Kept(journal, 7 * 86_400.0, lambda: AT)  # a node whose clock is late
        before.add(next(made(1, AT, 1.0)))
        await before.flush()
        now = AT + later
        await overview.steps(int(AT // 60) - 10, int(now // 60), 60.0)
    assert kept.read == 2 + 1, "the third look, long after the hour, was the last"
    before.add(next(made(1, AT, 1.0)))
    await before.flush()
    await overview.steps(int(AT // 60) - 10, int(now // 60), 60.0)
    assert kept.read == 3


async def test_memory_has_a_limit(journal, monkeypatch):
    monkeypatch.setattr("everytoken.gateway.console.overview._STEPS", 50)
    await keep(journal, 300, AT, 5 * HOUR)
    _, overview = looking(journal)
    for seconds in (60.0, 61.0, 62.0):
        assert sum(step.begun for step in (await look(overview, 6 * HOUR, seconds)).values()) == 300
    assert sum(len(hour.tally.steps) + 1 for hour in overview._hours.values()) <= 61
