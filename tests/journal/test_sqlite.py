"""The SQLite journal: what happens when the process dies, and when the file will not do as it should."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.journal_backends import Clock, info, read_all, until
from tests.journal_process import LENGTH, record

import everytoken.journal.sqlite as sqlite_module
import everytoken.journal.sqlite_file as file_module
from everytoken.errors import (
    ConfigurationError,
    JournalUnavailableError,
    ProducerStaleError,
    SequenceConflictError,
    StreamNotFoundError,
)
from everytoken.journal import Append, Producer, sqlite_tail, sqlite_tidying
from everytoken.journal.sqlite import SqliteJournal
from everytoken.journal.urls import journal_at

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PROCESS = Path(__file__).parents[1] / "journal_process.py"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(path, now=Clock())
    await journal.start()
    yield journal
    await journal.stop()


def _chunks(count: int, start: int = 0) -> list[bytes]:
    return [record("s", n) for n in range(start, start + count)]


async def _append(writer: Any, records: list[bytes]) -> None:
    due = writer.log.tail + len(records)
    writer.append(records)
    await until(lambda: writer.log.tail == due)


# The death of the process


def _run_until_it_dies(path: Path, seed: int, commits: int, when: str) -> dict[str, tuple[int, bool]]:
    done = subprocess.run(
        [sys.executable, PROCESS, path, str(seed), str(commits), when],
        capture_output=True,
        timeout=30,
        check=False,
        cwd=PROCESS.parents[1],
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    told: dict[str, tuple[int, bool]] = {}
    for line in done.stdout.decode().splitlines():
        name, tail, closed = line.split()
        told[name] = (int(tail), closed == "1")
    return told


async def _check_all(path: Path, told: dict[str, tuple[int, bool]]) -> None:
    journal = SqliteJournal(path)
    await journal.start()
    orphans = await journal.orphans()
    for name, (tail, closed) in told.items():
        log = await journal.open(name)
        assert log.tail >= tail
        assert log.closed or not closed
        assert log.closed == (log.tail == LENGTH)
        assert await read_all(log) == [record(name, n) for n in range(log.tail)]
        assert (name in orphans) == (not log.closed)
    await journal.stop()


def test_what_was_acknowledged_is_there_after_a_kill_at_any_commit(path: Path) -> None:
    chance = random.Random(11)
    told: dict[str, tuple[int, bool]] = {}
    for seed in range(10):
        commits = chance.choice([1, 2, 3, 5, 17, 40, 90, 160])
        told |= _run_until_it_dies(path, seed, commits, chance.choice(["before", "after"]))
        asyncio.run(_check_all(path, told))
    assert sum(closed for _, closed in told.values()) > 10
    assert sum(tail for tail, _ in told.values()) > 500


# Starting


async def test_a_second_process_is_refused_in_one_line(journal: SqliteJournal, path: Path) -> None:
    other = SqliteJournal(path)
    with pytest.raises(ConfigurationError) as refused:
        await other.start()
    assert "is in use by another process" in str(refused.value)
    assert "\n" not in str(refused.value)
    await journal.create(info())


async def test_a_file_of_a_newer_version_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConfigurationError, match="made by a newer everytoken"):
        await SqliteJournal(path).start()


@pytest.mark.parametrize("version", [1, 2])
async def test_a_file_of_an_earlier_version_is_read(path: Path, version: int) -> None:
    """What stands in a file is a promise: these dumps are of files that versions made, and must be read for ever."""
    script = (Path(__file__).parents[1] / "fixtures" / f"journal-version-{version}.sql").read_text()
    db = sqlite3.connect(path)
    db.executescript(script)
    db.close()
    journal = SqliteJournal(path)
    await journal.start()
    ended = await journal.open("ended")
    assert (ended.closed, ended.info.result, ended.info.owner) == (True, {"outcome": "completed"}, "me")
    assert await read_all(ended) == _chunks(5)
    still_open = await journal.open("open")
    assert (still_open.closed, still_open.info.epoch, still_open.info.meta) == (
        False,
        1,
        {"request": {"model": "m"}},
    )
    assert await read_all(still_open) == _chunks(7)
    if version == 1:
        done = await journal.submit("shared", Append(records=[b"1"], producer=Producer("p", 0, 0)))
        assert done.duplicate
    else:
        await _knows_its_producers(journal)
        await journal.stop()
        journal = SqliteJournal(path)
        await journal.start()
        await _knows_its_producers(journal)
        assert journal._usage._owners["you"].streams == 1
        assert journal._usage._owners["me"].streams == 2
    await journal.stop()


async def _knows_its_producers(journal: SqliteJournal) -> None:
    for name, last in (("shared-ended", 1), ("shared-segment", 2), ("shared-log", 0)):
        for producer, seq in (("p", 2), ("q", last)):
            again = Append(records=[b"again"], producer=Producer(producer, 2, seq))
            assert (await journal.submit(name, again)).duplicate
            with pytest.raises(ProducerStaleError):
                await journal.submit(name, Append(records=[b"no"], producer=Producer(producer, 1, 0)))
    with pytest.raises(SequenceConflictError):
        await journal.submit("shared-log", Append(records=[b"no"], sequence="q0"))
    assert await read_all(await journal.open("shared-segment")) == [b"p0", b"p1", b"p2", b"q0", b"r", b"s"]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"this is no database, it is a text" * 100, id="another file"),
        pytest.param(
            lambda data: data[:100] + b"\xff" * (len(data) - 100), id="all but the header overwritten"
        ),
        pytest.param(lambda data: data[: len(data) // 2], id="half of it missing"),
    ],
)
async def test_a_damaged_file_is_refused_in_one_line_and_let_go(
    path: Path, damage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = SqliteJournal(path)
    await journal.start()
    await (await _ended(journal, "s", 500)).fetch(0, 1)
    await journal.create(info("open"), _chunks(500))
    await journal.stop()
    _damage(path, damage)
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **more: opened.append(connect(*args, **more)) or opened[-1]
    )
    with pytest.raises(ConfigurationError) as refused:
        await SqliteJournal(path).start()
    assert "cannot be used" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert opened
    for db in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            db.execute("SELECT 1")


def _damage(path: Path, damage: Any) -> None:
    path.write_bytes(damage(path.read_bytes()))


async def test_a_place_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        await SqliteJournal(tmp_path / "file" / "journal.sqlite").start()


async def test_only_its_owner_can_read_the_file(journal: SqliteJournal, path: Path) -> None:
    await journal.create(info())
    modes = await asyncio.to_thread(
        lambda: {file.name: file.stat().st_mode & 0o077 for file in path.parent.iterdir()}
    )
    assert modes == {f"journal.sqlite{end}": 0 for end in ("", "-wal", "-shm", "-tail", ".lock")}


def test_unused_files_of_other_ports_are_cleaned_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_data_path", lambda name: tmp_path)
    old, idle, young = (tmp_path / f"journal-{port}.sqlite" for port in (1, 2, 3))
    files = [file_module.SqliteFile(path, sync=False) for path in (old, idle, young)]
    for file in files:
        file.open()
    files[0].close()
    files[2].close()
    for path in [*tmp_path.glob(f"{old.name}*"), *tmp_path.glob(f"{idle.name}*")]:
        os.utime(path, (1.0, 1.0))
    journal_at("", port=4, retention=100.0, max_bytes=1, durability="process", lease=10.0)
    assert {path.name for path in tmp_path.glob("*.sqlite")} == {idle.name, young.name}
    assert not list(tmp_path.glob(f"{old.name}*"))
    files[1].close()


@pytest.mark.parametrize(
    ("url", "path"), [("sqlite:///a/b.db", Path("a/b.db")), ("sqlite:////a/b.db", Path("/a/b.db"))]
)
def test_urls(url: str, path: Path) -> None:
    journal: Any = journal_at(url, port=4, retention=100.0, max_bytes=1, durability="process", lease=10.0)
    assert journal._file._path == path


@pytest.mark.parametrize(
    "url", ["sqlite://a/b", "sqlite:/a/b", "sqlite:a", "sqlite:", "sqlite:///", "mysql://h/d", "x"]
)
def test_what_is_no_journal_is_said_so(url: str) -> None:
    with pytest.raises(ConfigurationError):
        journal_at(url, port=4, retention=100.0, max_bytes=1, durability="process", lease=10.0)


# A file that does not take what it is given


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have every commit fail, until told otherwise."""

    class Failing:
        error: Exception | None = None
        calls = 0

    execute = file_module.SqliteFile.execute

    def unwilling(self: Any, statements: Any) -> None:
        Failing.calls += 1
        if Failing.error is not None:
            raise Failing.error
        execute(self, statements)

    monkeypatch.setattr(file_module.SqliteFile, "execute", unwilling)
    return Failing


