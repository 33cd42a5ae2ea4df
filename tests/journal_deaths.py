"""A process whose journal is killed between any two of its operations: `sqlite PATH`, `redis URL` or `postgres URL`.

It does everything that can be done to a journal, in a child that kills itself (SIGKILL) at the n-th step, for every n:
a step is a statement of SQL, or a message to a server about to be sent, just sent, or about to be answered. What the child
was acknowledged comes through a pipe; a second child looks at what is there, and goes on with it. Prints the number of
deaths, and what is wrong.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import traceback
from asyncio import selector_events
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.postgres_server import empty_postgres

from everytoken.errors import FencedError, StreamExistsError, StreamNotFoundError
from everytoken.journal import Append, Journal, Log, Producer, StreamInfo, sqlite_tidying
from everytoken.journal.postgres import PostgresJournal
from everytoken.journal.redis import RedisJournal
from everytoken.journal.redis_connection import RedisConnection, pack
from everytoken.journal.redis_entries import Keys
from everytoken.journal.sqlite import SqliteJournal
from everytoken.journal.sqlite_file import SqliteFile
from everytoken.journal.sqlite_tail import Tail

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 10.0


def record(name: str, number: int) -> bytes:
    """Return what stands at one place of one stream."""
    return b'{"of":"%b","choices":[{"delta":{"content":"%d"}}],"object":"chunk"}' % (name.encode(), number)


def records(name: str, start: int, stop: int) -> list[bytes]:
    return [record(name, number) for number in range(start, stop)]


def of(name: str, **more: Any) -> StreamInfo:
    return StreamInfo(id=name, content_type="application/json", created=1.0, **more)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # what it looks at has no event
            await asyncio.sleep(0)


async def live(journal: Journal, say: Callable[..., None]) -> None:
    """Do everything once. `say` takes the name of a stream and what has been acknowledged of it."""
    first = await journal.create(of("taken"), records("taken", 0, 2))
    say("taken", tail=2)
    first.append(records("taken", 2, 4))
    await until(lambda: first.log.tail == 4)
    say("taken", tail=4)
    await journal.create(of("shared", shared=True))
    say("shared", tail=0)
    for number in range(2):
        append = Append(records=[record("shared", number)], producer=Producer("p", 0, number))
        await journal.submit("shared", append)
        say("shared", tail=number + 1)
    await journal.create(of("gone"), records("gone", 0, 1))
    say("gone", tail=1)
    ended = await journal.create(of("ended"))
    ended.append(records("ended", 0, 1))
    first.append(records("taken", 4, 5))  # both in one commit
    ended.close(records("ended", 1, 3), {"outcome": "completed"})
    await until(lambda: ended.log.closed and first.log.tail == 5)
    say("ended", tail=3, closed=True)
    say("taken", tail=5)
    await journal.delete("gone")
    say("gone", gone=True)
    second = await journal.claim("taken")
    say("taken", epoch=1)
    try:
        first.append([b"late"])
        say("taken", late=True)
    except FencedError:
        pass
    for number in range(5, 8):
        second.append(records("taken", number, number + 1))
        await until(lambda: second.log.tail == number + 1)  # noqa: B023
        say("taken", tail=number + 1)
    await journal.submit(
        "shared", Append(records=[record("shared", 2)], close=True, producer=Producer("p", 0, 2))
    )
    say("shared", tail=3, closed=True)
    await journal.create(of("at once", result={"of": "it"}), records("at once", 0, 2), closed=True)
    say("at once", tail=2, closed=True)
    await journal.stop()


async def look(journal: Journal, said: dict[str, dict[str, Any]], orphans: list[str]) -> None:
    """Raise `AssertionError` unless all is there that was acknowledged, nothing else, and it can be gone on with."""
    assert not any(known.get("late") for known in said.values()), "an old writer was let append"
    for name, known in said.items():
        if known.get("gone"):
            assert await find(journal, name) is None, f"{name} is back"
    for name in ("taken", "shared", "ended", "at once"):
        known = said.get(name, {})
        log = await find(journal, name)
        if log is None:
            assert not known, f"{name} is lost"
            continue
        assert log.tail >= known.get("tail", 0), f"{name}: {log.tail} records of {known}"
        assert log.closed or not known.get("closed"), f"{name} is open again"
        assert log.info.epoch >= known.get("epoch", 0), f"{name}: an epoch is lost"
        assert await all_of(log) == records(name, 0, log.tail), f"{name} holds something else"
        assert (name in orphans) == (not log.closed and not log.info.shared), f"{name}: {orphans}"
        await go_on(journal, name, log)
        log = await journal.open(name)
        assert log.closed
        assert await all_of(log) == records(name, 0, log.tail), f"{name} does not go on well"
    assert (await journal.create(of("new"), [b"1"])).log.tail == 1


async def go_on(journal: Journal, name: str, log: Log) -> None:
    tail = log.tail
    if log.info.shared:
        for number in range(3):  # its producer tries everything again: each counts once
            append = Append(
                records=[record(name, number)], close=number == 2, producer=Producer("p", 0, number)
            )
            done = await journal.submit(name, append)
            assert done.duplicate == (number < tail), f"{name}: {number} of {tail} is {done}"
    elif not log.closed:
        writer = await journal.claim(name)
        writer.append(records(name, tail, tail + 1))
        writer.close(records(name, tail + 1, tail + 2), {"outcome": "completed"})
        await until(lambda: writer.log.closed)


async def find(journal: Journal, name: str) -> Log | None:
    try:
        return await journal.open(name)
    except StreamNotFoundError:
        try:
            await journal.create(of(name, result={}), closed=True)
        except StreamExistsError as error:
            raise AssertionError(f"{name} is neither there nor not") from error
        await journal.delete(name)
        return None


async def all_of(log: Log) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < log.tail:
        some = log.take(len(found), 100)
        found += await log.fetch(len(found), 100) if some is None else some
    return found


class Steps:
    """Counts, and kills the process at the step it is to die at."""

    def __init__(self, last: int) -> None:
        self._left = last

    def __call__(self, *_: object) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Sqlite:
    """Every statement of the connection that writes is a step, within a transaction, too; and what is done to the tail.

    Of a row of the tail, that it is about to be written, half written, and written; and that all are about to go, and gone.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        sqlite_tidying.TIDY = 3
        sqlite_tidying.SEGMENT = 200
        sqlite_tidying.LOG_LIMIT = 400

    def clear(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)

    def journal(self) -> Journal:
        return SqliteJournal(self._path / "journal.sqlite")

    def die_at(self, step: Steps) -> None:
        connect = SqliteFile._connect

        def connected(file: SqliteFile) -> Any:
            db = connect(file)
            if file.write is None:  # the first one is it
                db.set_trace_callback(step)
            return db

        SqliteFile._connect = connected  # type: ignore[method-assign]
        append, clear = Tail.append, Tail.clear

        def appended(tail: Tail, number: int, entries: bytes) -> bool:
            step()
            assert tail._file is not None
            os.write(tail._file, bytes(8) + entries[: len(entries) // 2])
            step()
            os.ftruncate(tail._file, tail._size)
            done = append(tail, number, entries)
            step()
            return done

        def cleared(tail: Tail) -> None:
            step()
            clear(tail)
            step()

        Tail.append = appended  # type: ignore[method-assign]
        Tail.clear = cleared  # type: ignore[method-assign]

    async def orphans(self, journal: Journal) -> list[str]:
        return await journal.orphans()


class Redis:
    """Commands and replies are steps: of each, that it is about to go out, has gone out, or has come."""

    def __init__(self, url: str) -> None:
        self._url = url

    def clear(self) -> None:
        parts = urlsplit(self._url)
        with socket.create_connection((parts.hostname, parts.port)) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            assert connection.recv(16) == b"+OK\r\n"

    def journal(self) -> Journal:
        return RedisJournal(self._url)

    def die_at(self, step: Steps) -> None:
        send, receive = RedisConnection.send, RedisConnection.data_received

        def sent(*arguments: Any) -> None:
            step()
            send(*arguments)
            step()

        def received(*arguments: Any) -> None:
            step()
            receive(*arguments)

        RedisConnection.send = sent  # type: ignore[method-assign]
        RedisConnection.data_received = received  # type: ignore[method-assign]

    async def orphans(self, journal: Any) -> list[str]:
        """Have the lease of the dead run out."""
        for node in await journal._ask(pack("SMEMBERS", Keys().nodes)):
            if node != journal._node.encode():
                await journal._ask(pack("DEL", Keys().alive(node)))
        return await journal.orphans()


class Postgres:
    """Messages and replies are steps: of each, that it is about to go out, has gone out, or has come."""

    def __init__(self, url: str) -> None:
        self._url = url

    def clear(self) -> None:
        asyncio.run(empty_postgres(self._url))

    def journal(self) -> Journal:
        return PostgresJournal(self._url)

    def die_at(self, step: Steps) -> None:
        transport: Any = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
        write, receive = transport.write, transport._read_ready__data_received

        def written(*arguments: Any) -> None:
            step()
            write(*arguments)
            step()

        def received(*arguments: Any) -> None:
            step()
            receive(*arguments)

        transport.write, transport._read_ready__data_received = written, received

    async def orphans(self, journal: Any) -> list[str]:
        """Have the lease of the dead run out."""
        await journal._link.fetch("DELETE FROM everytoken.nodes WHERE node <> $1", journal.node)
        found: list[str] = await journal.orphans()
        return found


def in_child(work: Callable[[], None]) -> int:
    """Do it in a process of its own, which begins as this one is now; return how that ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001  # it is told, and the process is gone
            traceback.print_exc()
            os._exit(1)
    return os.waitpid(child, 0)[1]


def one_death(backend: Any, last: int) -> int:
    """Live until step `last`, then look at what is left; return the status of the first process."""
    backend.clear()
    reading, writing = os.pipe()

    def life() -> None:
        def say(name: str, **known: Any) -> None:
            os.write(writing, json.dumps([name, known]).encode() + b"\n")

        backend.die_at(Steps(last))
        asyncio.run(_with(backend.journal(), lambda journal: live(journal, say)))

    status = in_child(life)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said: dict[str, dict[str, Any]] = {}
        for name, known in map(json.loads, pipe):
            said.setdefault(name, {}).update(known)

    async def examine(journal: Journal) -> None:
        await look(journal, said, await backend.orphans(journal))
        await journal.stop()

    if in_child(lambda: asyncio.run(_with(backend.journal(), examine))) != 0:
        print(f"wrong after a death at step {last}; it had been acknowledged: {said}", flush=True)  # noqa: T201
    return status


async def _with(journal: Journal, work: Callable[[Journal], Any]) -> None:
    await journal.start()
    await work(journal)


def main() -> None:
    backend = {"sqlite": Sqlite, "redis": Redis, "postgres": Postgres}[sys.argv[1]](sys.argv[2])
    every = int(sys.argv[3])
    deaths = 0
    while (status := one_death(backend, deaths * every + 1)) == signal.SIGKILL:
        deaths += 1
    if status != 0:
        print(f"it ended by itself with {status}")  # noqa: T201
    print(f"{deaths} deaths")  # noqa: T201


if __name__ == "__main__":
    main()
