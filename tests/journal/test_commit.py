"""Whatever is raised while a journal stores: it fails the streams it belongs to, and the next commit runs."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.journal_backends import BACKENDS, Reader, info, read_all, until
from tests.journal_exceptions import EXCEPTIONS, OddError, raise_at

from everytoken.errors import JournalError, JournalUnavailableError, NotStorableError
from everytoken.journal import Append
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.packed import PackedRecords
from everytoken.journal.redis_writing import RedisWriting
from everytoken.journal.sqlite import SqliteJournal
from everytoken.journal.sqlite_file import SqliteFile
from everytoken.journal.sqlite_retention import Retention
from everytoken.journal.stream import Stream
from gateway_serving import limit
from sampling import sampled

ANYWHERE = [
    (Stream, "begin"),
    (Stream, "commit"),
    (Stream, "show"),
    (PackedRecords, "extend"),
]
IN_SQLITE = [
    (SqliteFile, "execute"),
    (SqliteJournal, "_commit_work"),
    (SqliteJournal, "_extra"),
    (SqliteJournal, "_take_note"),
    (SqliteJournal, "_tidy"),
    (SqliteJournal, "_seal"),
    (SqliteJournal, "_put"),
    (SqliteJournal, "_sealed"),
    (Retention, "_excess"),
    (PackedRecords, "part"),
    (PackedRecords, "dump"),
]
IN_REDIS = [
    (RedisWriting, "_end"),
    (RedisWriting, "_acknowledged"),
    (RedisWriting, "_seal"),
    (PackedRecords, "dump"),
]
IN_MEMORY = [
    (MemoryJournal, "_after"),
    (MemoryJournal, "_stored"),
    (MemoryJournal, "_drop"),
    (MemoryJournal, "_drop_old"),
]
STEPS: dict[str, list[tuple[type, str]]] = {
    "memory": ANYWHERE + IN_MEMORY,
    "sqlite": ANYWHERE + IN_SQLITE,
    "sqlite with fsync": ANYWHERE + IN_SQLITE,
    "redis": ANYWHERE + IN_REDIS,
}


async def use(journal: Any, round_: str) -> None:
    """Use a journal as gateways do, in several streams at once; what fails must fail explicitly."""
    writers: dict[str, Any] = {}
    for name in ("a", "b", "c"):
        try:
            writers[name] = await journal.create(info(f"{name}{round_}"))
        except JournalError:
            continue  # an explicit refusal
    readers = {name: Reader(writer.log) for name, writer in writers.items()}
    for number in range(3):
        for name, writer in writers.items():
            try:
                writer.append([b'{"%d":"%b"}' % (number, name.encode())])
            except JournalError:
                continue
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    try:
        await journal.create(info(f"shared{round_}", shared=True))
        await journal.submit(f"shared{round_}", Append(records=[b"1"]))
        await journal.delete(f"shared{round_}")
    except JournalError:
        pass
    for writer in writers.values():
        try:
            writer.close([b'{"end":1}'], {"outcome": "completed"})
        except JournalError:
            continue
    for name, reader in readers.items():
        expected = [b'{"%d":"%b"}' % (number, name.encode()) for number in range(3)] + [b'{"end":1}']
        try:
            records = list(await reader.run())
        except JournalError:
            continue  # told explicitly
        result = reader.log.info.result or {}
        if result.get("outcome") == "completed":
            assert records == expected
        else:
            assert result["error"]["code"] == "not-storable"
            assert records[:-1] == expected[: len(records) - 1]


@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize(
    ("backend", "owner", "name"),
    [(backend, owner, name) for backend, steps in STEPS.items() for owner, name in sampled(steps, 2)],
)
async def test_an_exception_at_any_step_stops_neither_the_others_nor_the_journal(
    backend, owner, name, at, tmp_path, monkeypatch, caplog
):
    if backend.startswith("sqlite"):
        monkeypatch.setattr("everytoken.journal.sqlite_tidying.TIDY", 2)
        monkeypatch.setattr("everytoken.journal.sqlite_tidying.BATCH", 2)
    for number, error in enumerate(EXCEPTIONS):
        directory = tmp_path / str(number)
        directory.mkdir()
        settings = (
            {"max_bytes": 10} if name == "_drop_old" else {}
        )  # each one that ends has the others swept away
        journal = await BACKENDS[backend](directory).open(**settings)
        with monkeypatch.context() as patch:
            raised = raise_at(patch, owner, name, at, error)
            async with limit():
                await use(journal, "1")
                await use(journal, "2")
            assert raised() or at > 1, "the step was never taken"
        async with limit():
            # What comes behind it is as if nothing had been.
            writer = await journal.create(info("after"))
            writer.append([b"1", b"2"])
            writer.close([b"3"], {"outcome": "completed"})
            assert await Reader(writer.log).run() == [b"1", b"2", b"3"]
            await journal.stop()


POISON = {"usage": 99999999999999999999}
DEEP: Any = []
for _ in range(2000):
    DEEP = [DEEP]


def fail() -> None:
    raise OddError


@pytest.mark.parametrize(
    "poison", [POISON, {"deep": DEEP}, {"odd": object()}], ids=["a number", "nesting", "a type"]
)
@pytest.mark.parametrize("backend", ["sqlite", "sqlite with fsync", "redis"])
async def test_what_can_never_be_stored_ends_its_own_stream_explicitly(backend, poison, tmp_path):
    journal = await BACKENDS[backend](tmp_path).open()
    async with limit():
        writers = [await journal.create(info(f"s{number}")) for number in range(5)]
        readers = [Reader(writer.log) for writer in writers]
        for writer in writers:
            writer.when_fenced(fail)  # nor does a writer that fails when it is told
            writer.append([b'{"text":"one"}'])
        for number, writer in enumerate(writers):
            writer.close([b'{"text":"two"}'], poison if number == 2 else {"outcome": "completed"})
        for number, reader in enumerate(readers):
            records = list(await reader.run())
            result = reader.log.info.result or {}
            if number == 2:
                assert result["outcome"] == "interrupted"
                assert json.loads(records[-1])["error"]["code"] == "not-storable"
                assert records[:-1] in ([], [b'{"text":"one"}'])
            else:
                assert records == [b'{"text":"one"}', b'{"text":"two"}']
                assert result == {"outcome": "completed"}
        # The name of a stream that could not be made can be used afterwards.
        with pytest.raises(NotStorableError):
            await journal.create(info("bad", meta={"request": poison}))
        await journal.create(info("bad"))
        await journal.stop()


async def test_an_append_that_cannot_be_stored_leaves_the_stream_as_it_was(tmp_path):
    journal = await BACKENDS["sqlite"](tmp_path).open()
    async with limit():
        await journal.create(info("s", shared=True), [b"1"])
        with pytest.raises(NotStorableError):
            await journal.submit("s", Append(close=True, result=POISON))
        done = await journal.submit("s", Append(records=[b"2"], close=True))
        assert done.tail == 2
        assert await read_all(await journal.open("s")) == [b"1", b"2"]
        await journal.stop()
    journal = await BACKENDS["sqlite"](tmp_path).open()
    assert await read_all(await journal.open("s")) == [b"1", b"2"]
    await journal.stop()


async def test_an_unwilling_storage_is_tried_again_and_nobody_fails(tmp_path, monkeypatch):
    journal = await BACKENDS["sqlite"](tmp_path).open()
    writers = [await journal.create(info(f"s{number}")) for number in range(3)]
    with monkeypatch.context() as patch:
        raise_at(patch, SqliteFile, "execute", 1, JournalUnavailableError("locked"))
        for writer in writers:
            writer.append([b"1"])
        await until(lambda: all(writer.log.tail for writer in writers))
    await journal.stop()