FULL = JournalUnavailableError("SQLite: database or disk is full")


async def test_a_full_disk_acknowledges_nothing_and_everything_goes_on_after(journal: Any) -> None:
    writer = await journal.create(info())
    await _append(writer, _chunks(3))
    await journal.create(info("shared", shared=True))
    (pages,) = journal._file.write.execute("PRAGMA page_count").fetchone()
    journal._file.write.execute(f"PRAGMA max_page_count = {pages}")
    large = b"x" * 100_000  # more than fits into what is free
    writer.append([large])
    with pytest.raises(JournalUnavailableError, match="full"):
        await journal.submit("shared", Append(records=[large], producer=Producer("p", 0, 0)))
    assert writer.log.tail == 3
    with pytest.raises(JournalUnavailableError):
        await journal.create(info("new"))
    with pytest.raises(StreamNotFoundError):
        await journal.open("new")
    assert await read_all(writer.log) == _chunks(3), "what is stored can be read"
    writer.append(_chunks(1, 3))
    journal._file.write.execute("PRAGMA max_page_count = 1000000")
    await until(lambda: writer.log.tail == 5)
    assert await read_all(writer.log) == [*_chunks(3), large, *_chunks(1, 3)]
    done = await journal.submit("shared", Append(records=[b"1"], producer=Producer("p", 0, 0)))
    assert (done.tail, done.duplicate) == (1, False), "what was refused is not there"
    await journal.create(info("new"))


