"""The path of one chunk, counted.

`pytest -s` prints the calls in order, which `docs/architecture.md` lists.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from everytoken.gateway.metrics.labels import ModelLabels
from everytoken.gateway.metrics.recorder import Recorder
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.sqlite import SqliteJournal
from everytoken.native import parts
from hot_path import calls_of_one_chunk

if TYPE_CHECKING:
    from pathlib import Path


def listed(calls: list[tuple[str, str]]) -> str:
    lines = [f"{number:3} {path:34} {name}" for number, (path, name) in enumerate(calls, 1)]
    shown = "\n".join([f"{len(calls)} calls in {len({path for path, _ in calls})} files", *lines])
    sys.stdout.write(f"\n{shown}\n")
    return shown


async def test_a_chunk_on_the_memory_journal() -> None:
    calls = await calls_of_one_chunk(MemoryJournal())
    shown = listed(calls)
    assert len(calls) <= 15, shown
    assert len({path for path, _ in calls}) <= 10, shown


async def test_a_chunk_on_the_sqlite_journal(tmp_path: Path) -> None:
    calls = await calls_of_one_chunk(SqliteJournal(tmp_path / "journal.sqlite"))
    shown = listed(calls)
    assert len(calls) <= 26, shown


async def test_counting_commits_adds_no_call(tmp_path: Path) -> None:
    """`/metrics` is on by default, and with few responses there is a commit for nearly every chunk."""
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    journal.commits.count(Recorder(ModelLabels(str), lambda *_: None).commits("journal"))
    shown = listed(calls := await calls_of_one_chunk(journal))
    assert len(calls) <= 26, shown


@pytest.mark.skipif(parts.short_path is None, reason="the C part was not built")
class TestInC:
    async def test_a_chunk_on_the_memory_journal(self) -> None:
        assert await calls_of_one_chunk(MemoryJournal(), short=True) == []

    async def test_a_chunk_on_the_sqlite_journal(self, tmp_path: Path) -> None:
        calls = await calls_of_one_chunk(SqliteJournal(tmp_path / "journal.sqlite"), short=True)
        # One for the stream, and those of the commit, which many may share.
        assert len(calls) <= 10, listed(calls)
