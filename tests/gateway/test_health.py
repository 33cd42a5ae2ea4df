"""Health tells the truth: alive is not ready."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time

import pytest
from tests.redis_server import REDIS, RedisServer

from everytoken.errors import JournalUnavailableError
from everytoken.gateway import health
from everytoken.gateway.health import Watchdog
from everytoken.journal.commit import StorageBusyError
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.redis import RedisJournal
from everytoken.journal.sqlite import SqliteJournal
from everytoken.journal.sqlite_file import SqliteFile
from everytoken.testing import VirtualTimeLoop
from gateway_serving import ManualUpstream, limit, serving

JOURNALS = ["memory", "sqlite", "sqlite with fsync"]


def journal_of(kind, path):
    if kind == "memory":
        return MemoryJournal()
    return SqliteJournal(path / "journal.sqlite", durability="power" if "fsync" in kind else "process")


async def ready(gateway, **headers):
    answer = await gateway.ask("GET", "/readyz", None, headers)
    assert (await gateway.ask("GET", "/healthz")).status == 200, "the process answers in any case"
    return answer.status, answer.json


@pytest.mark.parametrize("kind", JOURNALS)
async def test_a_gateway_that_can_do_its_work_is_ready(kind, tmp_path):
    async with (
        limit(),
        serving(ManualUpstream(), kept_in=journal_of(kind, tmp_path), api_keys=["a key of ours"]) as gateway,
    ):
        status, told = await ready(gateway)
        assert (status, told["status"]) == (200, "ready")


@pytest.mark.parametrize("kind", JOURNALS[1:])
async def test_a_journal_that_cannot_store_is_said(kind, tmp_path, monkeypatch):
    async with limit(), serving(ManualUpstream(), kept_in=journal_of(kind, tmp_path)) as gateway:
        with monkeypatch.context() as patch:

            def refuse(*_):
                raise JournalUnavailableError("SQLite: disk I/O error")

            patch.setattr(SqliteFile, "execute", refuse)
            status, told = await ready(gateway)
            assert status == 503
            assert "disk I/O error" in told["reasons"][0]
        gateway.gateway.health._until = 0.0
        while (await ready(gateway))[0] != 200:
            gateway.gateway.health._until = 0.0


@pytest.mark.parametrize("kind", JOURNALS[1:])
async def test_a_file_that_is_locked_for_a_moment_is_ready(kind, tmp_path, monkeypatch):
    async with limit(), serving(ManualUpstream(), kept_in=journal_of(kind, tmp_path)) as gateway:
        execute, tries = SqliteFile.execute, 0

        def busy(*args):
            nonlocal tries
            tries += 1
            if tries < 4:
                raise StorageBusyError("SQLite: database is locked")
            return execute(*args)

        monkeypatch.setattr(SqliteFile, "execute", busy)
        assert (await ready(gateway))[0] == 200
        assert tries == 4


async def test_a_journal_that_hangs_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "_PATIENCE", 0.05)
    async with limit(), serving(ManualUpstream(), kept_in=journal_of("sqlite", tmp_path)) as gateway:
        commit = gateway.gateway.journal._commit
        commit._store, store = (lambda _: False), commit._store
        status, told = await ready(gateway)
        assert status == 503
        assert "does not answer" in told["reasons"][0]
        commit._store = store
        commit.done()


@pytest.mark.skipif(REDIS is None, reason="there is no redis-server")
async def test_a_redis_that_hangs_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "_PATIENCE", 0.05)
    server = RedisServer(tmp_path)
    server.start()
    try:
        async with limit(), serving(ManualUpstream(), kept_in=RedisJournal(server.url)) as gateway:
            gateway.gateway.health._until = 0.0
            while (await ready(gateway))[0] != 200:
                gateway.gateway.health._until = 0.0
            os.kill(server.pid, signal.SIGSTOP)
            gateway.gateway.health._until = 0.0
            status, told = await ready(gateway)
            os.kill(server.pid, signal.SIGCONT)
            assert status == 503
            assert "journal" in told["reasons"][0] or "Redis" in told["reasons"][0]
    finally:
        server.stop()


async def test_a_disk_that_is_only_slow_is_ready_and_one_that_hangs_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "_DISK_PATIENCE", 0.0)
    hung = threading.Event()
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: hung.wait(20))
    async with limit(), serving(ManualUpstream(), kept_in=journal_of("sqlite", tmp_path)) as gateway:
        try:
            assert (await ready(gateway))[0] == 200, "commits are stored meanwhile"
            monkeypatch.setattr(health, "_HANGS", 0.0)
            gateway.gateway.health._until = 0.0
            status, told = await ready(gateway)
            assert status == 503
            assert "disk does not answer" in told["reasons"][0]
        finally:
            hung.set()


async def test_a_disk_that_hangs_is_not_waited_for_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "_DISK_PATIENCE", 0.0)
    hung = threading.Event()
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: hung.wait(20))
    try:
        async with limit(), serving(ManualUpstream(), kept_in=journal_of("sqlite", tmp_path)) as gateway:
            await ready(gateway)
            looking = gateway.gateway.health._disk
        assert looking.cancelled()
    finally:
        hung.set()


async def test_a_full_disk_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(health, "_ROOM", 2**62)
    async with limit(), serving(ManualUpstream(), kept_in=journal_of("sqlite", tmp_path)) as gateway:
        status, told = await ready(gateway)
        assert status == 503
        assert "disk is full" in told["reasons"][0]


async def test_upstreams_that_are_all_set_aside_are_said():
    async with limit(), serving(ManualUpstream()) as gateway:
        breaker = gateway.gateway.relays._breaker
        for _ in range(20):
            breaker.failed(("manual", "m"), asyncio.get_running_loop().time())
        status, told = await ready(gateway)
        assert status == 503
        assert "upstream" in told["reasons"][0]


async def test_a_gateway_that_stops_is_not_ready():
    async with limit(), serving(ManualUpstream()) as gateway:
        gateway.gateway.relays.draining = True
        assert (await ready(gateway))[0] == 503


async def test_many_who_ask_are_one_look(tmp_path):
    async with limit(), serving(ManualUpstream(), kept_in=journal_of("sqlite", tmp_path)) as gateway:
        before = gateway.gateway.journal.commits.number
        for _ in range(3):
            await asyncio.gather(*(ready(gateway) for _ in range(10)))
        assert gateway.gateway.journal.commits.number - before <= 3


@pytest.mark.blocking_allowed("that is what is looked for")
def test_a_turn_of_the_loop_that_takes_long_is_told_with_its_place(caplog, monkeypatch):
    monkeypatch.setattr(health, "_LONG", 0.05)
    monkeypatch.setattr(health, "_LOOK", 0.01)

    async def block() -> None:
        watchdog = Watchdog(None)
        watchdog.start()
        until = time.monotonic() + 10
        while not caplog.records and time.monotonic() < until:
            pass
        watchdog.stop()

    with caplog.at_level(logging.WARNING):
        asyncio.run(block())
    assert "the event loop has been blocked for over" in caplog.records[0].getMessage()
    assert not [
        thread
        for thread in threading.enumerate()
        if thread.name == "everytoken-watchdog" and not thread.daemon
    ]


@pytest.mark.virtual_time
async def test_a_commit_that_takes_long_is_told(caplog):
    assert isinstance(asyncio.get_running_loop(), VirtualTimeLoop)

    class Commits:
        busy, number = True, 1

    watchdog = Watchdog(Commits())
    with caplog.at_level(logging.WARNING):
        watchdog._seen = (1, time.monotonic() - 5)
        watchdog._tick()
    watchdog.stop()
    assert [record for record in caplog.records if "a journal commit" in record.getMessage()]