async def test_who_is_refused_is_not_stored_later(journal: SqliteJournal, failing: Any) -> None:
    await journal.create(info(shared=True))
    failing.error = FULL
    for _ in range(2):
        with pytest.raises(JournalUnavailableError):
            await journal.submit("s", Append(records=[b"refused"], close=True))
    failing.error = None
    await until(lambda: not journal._commit.failing)
    log = await journal.open("s")
    assert (log.tail, log.closed) == (0, False)
    assert (await journal.submit("s", Append(records=[b"accepted"]))).tail == 1


async def test_a_writer_is_full_while_nothing_can_be_stored(journal: SqliteJournal, failing: Any) -> None:
    writer = await journal.create(info())
    failing.error = FULL
    for _ in range(4):
        assert not writer.full
        writer.append([b"x" * 300_000])
    assert writer.full
    await asyncio.sleep(0)
    assert writer.full
    failing.error = None
    await until(lambda: writer.log.tail == 4)
    assert not writer.full


@pytest.fixture
def no_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every commit stand in the database at once."""
    monkeypatch.setattr(sqlite_tail, "ROW", -1)


@pytest.mark.usefixtures("no_tail")
async def test_a_database_locked_for_a_moment_is_waited_for(journal: Any, path: Path) -> None:
    other = await asyncio.to_thread(sqlite3.connect, path, isolation_level=None, check_same_thread=False)
    await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
    creating = asyncio.create_task(journal.create(info()))
    await until(lambda: journal._commit._retry)
    assert not creating.done()
    await asyncio.to_thread(other.execute, "ROLLBACK")
    writer = await creating
    await _append(writer, [b"1"])
    await asyncio.to_thread(other.close)


@pytest.mark.usefixtures("no_tail")
async def test_a_database_locked_for_long_is_an_error_of_its_own(
    journal: Any, path: Path, caplog: Any
) -> None:
    writer = await journal.create(info())
    other = await asyncio.to_thread(sqlite3.connect, path, isolation_level=None, check_same_thread=False)
    await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
    writer.append([b"1"])
    await until(lambda: journal._commit._retry)
    journal._commit._failing_since -= 10  # as if that had been going on for long
    with pytest.raises(JournalUnavailableError, match="locked"):
        await journal.create(info("new"))
    assert writer.log.tail == 0
    await asyncio.to_thread(other.execute, "ROLLBACK")
    await until(lambda: writer.log.tail == 1)
    await asyncio.to_thread(other.close)
    assert caplog.text.count("cannot store") == 1
    assert caplog.text.count("stores again") == 1


async def test_damage_while_running_is_an_error_where_it_is_and_nowhere_else(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.start()
    await _ended(journal, "whole", 100)
    await _ended(journal, "damaged", 100)
    await journal.stop()
    db = sqlite3.connect(path)
    db.execute("UPDATE segments SET records = x'93' WHERE stream = 2")
    db.commit()
    db.close()
    journal = SqliteJournal(path)
    await journal.start()
    damaged = await journal.open("damaged")
    with pytest.raises(JournalUnavailableError):
        await damaged.fetch(0, 100)
    assert await read_all(await journal.open("whole")) == _chunks(100)
    await _append(await journal.create(info("new")), [b"1"])
    await journal.stop()


# Room


async def _ended(journal: Any, name: str, count: int, **more: Any) -> Any:
    """Return a stream that has ended and stands in the tables."""
    writer = await journal.create(info(name, **more), _chunks(count))
    writer.close([], {"outcome": "completed"})
    await until(lambda: writer.log.closed)
    journal._since_tidy = sqlite_tidying.TIDY
    journal._commit.soon()
    await until(lambda: name not in journal._streams)
    return await journal.open(name)


async def _swept(journal: Any) -> None:
    journal.sweep()
    await until(lambda: not journal._sweeping)


async def test_ended_streams_go_when_they_are_too_old(path: Path) -> None:
    clock = Clock()
    journal = SqliteJournal(path, retention=100, now=clock)
    await journal.start()
    await _ended(journal, "old", 10)
    clock.ahead += 60
    await _ended(journal, "young", 10)
    still_open = await journal.create(info("open"), _chunks(1))
    clock.ahead += 60
    await _swept(journal)
    with pytest.raises(StreamNotFoundError):
        await journal.open("old")
    assert (await journal.open("young")).tail == 10
    await _append(still_open, _chunks(1, 1))
    await journal.stop()


async def test_the_oldest_ended_streams_go_when_there_are_too_many(path: Path) -> None:
    journal = SqliteJournal(path, max_bytes=20_000)
    await journal.start()
    noise = random.Random(1)
    for n in range(10):
        writer = await journal.create(info(f"s{n}"), [noise.randbytes(5000)])
        writer.close([], {})
        await until(lambda: writer.log.closed)  # noqa: B023
        await _swept(journal)  # the first makes it stand in the tables, the second counts it
        await _swept(journal)
    left = [name for name in (f"s{n}" for n in range(10)) if journal._look_up(name) is not None]
    assert left == ["s7", "s8", "s9"]
    assert journal._ended_bytes <= 20_000
    await journal.stop()
    again = SqliteJournal(path, max_bytes=20_000)
    await again.start()
    assert again._ended_bytes == journal._ended_bytes
    await again.stop()


async def test_ttl_counts_for_ended_streams_and_over_a_new_start(path: Path) -> None:
    clock = Clock()
    journal = SqliteJournal(path, now=clock)
    await journal.start()
    await _ended(journal, "s", 3, ttl=100, created=clock())
    clock.ahead += 90
    await journal.open("s")
    await _swept(journal)
    await journal.stop()
    journal = SqliteJournal(path, now=clock)
    await journal.start()
    clock.ahead += 90
    await _swept(journal)
    assert (await journal.open("s", touch=False)).tail == 3
    clock.ahead += 11
    with pytest.raises(StreamNotFoundError):
        await journal.open("s")
    await _swept(journal)
    assert journal._file.look_up("SELECT count(*) FROM streams") == [(0,)]
    await journal.stop()


async def test_the_log_is_cut_and_the_file_does_not_grow(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_tidying, "TIDY", 64)
    monkeypatch.setattr(sqlite_tidying, "LOG_LIMIT", 100_000)
    journal = SqliteJournal(path)
    await journal.start()
    idle = await journal.create(info("idle, and open for ever"), [b"1"])
    noise = random.Random(1)
    pages: list[int] = []
    for n in range(8):
        writer = await journal.create(info(f"s{n}"))
        for _ in range(200):
            await _append(writer, [noise.randbytes(500)])
        writer.close([], {})
        await until(lambda: writer.log.closed)  # noqa: B023
        await journal.delete(f"s{n}")
        pages.append(journal._file.look_up("PRAGMA page_count")[0][0])
        assert journal._log_bytes < 200_000
    assert pages[-1] <= pages[2] * 1.3
    await _append(idle, [b"2"])
    await journal.stop()
    journal = SqliteJournal(path)
    await journal.start()
    assert await read_all(await journal.open("idle, and open for ever")) == [b"1", b"2"]
    await journal.stop()


async def test_what_is_on_the_disk_stays_within_its_bounds_with_all_that_belongs_to_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these responses has a page for itself, and nearly half of it stays empty: that counts, too."""
    limit, log, count = 600_000, 100_000, 400
    monkeypatch.setattr(sqlite_tidying, "LOG_LIMIT", log)
    monkeypatch.setattr(sqlite_module, "_CHECKPOINT", 100_000)
    monkeypatch.setattr(file_module, "_WAL_PAGES", 50)
    journal = SqliteJournal(path, max_bytes=limit)
    await journal.start()
    noise = random.Random(1)
    file = wal = 0
    still_open = await journal.create(info("open"), [b"1"])
    for n in range(count):
        writer = await journal.create(info(f"s{n}"), [noise.randbytes(2200)])
        writer.close([], {})
        await until(lambda: writer.log.closed)  # noqa: B023
        await until(lambda: not journal._checkpointing)
        file, wal = max(file, _size(str(path))), max(wal, _size(f"{path}-wal"))
    assert limit < file < limit + 2 * log + 200_000, "and a batch that is tidied up"
    assert wal < 1_000_000, "and the batch's pages in the WAL"
    kept = [n for n in range(count) if journal._look_up(f"s{n}") is not None]
    assert kept == list(range(kept[0], count)), "the oldest have gone, and no other"
    assert len(kept) > 100
    await _append(still_open, [b"2"])
    await journal.stop()


