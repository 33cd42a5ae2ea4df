"""What a gateway does while its journal cannot store: readers wait, new requests are refused, and then all goes on."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from everytoken.journal.redis import RedisJournal
from everytoken.journal.sqlite import SqliteJournal
from gateway_serving import HELLO, ManualUpstream, Wire, serving
from journal_backends import until
from redis_server import REDIS, RedisServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.blocking_allowed("the storage is looked after beside the test")

CHAT = "/v1/chat/completions"


class SqliteLocked:
    """Another process holds the file's lock for long."""

    def __init__(self, path: Path) -> None:
        self._path = path / "journal.sqlite"
        self.journal: Any = SqliteJournal(self._path)
        self.journal._file._tail.append = lambda *_: (
            False
        )  # all goes into the database: the tail would take it
        self._other: sqlite3.Connection | None = None

    @property
    def failing(self) -> bool:
        return self.journal._commit.failing

    def strike(self) -> None:
        self._other = sqlite3.connect(self._path, isolation_level=None)
        self._other.execute("BEGIN IMMEDIATE")

    def noticed(self) -> bool:
        self.journal._commit._failing_since -= 10  # as if that had been going on for long
        return self.failing

    def mend(self) -> None:
        assert self._other is not None
        self._other.execute("ROLLBACK")
        self._other.close()

    def stop(self) -> None:
        pass


class SqliteFull(SqliteLocked):
    """The file may not grow: what a full disk is to SQLite (a real one: gateway/test_disk_full.py)."""

    def strike(self) -> None:
        db = self.journal._file.write
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages}")

    def mend(self) -> None:
        self.journal._file.write.execute("PRAGMA max_page_count = 1000000")


class RedisRestarted:
    """Redis dies, and comes back with its file."""

    persistent = True

    def __init__(self, path: Path) -> None:
        if REDIS is None:
            pytest.skip("there is no redis-server")
        self.server = RedisServer(path, persistent=self.persistent)
        self.server.start()
        self.journal: Any = RedisJournal(self.server.url)

    @property
    def failing(self) -> bool:
        return self.journal._writing.commit.failing

    def strike(self) -> None:
        self.server.kill()

    def noticed(self) -> bool:
        return self.failing

    def mend(self) -> None:
        self.server.start()

    def stop(self) -> None:
        self.server.stop()


class RedisForgetful(RedisRestarted):
    """Redis dies, and comes back without anything."""

    persistent = False


class RedisHanging(RedisRestarted):
    """Redis cannot be reached for long: its connections are there, and nothing comes back."""

    def strike(self) -> None:
        self.server.pause()

    def mend(self) -> None:
        self.server.resume()


FAULTS = [SqliteLocked, SqliteFull, RedisRestarted, RedisForgetful, RedisHanging]


@pytest.fixture(params=FAULTS, ids=[fault.__name__ for fault in FAULTS])
def fault(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr("everytoken.journal.redis_node.PATIENCE", 0.3)
    fault = request.param(tmp_path)
    yield fault
    fault.stop()


LARGE = "x" * 60_000  # more than fits into what is free in a file that may not grow


async def test_readers_wait_new_requests_are_refused_and_then_everything_goes_on(fault: Any) -> None:
    upstream = ManualUpstream()
    async with (
        serving(upstream, kept_in=fault.journal) as gateway,
        _asked(gateway, upstream) as (wire, attempt),
    ):
        head = await wire.head()
        attempt.send("one ")
        assert b"one " in (await wire.frame() or b"")
        fault.strike()
        attempt.send(LARGE)
        await until(fault.noticed)
        for method, path, body in (("POST", CHAT, HELLO), ("PUT", "/v1/stream/s", b"1")):
            refused = await gateway.ask(method, path, body)
            assert (refused.status, refused.error["code"]) == (503, "journal-unavailable")
        url = head.headers["location"]
        log = gateway.gateway.relays.get(url.removeprefix("/v1/stream/")).log
        assert (log.tail, fault.failing) == (1, True), "nothing is shown that is not stored"
        assert not wire.reader._buffer, "the reader waits"
        fault.mend()
        await until(lambda: log.tail == 2)
        attempt.send("three")
        attempt.finish()
        answer = await wire.rest(head)
        assert (answer.text, answer.complete) == (f"{LARGE}three", True)
        assert (await gateway.ask("GET", f"{url}/events")).text == f"one {LARGE}three"
        async with _asked(gateway, upstream) as (another, second):
            second.send("as ever")
            second.finish()
            assert (await another.answer()).text == "as ever"
        assert (await gateway.ask("PUT", "/v1/stream/s", b"1")).status == 201


@asynccontextmanager
async def _asked(gateway: Any, upstream: ManualUpstream) -> AsyncIterator[tuple[Wire, Any]]:
    """Begin a response; give its reader and its attempt."""
    count = len(upstream.attempts)
    async with Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, HELLO)
        attempt = await upstream.attempt(count)
        attempt.accept()
        yield wire, attempt


async def test_a_damaged_response_is_an_error_of_its_own_and_the_others_go_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    upstream = ManualUpstream()
    urls = []
    async with serving(upstream, kept_in=SqliteJournal(path)) as gateway:
        for _ in range(2):
            async with _asked(gateway, upstream) as (wire, attempt):
                attempt.send("whole")
                attempt.finish()
                answer = await wire.answer()
                urls.append(answer.headers["location"])
        journal: Any = gateway.gateway.journal
        journal.sweep()
        await until(lambda: not journal._streams)
    damaged, whole = urls
    db = sqlite3.connect(path)
    number = db.execute("SELECT number FROM streams WHERE id = ?", (damaged.split("/")[-1],)).fetchone()
    db.execute("UPDATE segments SET records = x'93' WHERE stream = ?", number)
    db.commit()
    db.close()
    async with serving(upstream, kept_in=SqliteJournal(path)) as gateway:
        refused = await gateway.ask("GET", f"{damaged}?offset=-1")
        assert (refused.status, refused.error["code"]) == (503, "journal-unavailable")
        assert not (await gateway.ask("GET", f"{damaged}/events")).complete, "broken off, not ended"
        assert (await gateway.ask("GET", f"{whole}/events")).text == "whole"
        async with _asked(gateway, upstream) as (wire, attempt):
            attempt.send("new")
            attempt.finish()
            assert (await wire.answer()).text == "new"
