"""What is done now and then must not cost more with every response that has ended and is still kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.journal_backends import Memory, Sqlite, info, until

from everytoken.errors import StreamNotFoundError
from everytoken.journal import local

if TYPE_CHECKING:
    from pathlib import Path

ENDED = 500


@pytest.fixture(params=[Memory, Sqlite])
async def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A journal with many streams that have ended, three that are open, and two with a time of their own."""
    backend = request.param(tmp_path)
    journal = await backend.open()
    for number in range(ENDED):
        writer = await journal.create(info(f"ended{number}"), [b"x" * 100])
        writer.close([], {"outcome": "completed"})
        await until(lambda: writer.log.closed)  # noqa: B023  # it is awaited here
    for number in range(3):
        await journal.create(info(f"open{number}"), [b"x" * 100])
    for number in range(2):
        await journal.create(info(f"mortal{number}", shared=True, ttl=60), closed=True)
    yield backend, journal
    await journal.stop()


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Any]:
    """Note the last argument of every call of a function."""
    real, seen = getattr(owner, name), []

    def noting(*arguments: Any) -> Any:
        seen.append(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr(owner, name, noting)
    return seen


async def test_the_size_is_that_of_all_but_only_open_streams_are_looked_at(kept, monkeypatch):
    backend, journal = kept
    backend.clock.ahead += 2.0
    before = journal.size
    backend.clock.ahead += 2.0
    seen = counted(monkeypatch, local, "_size")
    assert journal.size == before > 0
    assert sorted(stream.info.id for stream in seen) == ["open0", "open1", "open2"]
    assert not journal.is_full


async def test_the_more_are_open_the_less_often_they_are_looked_at(kept, monkeypatch):
    """A hundred thousand chats would be looked at every second otherwise, for longer than a chunk may wait."""
    backend, journal = kept
    monkeypatch.setattr(local, "_FOR_EACH", 10.0)  # three are open
    backend.clock.ahead += 10_000.0
    assert journal.size
    seen = counted(monkeypatch, local, "_size")
    backend.clock.ahead += 25.0
    assert journal.size
    assert seen == []
    backend.clock.ahead += 10.0
    assert journal.size
    assert len(seen) == 3


async def test_a_sweep_looks_only_at_streams_with_a_time_of_their_own(kept, monkeypatch):
    backend, journal = kept
    seen = counted(monkeypatch, local.LocalJournal, "_is_over")
    local.LocalJournal.sweep(journal)
    assert sorted(stream.info.id for stream in seen) == ["mortal0", "mortal1"]
    backend.clock.ahead += 61.0
    local.LocalJournal.sweep(journal)
    for number in range(2):
        await until(lambda: not journal._deleting)
        with pytest.raises(StreamNotFoundError):
            await journal.open(f"mortal{number}")
    seen.clear()
    local.LocalJournal.sweep(journal)
    assert seen == []


async def test_streams_that_have_ended_are_not_held_in_memory_by_what_is_remembered_of_open_ones(kept):
    _, journal = kept
    assert len(journal._open) <= 3 + local._FEW