async def test_a_file_that_is_mostly_free_is_made_smaller_at_the_next_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    journal = SqliteJournal(path, retention=100, now=clock)
    await journal.start()
    noise = random.Random(1)
    for n in range(40):
        writer = await journal.create(info(f"s{n}"), [noise.randbytes(50_000)])
        writer.close([], {})
        await until(lambda: writer.log.closed)  # noqa: B023
    await journal.create(info("open"), _chunks(3))
    for ahead in (0, 101):
        clock.ahead += ahead
        for _ in range(4):
            await _swept(journal)
    await journal.stop()
    assert _size(str(path)) > 2_000_000
    journal = SqliteJournal(path)
    await journal.start()
    await journal.stop()
    assert _size(str(path)) > 2_000_000, "as little as that is not worth it"
    monkeypatch.setattr(file_module, "_FREE", 1_000_000)
    journal = SqliteJournal(path)
    await journal.start()
    assert _size(str(path)) < 100_000
    assert await read_all(await journal.open("open")) == _chunks(3)
    await journal.stop()


async def test_a_long_open_stream_leaves_memory_and_can_be_read_from_anywhere(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_tidying, "TIDY", 64)
    monkeypatch.setattr(sqlite_tidying, "SEGMENT", 20_000)
    journal = SqliteJournal(path)
    await journal.start()
    noise = random.Random(1)
    records = [noise.randbytes(400) for _ in range(600)]
    writer = await journal.create(info())
    for start in range(0, 600, 2):
        await _append(writer, records[start : start + 2])
        assert writer.log.records.nbytes < 120_000
    assert writer.log.take(0, 100) is None
    for offset in (0, 1, 99, 300, 599):
        assert await read_all(writer.log, offset, 3000) == records[offset:]
    writer.close([], {})
    await until(lambda: writer.log.closed)
    await journal.stop()
    journal = SqliteJournal(path)
    await journal.start()
    assert await read_all(await journal.open("s")) == records
    await journal.stop()


