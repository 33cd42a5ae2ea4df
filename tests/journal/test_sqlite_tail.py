"""The file of the newest rows: what is written is there after a death, once, and what is half written is not."""

from __future__ import annotations

import os
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from everytoken.errors import JournalUnavailableError
from everytoken.journal import StreamInfo, sqlite_tail, sqlite_tidying
from everytoken.journal.sqlite import SqliteJournal
from everytoken.journal.sqlite_tail import Tail
from journal_backends import read_all, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from everytoken.journal.stream import StreamWriter


IDENTITY = b"identity"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def tail(tmp_path: Path) -> Iterator[Tail]:
    made = Tail(tmp_path / "tail")
    made.open(0, IDENTITY)
    yield made
    made.close()


@pytest.fixture
async def journal(path: Path) -> AsyncIterator[SqliteJournal]:
    made = SqliteJournal(path)
    await made.start()
    yield made
    await made.stop()


def info(name: str = "s") -> StreamInfo:
    return StreamInfo(id=name, content_type="application/json", created=1.0)


def again(tail: Tail, moved: int = 0) -> list[tuple[int, bytes]]:
    """Return what another process finds."""
    other = Tail(tail._path)
    other.open(moved, IDENTITY)
    rows = other.rows
    assert other._file is not None
    os.close(other._file)
    return rows


async def appended(writer: StreamWriter, *records: bytes) -> None:
    """Append in commits of their own."""
    for record in records:
        due = writer.log.tail + 1
        writer.append([record])
        await until(lambda: writer.log.tail == due)  # noqa: B023


def copied(path: Path, folder: Path) -> Path:
    """Return a copy of a journal as a process that dies now would leave it."""
    folder.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        if file.suffix != ".lock" and not file.name.endswith("-shm"):
            shutil.copy(file, folder)
    return folder / path.name


