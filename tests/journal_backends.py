"""The journals that the contract is held against, and what a test needs to say about them."""

from __future__ import annotations

import asyncio
import atexit
import re
import socket
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.postgres_server import PROGRAMS, PostgresServer, empty_postgres
from tests.redis_cluster import ClusterServers
from tests.redis_server import REDIS, VALKEY, RedisServer

from everytoken.errors import StreamNotFoundError
from everytoken.journal import StreamInfo
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.postgres import PostgresJournal
from everytoken.journal.redis import RedisJournal
from everytoken.journal.redis_cluster import RedisClusterJournal
from everytoken.journal.redis_connection import pack
from everytoken.journal.sqlite import SqliteJournal
from everytoken.testing import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.journal import Journal, Log

PATIENCE = 5.0  # seconds after which something that should happen at once counts as not happening


class Clock:
    """The time of day, which a test moves."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


async def is_there(journal: Any, name: str) -> bool:
    """Whether a journal has a stream."""
    try:
        await journal.open(name)
    except StreamNotFoundError:
        return False
    return True


class Memory:
    """The journal in memory; nothing is left after a crash."""

    durable = False
    immediate = True

    def __init__(self, path: Path) -> None:
        self.clock = Clock()

    async def open(self, **settings: Any) -> Journal:
        journal = MemoryJournal(now=self.clock, **settings)
        await journal.start()
        return journal

    async def crash(self, journal: Journal) -> None:
        raise NotImplementedError


async def _store_no_more(commit: Any) -> None:
    await until(lambda: not commit._busy)
    commit._store = lambda _: False
    commit._stop_retrying()


def _forget_what_waits(commit: Any) -> None:
    commit._busy = False
    commit._dirty.clear()


class Sqlite:
    """The journal in a SQLite file."""

    durable = True
    immediate = False
    durability = "process"

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.path = path / "journal.sqlite"

    async def open(self, **settings: Any) -> SqliteJournal:
        journal = SqliteJournal(self.path, now=self.clock, durability=self.durability, **settings)
        await journal.start()
        return journal

    async def crash(self, journal: Any) -> None:
        """Let go of the file as the death of the process does: what has not been stored is gone."""
        await _store_no_more(journal._commit)
        journal._sweeper.cancel()
        await asyncio.gather(journal._sweeper, *journal._background, return_exceptions=True)
        await asyncio.to_thread(journal._file.close)
        _forget_what_waits(journal._commit)


class SqlitePower(Sqlite):
    """The same with an fsync for each commit, made in a thread."""

    durability = "power"


class RedisKind:
    """The journal in a Redis server of the test's own; every stream has a namespace of its own: the server is emptied."""

    durable = True
    immediate = False
    clock = None

    def __init__(self, path: Path) -> None:
        self.server = shared_redis()

    async def open(self, **settings: Any) -> RedisJournal:
        journal = RedisJournal(self.server.url, **settings)
        await journal.start()
        return journal

    async def crash(self, journal: Any) -> None:
        """Let go of the connections as the death of the process does, and have its lease run out."""
        for one in self.parts(journal):
            await self._crash(one)

    async def silence(self, journal: Any) -> None:
        """Have a node's lease run out."""
        await journal._ask(pack("DEL", journal._keys.alive(journal._node.encode())))

    def spare_the_silent(self, journal: Any) -> None:
        """Have a node take nobody for dead who is silent, as after the server was away."""
        journal._orphans._quiet_until = asyncio.get_running_loop().time() + 300.0

    async def drop_connections(self, journal: Any) -> None:
        """Break all connections to the server but this node's."""
        await journal._ask(pack("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"))

    @staticmethod
    def parts(journal: Any) -> list[Any]:
        return [journal]

    async def _crash(self, journal: Any) -> None:
        await _store_no_more(journal._writing.commit)
        journal._beating.cancel()
        await asyncio.gather(journal._beating, return_exceptions=True)
        await journal._ask(pack("DEL", journal._keys.alive(journal._node.encode())))
        await journal._follower.stop()
        await journal._link.stop()
        _forget_what_waits(journal._writing.commit)


