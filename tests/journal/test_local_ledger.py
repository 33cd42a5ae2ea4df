"""The ledger of one process stays short, and loses nothing over it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from tests.journal_backends import info, is_there, read_all, until

from everytoken.errors import JournalUnavailableError, StreamNotFoundError
from everytoken.journal import local_ledger, local_ledger_stream
from everytoken.journal.ledger import Counters, Demand, Reservation
from everytoken.journal.local_ledger import LocalLedger
from everytoken.journal.local_ledger_stream import Entry, LedgerStream
from everytoken.journal.quota import OWN
from everytoken.journal.sqlite import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

NOW = 1_900_000_000.0
LONG = 20
NAMES = ("~ledger", "~ledger-2")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_ledger_stream, "LONG", LONG)
    monkeypatch.setattr(local_ledger, "_DELAY", 0.0)


def _total(amount: int, counter: str = "t") -> Demand:
    return Demand(counter, "total", amount, 0)


@contextlib.asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[tuple[LocalLedger, SqliteJournal]]:
    journal = SqliteJournal(path)
    await journal.start()
    ledger = LocalLedger(journal)
    await ledger.start()
    yield ledger, journal
    await ledger.stop()
    await journal.stop()


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    def again() -> AbstractAsyncContextManager[tuple[LocalLedger, SqliteJournal]]:
        return _opened(tmp_path / "journal.sqlite")

    return again


async def _spend(ledger: LocalLedger, count: int, name: str = "r") -> int:
    """Have so many responses reserve 5 and take 3; every fifth stays open. Return what all come to."""
    spent = 0
    for number in range(count):
        await ledger.reserve(f"{name}{number}", NOW, NOW + 1000, [_total(5)])
        if number % 5:
            await ledger.settle(f"{name}{number}", NOW, [3])
        spent += 3 if number % 5 else 5
    return spent


async def _lengths(journal: Any) -> list[int]:
    found = []
    for name in NAMES:
        with contextlib.suppress(StreamNotFoundError):
            found.append((await journal.open(name)).tail)
    return found


async def test_it_stays_short_while_it_runs_and_nothing_is_lost(opened: Any) -> None:
    async with opened() as (ledger, journal):
        spent = await _spend(ledger, 200)
        for _ in range(4):  # which has the 40 that are open in it each time
            await _spend(ledger, 0)
        await ledger.stop()
        (length,) = await _lengths(journal)
        assert length <= 40 + 2 * LONG + 1
    async with opened() as (ledger, journal):
        assert await ledger.totals(["t"]) == [spent]
        assert len(await ledger.open_before(NOW + 1)) == 40
        spent += await _spend(ledger, 100, "more")
    async with opened() as (ledger, _):
        assert await ledger.totals(["t"]) == [spent]


async def test_a_death_before_the_one_before_goes_counts_nothing_twice(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget = LedgerStream._forget

    async def leave(self: Any, name: str) -> None:
        if name != self._name and self._generation:
            raise JournalUnavailableError("dead")
        await forget(self, name)

    async with opened() as (ledger, journal):
        monkeypatch.setattr(LedgerStream, "_forget", leave)
        spent = await _spend(ledger, 30)
        await until(lambda: ledger._stream._generation == 1 and ledger._renewing is None)
        spent += await _spend(ledger, 3, "after")
        await ledger.stop()
        assert len(await _lengths(journal)) == 2
    monkeypatch.undo()
    async with opened() as (ledger, journal):
        assert await ledger.totals(["t"]) == [spent]
        assert len(await _lengths(journal)) == 1, "the one before is gone"


async def test_one_that_was_never_finished_does_not_count(opened: Any) -> None:
    encode = local_ledger_stream._encode
    async with opened() as (ledger, journal):
        spent = await _spend(ledger, 3)
        await ledger.stop()
        begun = [encode(Entry(totals={"t": 1}, generation=1, entries=3)), encode(Entry("x"))]
        await journal.create(info(NAMES[1], shared=True, owner=OWN), begun)
    async with opened() as (ledger, journal):
        assert await ledger.totals(["t"]) == [spent]
        with pytest.raises(StreamNotFoundError):
            await journal.open(NAMES[1])


async def test_what_was_on_its_way_counts_once_in_whatever_order_it_comes(opened: Any) -> None:
    encode = local_ledger_stream._encode
    reserved = Entry("r", reserved=Reservation(int(NOW), NOW + 1000, [_total(5)]))
    beginning = Entry(totals={"t": 10}, used={"t": int(NOW)}, generation=1, entries=2)
    entries = [beginning, reserved, Entry("r", settled=[3], at=NOW), reserved]
    async with opened() as (_, journal):
        await journal.create(info(NAMES[1], shared=True, owner=OWN), [encode(entry) for entry in entries])
    async with opened() as (ledger, _):
        assert await ledger.totals(["t"]) == [13]
        assert await ledger.open_before(NOW + 1000) == []


@pytest.mark.parametrize("step", ["create", "delete"])
async def test_one_that_cannot_be_begun_leaves_everything_as_it_was(
    opened: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    async with opened() as (ledger, journal):
        await _spend(ledger, 1, "first")

        async def fail(*_: Any, **__: Any) -> None:
            raise JournalUnavailableError("the disk is full")

        monkeypatch.setattr(journal, step, fail)
        spent = 5 + await _spend(ledger, 60)
        await ledger.stop()
        said = [one for one in caplog.messages if "could not be shortened: the disk is full" in one]
        assert 1 <= len(said) <= 60 * 2 // LONG, "not with each entry"
        monkeypatch.undo()
    async with opened() as (ledger, _):
        assert await ledger.totals(["t"]) == [spent]


async def test_what_is_not_used_for_a_year_is_not_kept(opened: Any) -> None:
    async with opened() as (ledger, journal):
        await ledger.reserve("old", NOW - 500 * 86_400, NOW, [_total(5, "2029")])
        await ledger.settle("old", NOW - 500 * 86_400, [5])
        spent = await _spend(ledger, 60)
        await ledger.stop()
        (log,) = [await journal.open(name) for name in NAMES if await is_there(journal, name)]
        assert b"2029" not in b"".join(await read_all(log))
    async with opened() as (ledger, _):
        assert await ledger.totals(["t", "2029"]) == [spent, 0]


def test_windows_of_keys_that_ask_no_more_are_forgotten() -> None:
    counters = Counters()
    for number in range(20_000):
        demand = Demand(f"key:{number}", "window", 1, 10)
        counters.reserve(f"r{number}", NOW + number, NOW + number + 1000, [demand])
        counters.settle(f"r{number}", NOW + number, [1])
    assert len(counters._windows) < 4_000
    assert counters._windows["key:19999"] == {int(NOW) + 19_999: 1}
