"""The contract of a ledger: in one process, over a restart, and in Redis with several nodes."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.journal_backends import BACKENDS

from everytoken.journal.ledger import Demand, Refusal
from everytoken.journal.local_ledger import LocalLedger, ledger_of
from gateway_serving import limit

NOW = 1_900_000_000.25
LATER = NOW + 1000


def window(amount=1, limit=10, counter="w"):
    return Demand(counter, "window", amount, limit)


def running(limit=2, counter="r"):
    return Demand(counter, "running", 1, limit)


def total(amount=1, limit=10, counter="t"):
    return Demand(counter, "total", amount, limit)


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres", "of the docs"])
async def backend(request, tmp_path):
    kind = BACKENDS[request.param](tmp_path)
    kind.opened = []

    async def opened():
        journal = await kind.open()
        ledger = ledger_of(journal)
        if isinstance(ledger, LocalLedger):
            await ledger.start()
            kind.opened.append(ledger)
        kind.opened.append(journal)
        return ledger

    async def stop():
        while kind.opened:
            await kind.opened.pop(0).stop()

    kind.ledger, kind.stop = opened, stop
    async with limit():
        yield kind
    await stop()


@pytest.fixture
async def ledger(backend):
    return await backend.ledger()


@pytest.mark.parametrize("demand", [window, running, total])
async def test_as_much_is_granted_as_the_limit_says(ledger, demand):
    most = demand().limit
    left = [await ledger.reserve(f"r{n}", NOW, LATER, [demand()]) for n in range(most)]
    assert left == [[most - n - 1] for n in range(most)]
    refused = await ledger.reserve("more", NOW, LATER, [demand()])
    assert isinstance(refused, Refusal)
    assert refused.demand == 0


async def test_all_is_granted_or_nothing(ledger):
    demands = [window(), running(1), total()]
    assert await ledger.reserve("a", NOW, LATER, demands) == [9, 0, 9]
    assert (await ledger.reserve("b", NOW, LATER, demands)).demand == 1
    await ledger.settle("a", NOW, [1, 1, 1])
    assert await ledger.reserve("c", NOW, LATER, demands) == [8, 0, 8]


async def test_what_was_taken_replaces_what_was_reserved(ledger):
    await ledger.reserve("a", NOW, LATER, [window(8), total(8)])
    assert await ledger.settle("a", NOW + 1, [3, 9])
    assert await ledger.totals(["t", "other"]) == [9, 0]
    assert await ledger.reserve("b", NOW + 1, LATER, [window(7), total(1)]) == [0, 0]
    assert not await ledger.settle("a", NOW + 1, [0, 0]), "once is enough"
    assert await ledger.totals(["t"]) == [10]


async def test_a_window_moves(ledger):
    for second in range(10):
        await ledger.reserve(f"r{second}", NOW + second, LATER, [window()])
    refused = await ledger.reserve("x", NOW + 20, LATER, [window(3)])
    assert refused.retry_after == pytest.approx(62 - 0.25 - 20, abs=0.01), "until the third second is over"
    assert isinstance(await ledger.reserve("x", NOW + 61.5, LATER, [window(3)]), Refusal)
    assert await ledger.reserve("x", NOW + 61.75, LATER, [window(3)]) == [0]
    assert (await ledger.reserve("y", NOW + 62, LATER, [window(11)])).retry_after is None


async def test_who_runs_for_ever_is_forgotten(ledger):
    await ledger.reserve("a", NOW, NOW + 100, [running(1)])
    assert (await ledger.reserve("b", NOW + 99, LATER, [running(1)])).retry_after == 1.0
    assert await ledger.reserve("b", NOW + 101, LATER, [running(1)]) == [0]


async def test_the_same_name_is_reserved_once(ledger):
    assert await ledger.reserve("a", NOW, LATER, [window(5)]) == [5]
    assert await ledger.reserve("a", NOW, LATER, [window(5)]) == [5]
    assert await ledger.reserve("b", NOW, LATER, [window(5)]) == [0]


async def test_without_a_limit_it_is_counted(ledger):
    assert await ledger.reserve("a", NOW, LATER, [total(1000, 0), window(1000, 0)]) == [0, 0]
    await ledger.settle("a", NOW, [1234, 0])
    assert await ledger.totals(["t"]) == [1234]


async def test_what_is_open_is_known(ledger):
    await ledger.reserve("a", NOW, LATER, [total(2)])
    await ledger.reserve("b", NOW + 10, LATER, [total(3)])
    ((name, found),) = await ledger.open_before(NOW + 5)
    assert (name, found.demands) == ("a", [total(2)])
    await ledger.settle("a", NOW, [0])
    assert await ledger.open_before(NOW + 5) == []


async def test_money_outlives_the_process(backend):
    if not backend.durable:
        pytest.skip("it forgets everything")
    ledger = await backend.ledger()
    await ledger.reserve("a", NOW, LATER, [total(5, 100), window(5)])
    await ledger.settle("a", NOW, [7, 5])
    await ledger.reserve("b", NOW, LATER, [total(20, 100)])
    await backend.stop()
    ledger = await backend.ledger()
    assert await ledger.totals(["t"]) == [27]
    assert [name for name, _ in await ledger.open_before(LATER)] == ["b"]
    assert await ledger.settle("b", NOW, [1])
    assert await ledger.totals(["t"]) == [8]


async def test_what_has_become_long_is_written_anew(backend, monkeypatch):
    monkeypatch.setattr("everytoken.journal.local_ledger_stream.LONG", 10)
    if not backend.durable:
        pytest.skip("it forgets everything")
    ledger = await backend.ledger()
    for number in range(20):
        await ledger.reserve(f"r{number}", NOW, LATER, [total(1, 0)])
        if number:
            await ledger.settle(f"r{number}", NOW, [2])
    for _ in range(3):
        await backend.stop()
        ledger = await backend.ledger()
        assert await ledger.totals(["t"]) == [39]
    await ledger.settle("r0", NOW, [0])
    assert await ledger.totals(["t"]) == [38]


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_many_do_at_once_no_limit_is_passed_and_sums_are_exact(backend, seed):
    chance = random.Random(seed)
    nodes = [await backend.ledger()]
    if backend.durable and type(nodes[0]).__name__ == "RedisLedger":
        nodes.append(await backend.ledger())
    granted = []
    spent = 0

    async def one(number):
        nonlocal spent
        ledger, estimate = chance.choice(nodes), chance.randint(1, 9)
        demands = [window(1, 30), window(estimate, 150, "tokens"), running(8), total(estimate, 10_000)]
        now = NOW + number / 100
        if isinstance(await ledger.reserve(f"r{number}", now, LATER, demands), Refusal):
            return
        granted.append((now, estimate))
        assert len(granted) <= 30
        await asyncio.sleep(0)
        taken = chance.randint(0, estimate)
        spent += taken
        await chance.choice(nodes).settle(f"r{number}", now, [1, taken, 1, taken])

    await asyncio.gather(*(one(number) for number in range(200)))
    assert (await nodes[0].totals(["t"])) == [spent]
    assert granted
    assert spent <= 150
    assert await nodes[0].open_before(LATER) == []