class ValkeyKind(RedisKind):
    """The same in a Valkey server."""

    def __init__(self, path: Path) -> None:
        self.server = shared_redis(VALKEY)


class RedisClusterKind(RedisKind):
    """The journal in a cluster of three masters."""

    neighbour = "other15"  # in the partition of "s": they share commits

    def __init__(self, path: Path) -> None:
        self.cluster = shared_cluster()

    async def open(self, **settings: Any) -> Any:
        journal = RedisClusterJournal(self.cluster.url, **settings)
        await journal.start()
        return journal

    @staticmethod
    def parts(journal: Any) -> list[Any]:
        return list(journal._parts)


class PostgresKind:
    """The journal in a PostgreSQL server that all tests of a process share; each finds it empty."""

    durable = True
    immediate = False
    clock = None

    def __init__(self, path: Path) -> None:
        self.server = shared_postgres()
        self._is_empty = False

    async def open(self, **settings: Any) -> PostgresJournal:
        if not self._is_empty:
            self._is_empty = True
            await empty_postgres(self.server.url)
        journal = PostgresJournal(self.server.url, **settings)
        await journal.start()
        return journal

    async def silence(self, journal: Any) -> None:
        """Have a node's lease run out."""
        await journal._link.fetch("DELETE FROM everytoken.nodes WHERE node = $1", journal.node)

    def spare_the_silent(self, journal: Any) -> None:
        """Have a node take nobody for dead who is silent, as after the server was away."""
        journal._quiet_until = asyncio.get_running_loop().time() + 300.0

    @staticmethod
    async def drop_connections(journal: Any) -> None:
        """Break all connections to the server but the one that does it."""
        await journal._link.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'everytoken' AND pid <> pg_backend_pid()"
        )

    async def crash(self, journal: Any) -> None:
        """Let go of the connections as the death of the process does, and have its lease run out."""
        await _store_no_more(journal._writing.commit)
        await journal._writing.stopped()
        await journal._end_chores()
        await journal._follower.stop()
        await journal._link.stop()
        _forget_what_waits(journal._writing.commit)


_postgres: PostgresServer | None = None


def shared_postgres() -> PostgresServer:
    """Return a running server; the first call starts it for all tests of this process."""
    global _postgres  # noqa: PLW0603
    if PROGRAMS is None:
        pytest.skip("there is no PostgreSQL")
    with suppress(RuntimeError):
        assert not isinstance(asyncio.get_running_loop(), VirtualTimeLoop), "no real server in virtual time"
    if _postgres is None:
        _postgres = PostgresServer()
        _postgres.start()
        atexit.register(_postgres.stop)
    return _postgres


_servers: dict[str, RedisServer] = {}
_cluster: ClusterServers | None = None


def shared_cluster() -> ClusterServers:
    """Return a running cluster that is empty; the first call starts it for all tests of this process."""
    global _cluster  # noqa: PLW0603
    if REDIS is None:
        pytest.skip("there is no redis-server")
    with suppress(RuntimeError):
        assert not isinstance(asyncio.get_running_loop(), VirtualTimeLoop), "no real server in virtual time"
    if _cluster is None:
        directory = tempfile.TemporaryDirectory()
        _cluster = ClusterServers(Path(directory.name))
        _cluster.start()
        atexit.register(directory.cleanup)
        atexit.register(_cluster.stop)
    _cluster.flush()
    return _cluster


def shared_redis(program: str | None = REDIS) -> RedisServer:
    """Return a running server that is empty; the first call starts it for all tests of this process."""
    if program is None:
        pytest.skip("there is no such server")
    with suppress(RuntimeError):  # no loop runs
        # Its time passes while a real server has not answered yet.
        assert not isinstance(asyncio.get_running_loop(), VirtualTimeLoop), "no real server in virtual time"
    server = _servers.get(program)
    if server is None:
        directory = tempfile.TemporaryDirectory()
        # Without its file: a disk that is busy with something else can hold a server that writes one for seconds.
        server = _servers[program] = RedisServer(Path(directory.name), persistent=False, program=program)
        server.start()
        atexit.register(directory.cleanup)
        atexit.register(server.stop)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(16) == b"+OK\r\n"
    return server


