"""A journal in a SQLite file: the default of one node.

Everything that moved in one turn of the event loop becomes one row of `log`, written in the loop's thread: with the
file in WAL mode that is a copy into the page cache, some tens of microseconds, and it survives the death of the process.
When a stream ends, its records go packed into one row of `segments`, and the log is cut behind the oldest stream still
open. A stream that stays open long is given a segment now and then, so that the log stays short. At start, the open
streams are what the segments and the log say.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.errors import ConfigurationError, JournalUnavailableError
from everytoken.journal import StreamInfo  # noqa: TC001  # msgspec reads the annotations
from everytoken.journal.local import LocalJournal, LocalStream
from everytoken.journal.packed import PackedRecords

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["SqliteJournal"]

logger = logging.getLogger("everytoken.journal")

_VERSION = 1
_SCHEMA = """
CREATE TABLE streams (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state BLOB NOT NULL,          -- msgpack of _State
    tail INTEGER NOT NULL,        -- records in its segments
    closed INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    used REAL NOT NULL            -- seconds since 1970
);
CREATE INDEX streams_by_age ON streams (closed, used);
CREATE TABLE segments (
    stream INTEGER NOT NULL,
    first INTEGER NOT NULL,
    records BLOB NOT NULL,        -- a dump of PackedRecords
    PRIMARY KEY (stream, first)
);
CREATE TABLE log (
    number INTEGER PRIMARY KEY,
    entries BLOB NOT NULL         -- msgpack of a list of entries
);
"""
_LOG_LIMIT = 32 * 1024 * 1024  # bytes of log after which streams that are still open get a segment
_CHECKPOINT = 4 * 1024 * 1024  # bytes of commits after which the WAL is copied into the file
_TRIM = 256  # commits between two cuts of the log
_CACHE = 64 * 1024 * 1024  # bytes of ended streams kept in memory for readers
_SWEEP = 60.0  # seconds between two looks at age and size


class _State(msgspec.Struct):
    """What is stored of a stream besides its records."""

    info: StreamInfo
    last_sequence: str | None = None
    producers: dict[str, tuple[int, int]] = {}


class _Extra(msgspec.Struct, omit_defaults=True):
    """The rarer parts of a log entry."""

    state: _State | None = None
    closed: bool = False
    deleted: bool = False


# One entry: the stream's number, the offset of its first record here, the records, and rarely more.
_Entry = tuple[int, int, list[bytes], _Extra | None]

_encode = msgspec.msgpack.Encoder().encode
_decode_entries = msgspec.msgpack.Decoder(list[_Entry]).decode
_decode_state = msgspec.msgpack.Decoder(_State).decode


class SqliteJournal(LocalJournal):
    """Streams in the file at `path`, which one process has for itself.

    Ended streams are kept for `retention` seconds and within `max_bytes` on disk. `durability` is `process` (what was
    acknowledged survives the death of the process) or `power` (that of the machine: one fsync for each commit).
    """

    def __init__(
        self,
        path: Path,
        *,
        retention: float = 86_400.0,
        max_bytes: int = 2 * 1024**3,
        durability: str = "process",
    ) -> None:
        super().__init__()
        self._path = path
        self._retention = retention
        self._max_bytes = max_bytes
        self._durability = durability
        self._db: sqlite3.Connection = None  # type: ignore[assignment]  # until start()
        self._reading = asyncio.Lock()
        self._lock_file: int | None = None
        self._next_number = 1
        self._log_number = 0
        self._log_bytes = 0
        self._since_checkpoint = 0
        self._since_trim = 0
        self._floor: dict[int, int] = {}  # open stream -> the first row of the log that it needs
        self._stored_tail: dict[int, int] = {}  # open stream -> records in its segments
        self._known_epoch: dict[int, int] = {}
        self._cached: dict[str, int] = {}  # ended streams in memory, oldest first
        self._cached_bytes = 0
        self._found_open: list[str] = []
        self._background: set[asyncio.Future[Any]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    # Life

    async def start(self) -> None:
        """Open the file and find the streams that are still open. Raises `ConfigurationError`."""
        await asyncio.to_thread(self._open_file)
        self._sweeper = asyncio.create_task(self._sweep_for_ever())

    async def stop(self) -> None:
        """Store what is on its way and close the file."""
        await super().stop()
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, *self._background, return_exceptions=True)
        if self._db is not None:
            await asyncio.to_thread(self._db.close)
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    async def orphans(self) -> list[str]:
        """Return the streams that were open when this process started; each call, those not yet taken over."""
        found, self._found_open = self._found_open, []
        return found

    def _open_file(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._take_lock()
            self._db = self._connect()
            self._migrate()
            self._recover()
        except (OSError, sqlite3.Error, msgspec.MsgspecError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigurationError(
                f"the journal {self._path} cannot be used: {reason}; move the file away to begin a new one"
            ) from error

    def _take_lock(self) -> None:
        # SQLite's own locks would let two processes take turns, each with its own idea of the open streams.
        self._lock_file = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                f"the journal {self._path} is in use by another process; give this one its own (--journal)"
            ) from error

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0.0)
        os.chmod(self._path, 0o600)  # noqa: PTH101  # other people's conversations are nobody's business
        db.execute("PRAGMA journal_mode = WAL")
        # In WAL mode NORMAL never syncs at a commit, only when the WAL is copied, which is done in a thread.
        db.execute(f"PRAGMA synchronous = {'FULL' if self._durability == 'power' else 'NORMAL'}")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        return db

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise ConfigurationError(
                f"the journal {self._path} was made by a newer everytoken (schema {version})"
            )
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")

    def _recover(self) -> None:
        """Rebuild the streams that are open from their segments and the log."""
        streams: dict[int, LocalStream] = {}
        for number, state, tail in self._db.execute(
            "SELECT number, state, tail FROM streams WHERE closed = 0"
        ):
            stream = self._stream(number, _decode_state(state))
            stream.publish(self._segments(self._db, number)[:])
            stream.used = (
                time.time()
            )  # when it was used last is not stored; too long is better than too short
            self._stored_tail[number] = tail
            streams[number] = stream
        sealed = {number for (number,) in self._db.execute("SELECT number FROM streams WHERE closed = 1")}
        for row, entries in self._db.execute("SELECT number, entries FROM log ORDER BY number"):
            self._log_number = row
            for number, first, records, extra in _decode_entries(entries):
                self._next_number = max(self._next_number, number + 1)
                if number not in sealed:
                    self._redo(streams, row, number, first, records, extra)
        (highest,) = self._db.execute("SELECT max(number) FROM streams").fetchone()
        self._next_number = max(self._next_number, (highest or 0) + 1)
        for number, stream in streams.items():
            self._streams[stream.info.id] = stream
            self._floor.setdefault(number, self._log_number + 1)
            self._known_epoch[number] = stream.info.epoch
        self._found_open = [stream.info.id for stream in streams.values()]

    def _redo(
        self,
        streams: dict[int, LocalStream],
        row: int,
        number: int,
        first: int,
        records: list[bytes],
        extra: _Extra | None,
    ) -> None:
        """Apply one entry of the log to what the segments say."""
        if extra is not None and extra.deleted:
            streams.pop(number, None)
            return
        if extra is not None and extra.state is not None:
            if number in streams:
                streams[number].info = extra.state.info
                streams[number].last_sequence = extra.state.last_sequence
                streams[number].producers = extra.state.producers
            else:
                streams[number] = self._stream(number, extra.state)
        stream = streams.get(number)
        if stream is None:
            return  # it was deleted, and the log still has its end
        self._floor.setdefault(number, row)
        stream.publish(records[max(0, stream.tail - first) :])

    @staticmethod
    def _stream(number: int, state: _State) -> LocalStream:
        stream = LocalStream(state.info)
        stream.number = number
        stream.created = True
        stream.last_sequence, stream.producers = state.last_sequence, state.producers
        return stream

    @staticmethod
    def _segments(db: sqlite3.Connection, number: int) -> PackedRecords:
        packed = PackedRecords()
        rows = db.execute("SELECT records FROM segments WHERE stream = ? ORDER BY first", (number,))
        for position, (data,) in enumerate(rows):
            part = PackedRecords.load(data)
            if position == 0:
                packed = part
            else:
                packed.extend(part[:])
        return packed

    # Group commit

    def _store(self, streams: Sequence[LocalStream]) -> None:
        entries: list[_Entry] = []
        ending: list[LocalStream] = []
        for stream in streams:
            extra: _Extra | None = None
            if (
                not stream.created
                or self._known_epoch.get(stream.number) != stream.info.epoch
                or stream.producers
                or stream.last_sequence is not None
            ):
                if not stream.number:
                    stream.number = self._next_number
                    self._next_number += 1
                extra = _Extra(state=_state(stream))
            if stream.pending_result is not None:
                ending.append(stream)
            else:
                entries.append((stream.number, stream.tail, stream.pending, extra))
        try:
            self._write(entries, ending)
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
            raise JournalUnavailableError(f"SQLite: {error}") from error
        for number, *_ in entries:
            self._floor.setdefault(number, self._log_number)
        for stream in streams:
            self._known_epoch[stream.number] = stream.info.epoch

    def _write(self, entries: list[_Entry], ending: list[LocalStream]) -> None:
        db = self._db
        if ending:
            db.execute("BEGIN IMMEDIATE")
        if entries:
            data = _encode(entries)
            db.execute("INSERT INTO log VALUES (?, ?)", (self._log_number + 1, data))
            self._log_bytes += len(data)
            self._since_checkpoint += len(data)
        for stream in ending:
            self._write_segment(stream, ended=True)
        if ending:
            db.execute("COMMIT")
        if entries:
            self._log_number += 1

    def _write_segment(self, stream: LocalStream, *, ended: bool) -> None:
        """Write the records that are in no segment yet, and the stream's row."""
        first = self._stored_tail.get(stream.number, 0)
        part = stream.records if not first else PackedRecords()
        if first:
            part.extend(stream.records[first:])
        if stream.pending and ended:
            whole = PackedRecords.load(part.dump()) if part is stream.records else part
            whole.extend(stream.pending)
            part = whole
        data = part.dump()
        state = _state(stream)
        if ended:
            state.info = msgspec.structs.replace(state.info, result=stream.pending_result)
        tail = first + len(part)
        if len(part):
            self._db.execute("INSERT INTO segments VALUES (?, ?, ?)", (stream.number, first, data))
        self._db.execute(
            "INSERT INTO streams VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET "
            "state = excluded.state, tail = excluded.tail, closed = excluded.closed, "
            "bytes = bytes + excluded.bytes, used = excluded.used",
            (stream.number, stream.info.id, _encode(state), tail, int(ended), len(data), time.time()),
        )
        self._since_checkpoint += len(data)
        if not ended:
            self._stored_tail[stream.number] = tail

    def _stored(self, streams: Sequence[LocalStream]) -> None:
        for stream in streams:
            if stream.closed:
                for table in (self._floor, self._stored_tail, self._known_epoch):
                    table.pop(stream.number, None)
                self._cache(stream)
        self._since_trim += 1
        if self._since_trim >= _TRIM:
            self._since_trim = 0
            self._trim()
        if self._since_checkpoint >= _CHECKPOINT:
            self._since_checkpoint = 0
            self._in_background(self._checkpoint)

    def _trim(self) -> None:
        """Cut the log behind the oldest stream still open; give long ones a segment when it has grown too long."""
        try:
            if self._log_bytes > _LOG_LIMIT:
                self._log_bytes = 0
                self._db.execute("BEGIN IMMEDIATE")
                for stream in list(self._streams.values()):
                    if stream.number in self._floor:
                        self._write_segment(stream, ended=False)
                        self._floor[stream.number] = self._log_number + 1
                self._db.execute("COMMIT")
            floor = min(self._floor.values(), default=self._log_number + 1)
            self._db.execute("DELETE FROM log WHERE number < ?", (floor,))
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
            logger.warning("the journal could not be tidied: %s", error)

    def _in_background(self, work: Any) -> None:
        future = asyncio.get_running_loop().run_in_executor(None, work)
        self._background.add(future)
        future.add_done_callback(self._background.discard)

    def _checkpoint(self) -> None:
        """Copy the WAL into the file, from another thread, until it has caught up with the commits."""
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self._path)) as db:
            for _ in range(5):
                _, pages, copied = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if pages == copied:
                    break

    # Ended streams

    def _cache(self, stream: LocalStream) -> None:
        """Keep an ended stream in memory for a while, within bounds."""
        self._cached[stream.info.id] = stream.nbytes
        self._cached_bytes += stream.nbytes
        while self._cached_bytes > _CACHE and len(self._cached) > 1:
            oldest = next(iter(self._cached))
            self._cached_bytes -= self._cached.pop(oldest)
            self._streams.pop(oldest, None)

    async def _load(self, stream_id: str) -> LocalStream | None:
        async with self._reading:
            if stream_id in self._streams:
                return self._streams[stream_id]
            try:
                stream = await asyncio.to_thread(self._read, stream_id)
            except sqlite3.Error as error:
                raise JournalUnavailableError(f"SQLite: {error}") from error
            if stream is not None:
                self._streams[stream_id] = stream
                self._cache(stream)
            return stream

    def _read(self, stream_id: str) -> LocalStream | None:
        with contextlib.closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5.0)) as db:
            row = db.execute(
                "SELECT number, state FROM streams WHERE id = ? AND closed = 1", (stream_id,)
            ).fetchone()
            if row is None:
                return None
            stream = self._stream(row[0], _decode_state(row[1]))
            stream.publish(self._segments(db, row[0])[:])
            stream.closed = True
            return stream

    def _drop(self, stream: LocalStream) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._forget(self._db, [stream.number])
            entry: _Entry = (stream.number, 0, [], _Extra(deleted=True))
            self._db.execute("INSERT INTO log VALUES (?, ?)", (self._log_number + 1, _encode([entry])))
            self._db.execute("COMMIT")
            self._log_number += 1
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
            raise JournalUnavailableError(f"SQLite: {error}") from error
        self._cached_bytes -= self._cached.pop(stream.info.id, 0)
        for table in (self._floor, self._stored_tail, self._known_epoch):
            table.pop(stream.number, None)
        super()._drop(stream)

    @staticmethod
    def _forget(db: sqlite3.Connection, numbers: Sequence[int]) -> None:
        for number in numbers:
            db.execute("DELETE FROM segments WHERE stream = ?", (number,))
            db.execute("DELETE FROM streams WHERE number = ?", (number,))

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            try:
                self.drop_expired()
                self.sweep(time.time())
            except (sqlite3.Error, JournalUnavailableError) as error:
                logger.warning("the journal could not let go of old streams: %s", error)

    def sweep(self, now: float) -> None:
        """Let go of ended streams that are too old, and of the oldest beyond the size; a few at a time."""
        db = self._db
        old = [
            (number, stream_id)
            for number, stream_id in db.execute(
                "SELECT number, id FROM streams WHERE closed = 1 AND used < ? ORDER BY used LIMIT 1000",
                (now - self._retention,),
            )
        ]
        (total,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM streams").fetchone()
        if total > self._max_bytes:
            for number, stream_id, size in db.execute(
                "SELECT number, id, bytes FROM streams WHERE closed = 1 ORDER BY used LIMIT 1000"
            ):
                if total <= self._max_bytes:
                    break
                old.append((number, stream_id))
                total -= size
        if not old:
            return
        db.execute("BEGIN IMMEDIATE")
        self._forget(db, [number for number, _ in old])
        db.execute("COMMIT")
        db.execute("PRAGMA incremental_vacuum")
        for _, stream_id in old:
            self._streams.pop(stream_id, None)
            self._cached_bytes -= self._cached.pop(stream_id, 0)


def _state(stream: LocalStream) -> _State:
    return _State(stream.info, stream.last_sequence, stream.producers)