def _size(name: str) -> int:
    return Path(name).stat().st_size


async def test_the_wal_begins_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "_CHECKPOINT", 50_000)
    monkeypatch.setattr(file_module, "_WAL_PAGES", 50)
    monkeypatch.setattr(sqlite_tidying, "TIDY", 16)  # commits that come into the database together
    journal = SqliteJournal(path)
    await journal.start()
    writer = await journal.create(info())
    for _ in range(320):
        await _append(writer, [random.randbytes(4000)])
        await until(lambda: not journal._checkpointing)
    assert _size(f"{path}-wal") < 1_000_000
    await journal.stop()


async def test_a_readers_thread_does_not_hold_up_the_commits(
    journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await _ended(journal, "s", 500)
    journal._segments.forget(1)
    started, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    read = journal._segments._read

    def slow(*key: int) -> Any:
        loop.call_soon_threadsafe(started.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(5)
        return read(*key)

    monkeypatch.setattr(journal._segments, "_read", slow)
    reading = asyncio.create_task(log.fetch(100, 1000))
    await started.wait()
    await _append(await journal.create(info("other")), [b"1"])
    go_on.set()
    assert (await reading)[0] == _chunks(1, 100)[0]


def test_starting_takes_no_longer_for_what_has_ended(path: Path) -> None:
    async def fill() -> None:
        journal = SqliteJournal(path)
        await journal.start()
        writers = [await journal.create(info(f"s{n}"), _chunks(20)) for n in range(300)]
        for writer in writers:
            writer.close([], {})
        await until(lambda: all(writer.log.closed for writer in writers))
        await journal.stop()

    async def start() -> int:
        journal = SqliteJournal(path)
        await journal.start()
        while journal._ended or journal._rows:  # the log is cut behind what has been put elsewhere
            journal._since_tidy = sqlite_tidying.TIDY
            journal._commit.soon()
            await asyncio.sleep(0)
        await journal.stop()
        journal = SqliteJournal(path)
        await journal.start()
        # What it reads at start is the log and the open streams: of the ended ones there is nothing left in either.
        assert (journal._streams, len(journal._rows)) == ({}, 0)
        await journal.stop()
        return 0

    asyncio.run(fill())
    asyncio.run(start())


async def _end_at_once(journal: Any, prefix: str, count: int) -> None:
    await asyncio.gather(
        *(journal.create(info(f"{prefix}{n}"), _chunks(2), closed=True) for n in range(count))
    )


async def test_no_more_wait_to_be_put_elsewhere_than_two_commits_have_ended(
    journal: SqliteJournal,
) -> None:
    each, waited, logged = 100, [], []
    for turn in range(12):
        await _end_at_once(journal, f"s{turn}-", each)
        waited.append(len(journal._ended))
        logged.append(journal._file.look_up("SELECT count(*) FROM log")[0][0])
    assert max(waited) <= 2 * each
    assert max(logged) <= 4
    assert len(journal._streams) <= 2 * each, "what has ended is not kept in memory"


async def test_what_does_not_fit_goes_as_fast_as_more_ends(path: Path) -> None:
    journal = SqliteJournal(path, max_bytes=100_000)
    await journal.start()
    each, kept = 100, []
    for turn in range(30):
        await _end_at_once(journal, f"s{turn}-", each)
        kept.append(journal._ended_bytes)
    assert max(kept) < 300_000
    assert kept[-1] > 50_000
    await journal.stop()


async def test_no_batch_of_old_streams_comes_after_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    journal = SqliteJournal(path, retention=10, now=clock)
    await journal.start()
    await _end_at_once(journal, "s", 200)
    while len(journal._ended) >= sqlite_tidying.BATCH:
        journal._commit.soon()
        await asyncio.sleep(0)
    clock.ahead += 20
    timers, loop = [], asyncio.get_running_loop()
    call_later = loop.call_later

    def noted(delay: float, callback: Any, *more: Any) -> asyncio.TimerHandle:
        timers.append(call_later(delay, callback, *more))
        return timers[-1]

    monkeypatch.setattr(loop, "call_later", noted)
    journal.sweep()
    for n in range(5):  # each has a batch go, and is to be followed by the next one
        await journal.create(info(f"more{n}"))
    assert journal._sweeping
    await journal.stop()
    assert timers
    assert all(timer.cancelled() for timer in timers)