class OfTheDocs:
    """The journal in docs/extending.md, as an example of one that is not ours."""

    durable = True
    immediate = False
    name = "FileJournal"

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.path = path / "journal.jsonl"

    async def open(self, **settings: Any) -> Journal:
        journal: Journal = _of_the_docs()[self.name](self.path, now=self.clock, **settings)
        await journal.start()
        return journal

    async def crash(self, journal: Any) -> None:
        """Let go of the file; what has not been stored is gone."""
        await _store_no_more(journal._commit)
        journal._file.close()
        _forget_what_waits(journal._commit)


class OfTheDocsInAThread(OfTheDocs):
    """The one there that stores in a thread."""

    name = "SyncedJournal"


@cache
def _of_the_docs() -> dict[str, Any]:
    page = Path(__file__).parents[1] / "docs" / "extending.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for kind in (OfTheDocs, OfTheDocsInAThread):
        (block,) = (block for block in blocks if f"class {kind.name}(" in block)
        assert block.count("\n") < 100
        exec(compile(block, str(page), "exec"), names)  # it is ours
    return names


BACKENDS: dict[str, Any] = {
    "memory": Memory,
    "sqlite": Sqlite,
    "sqlite with fsync": SqlitePower,
    "redis": RedisKind,
    "redis cluster": RedisClusterKind,
    "valkey": ValkeyKind,
    "postgres": PostgresKind,
    "of the docs": OfTheDocs,
    "of the docs, in a thread": OfTheDocsInAThread,
}


def info(stream_id: str = "s", **more: Any) -> StreamInfo:
    return StreamInfo(**{"id": stream_id, "content_type": "application/json", "created": time.time(), **more})


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop run until `condition` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # what it looks at has no event
            await asyncio.sleep(0)


async def read_all(log: Log, offset: int = 0, limit: int = 1000) -> list[bytes]:
    """Return what is committed from `offset` on, a piece at a time."""
    records: list[bytes] = []
    while offset < log.tail:
        some = log.take(offset, limit)
        if some is None:
            some = await log.fetch(offset, limit)
        assert some, "at least one record, if there is one"
        records += some
        offset += len(some)
    return records


def chunks(count: int, start: int = 0) -> list[bytes]:
    """Return records that are alike, as those of a response are."""
    return [
        b'{"choices":[{"delta":{"content":"%d"}}],"id":"the same for all"}' % n
        for n in range(start, start + count)
    ]


async def append(writer: Any, records: list[bytes]) -> None:
    """Append records, and wait until they are shown."""
    due = writer.log.tail + len(writer.log.pending) + len(writer.log.storing) + len(records)
    writer.append(records)
    await until(lambda: writer.log.tail == due)


async def end(writer: Any, records: list[bytes]) -> None:
    """Append the last records, and wait until the end is shown."""
    writer.close(records, {"outcome": "completed"})
    await until(lambda: writer.log.closed)


class Reader:
    """Reads a log to its end as readers do: told of commits by plain calls, at its own offset."""

    def __init__(self, log: Log, offset: int = 0) -> None:
        self.log = log
        self.offset = offset
        self.records: list[bytes] = []
        self.calls = 0
        self._woken = asyncio.Event()
        log.subscribe(self._moved)

    def _moved(self) -> None:
        self.calls += 1
        self._woken.set()

    async def run(self, patience: float | None = PATIENCE) -> Sequence[bytes]:
        """Return everything, once the stream has ended, which it does within so many seconds."""
        async with asyncio.timeout(patience):
            while not (self.log.closed and self.offset == self.log.tail):
                self._woken.clear()
                some = self.log.take(self.offset, 500)
                if some is None:
                    some = await self.log.fetch(self.offset, 500)
                self.records += some
                self.offset += len(some)
                if not some and not self.log.closed:
                    await self._woken.wait()
        self.log.unsubscribe(self._moved)
        return self.records