class TestRows:
    def test_what_was_appended_is_found(self, tail):
        rows = [(1, b"one"), (2, b""), (3, bytes(range(256))), (7, b"x" * 100_000)]
        for row in rows:
            tail.append(*row)
        assert tail.rows == again(tail) == rows
        assert again(tail, 2) == rows[2:]
        assert again(tail, 7) == []

    def test_what_has_moved_is_found_no_more(self, tail):
        tail.append(1, b"one")
        tail.clear()
        tail.append(2, b"two")
        assert tail.rows == again(tail) == [(2, b"two")]

    def test_it_is_cut_at_any_byte_to_the_rows_that_are_whole(self, tail):
        rows = [(number, b"entry %d" % number) for number in range(1, 4)]
        ends = []
        for row in rows:
            tail.append(*row)
            ends.append(tail._size)
        whole = tail._path.read_bytes()
        for size in range(len(whole)):
            tail._path.write_bytes(whole[:size])
            count = sum(end <= size for end in ends)
            assert again(tail) == rows[:count]
            left = [len(IDENTITY), *ends][count] if size >= len(IDENTITY) else 0
            assert tail._path.stat().st_size == left, "what follows is written behind whole rows"

    def test_a_byte_that_is_wrong_ends_it(self, tail):
        for number in range(1, 4):
            tail.append(number, b"entry")
        whole = tail._path.read_bytes()
        for place in range(len(whole)):
            tail._path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            rows = max(0, place - len(IDENTITY)) * 3 // (len(whole) - len(IDENTITY))
            assert again(tail) == [(number, b"entry") for number in range(1, 1 + rows)]

    def test_a_disk_that_is_full_leaves_it_as_it_was(self, tail, monkeypatch):
        tail.append(1, b"one")
        write = os.write
        monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:9]))
        with pytest.raises(JournalUnavailableError, match="no space left"):
            tail.append(2, b"two")
        monkeypatch.setattr(
            os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        with pytest.raises(JournalUnavailableError, match="No space left"):
            tail.append(2, b"two")
        monkeypatch.undo()
        tail.append(2, b"two, then")
        assert tail.rows == again(tail) == [(1, b"one"), (2, b"two, then")]

    def test_it_does_not_take_all(self, tail):
        assert not tail.append(1, b"x" * (sqlite_tail.ROW + 1))
        assert tail.rows == again(tail) == []
        count = 0
        while tail.append(count + 1, b"x" * sqlite_tail.ROW):
            count += 1
        assert count == sqlite_tail._FULL // sqlite_tail.ROW - 1  # what stands before each row counts, too
        assert len(again(tail)) == count


class TestOfAJournal:
    async def test_a_commit_of_records_is_one_write_and_no_transaction(self, journal, monkeypatch):
        writer = await journal.create(info())
        statements: list[str] = []
        journal._file.write.set_trace_callback(statements.append)
        await appended(writer, b"1", b"2", b"3")
        assert statements == []
        assert len(journal._file._tail.rows) == 4  # with the creation

    async def test_after_a_death_all_is_there(self, journal, path, tmp_path):
        writer = await journal.create(info())
        await appended(writer, *[b"%d" % number for number in range(9)])
        other = SqliteJournal(copied(path, tmp_path / "copy"))
        await other.start()
        assert await read_all(await other.open("s")) == [b"%d" % number for number in range(9)]
        assert other._file._tail.rows == []
        assert await other.orphans() == ["s"]
        await other.stop()

    async def test_rows_move_with_the_next_transaction_and_stand_nowhere_twice(self, journal, path, tmp_path):
        writer = await journal.create(info())
        await appended(writer, b"1", b"2")
        await journal._commit.probe()  # writes to the database
        assert journal._file._tail.rows == []
        log = sqlite3.connect(path).execute("SELECT count(*) FROM log").fetchone()
        assert log == (3,)
        await appended(writer, b"3")
        # What a process leaves that dies between the transaction and the cut.
        copy = copied(path, tmp_path / "copy")
        for file in (copy, copy):
            other = SqliteJournal(file)
            await other.start()
            assert await read_all(await other.open("s")) == [b"1", b"2", b"3"]
            await other.stop()

    async def test_they_move_within_a_minute_and_with_the_tidying(self, journal, monkeypatch):
        writer = await journal.create(info())
        await appended(writer, b"1")
        assert journal._file.has_tail
        journal.sweep()  # every minute
        await until(lambda: not journal._file.has_tail)
        monkeypatch.setattr(sqlite_tidying, "TIDY", 5)
        await appended(writer, *[b"x"] * 12)
        assert len(journal._file._tail.rows) < 5

    async def test_rows_that_have_moved_are_not_taken_for_new_ones(self, path, tmp_path, monkeypatch):
        """Nor when the log has been cut since, and a stream is gone that they began."""
        monkeypatch.setattr(sqlite_tidying, "TIDY", 2)
        monkeypatch.setattr(Tail, "clear", lambda tail: tail.rows.clear())  # which dies each time
        journal = SqliteJournal(path)
        await journal.start()
        for name in ("gone", "ended"):
            writer = await journal.create(info(name))
            await appended(writer, b"1", b"2")
            writer.close([b"3"], {"outcome": "completed"})
            await until(lambda: writer.log.closed)  # noqa: B023
        await journal.delete("gone")
        last = await journal.create(info("last"))
        await appended(last, b"1", b"2", b"3", b"4")
        copy = copied(path, tmp_path / "copy")
        await journal.stop()
        monkeypatch.undo()
        other = SqliteJournal(copy)
        await other.start()
        assert other._find("gone") is None
        assert await read_all(await other.open("ended")) == [b"1", b"2", b"3"]
        assert await read_all(await other.open("last")) == [b"1", b"2", b"3", b"4"]
        writer = await other.claim("last")
        await appended(writer, b"5")
        once_more = copied(copy, tmp_path / "again")
        await other.stop()
        third = SqliteJournal(once_more)
        await third.start()
        assert await read_all(await third.open("last")) == [b"1", b"2", b"3", b"4", b"5"]
        await third.stop()

    async def test_rows_of_a_database_that_was_moved_away_are_not_taken(self, journal, path, tmp_path):
        """What is said of a damaged file is: move it away to begin a new one."""
        await appended(await journal.create(info()), b"1", b"2")
        copy = copied(path, tmp_path / "copy")
        for file in (copy, copy.with_name(f"{copy.name}-wal")):
            file.unlink()
        other = SqliteJournal(copy)
        await other.start()
        assert other._find("s") is None
        assert await other.orphans() == []
        await appended(await other.create(info()), b"3")
        third = SqliteJournal(copied(copy, tmp_path / "again"))
        await third.start()
        assert await read_all(await third.open("s")) == [b"3"]
        await third.stop()
        await other.stop()

    async def test_a_journal_that_was_stopped_is_one_file(self, path):
        journal = SqliteJournal(path)
        await journal.start()
        await appended(await journal.create(info()), b"1", b"2")
        await journal.stop()
        assert sorted(file.name for file in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]
        assert sqlite3.connect(path).execute("SELECT count(*) FROM log").fetchone() == (3,)

    async def test_a_database_that_is_locked_does_not_hold_up_what_goes_into_the_tail(self, journal, path):
        writer = await journal.create(info())
        other: Any = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        await appended(writer, b"1", b"2")
        other.execute("ROLLBACK")
        other.close()

    async def test_with_durability_power_all_goes_into_the_database(self, path):
        journal = SqliteJournal(path, durability="power")
        await journal.start()
        await appended(await journal.create(info()), b"1")
        assert journal._file._tail.rows == []
        await journal.stop()

    async def test_a_disk_that_is_full_is_waited_for(self, journal, monkeypatch):
        writer = await journal.create(info())
        monkeypatch.setattr(
            os, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        writer.append([b"1"])
        await until(lambda: journal._commit._retry)
        assert writer.log.tail == 0
        monkeypatch.undo()
        await until(lambda: writer.log.tail == 1)
