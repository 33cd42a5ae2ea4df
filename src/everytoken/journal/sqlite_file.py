"""The SQLite file of a journal: its schema, its lock, and its contents."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.errors import ConfigurationError, JournalUnavailableError
from everytoken.journal import StreamInfo  # noqa: TC001  # msgspec reads the annotations
from everytoken.journal.commit import StorageBusyError
from everytoken.journal.packed import Part  # likewise
from everytoken.journal.rules import Marks  # noqa: TC001  # likewise
from everytoken.journal.sqlite_tail import Tail

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "INSERT_LOG",
    "NOTHING",
    "SQLITE_FAULTS",
    "Entry",
    "Extra",
    "SqliteFile",
    "State",
    "Statement",
    "decode_entries",
    "decode_state",
    "encode",
    "remove_unused",
]

_VERSION = 4
# Whether `flock` and the locks that SQLite takes with `fcntl` do not see each other; elsewhere one would stop the other.
_INDEPENDENT = sys.platform == "linux"
_FREE = 64 * 1024 * 1024  # bytes of free pages from which on a file is worth making smaller
_COPIED = 256 * 1024 * 1024  # bytes that may have to be copied for it: a second or two
_WAL_PAGES = 8192  # of 4 KiB each: the length at which the WAL is forced to restart
_SCHEMA = """
CREATE TABLE streams (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tail INTEGER NOT NULL,        -- records in its segments
    ended REAL,                   -- when it was closed, seconds since 1970; null of an open one
    until REAL,                   -- when it ends in any case: by its ttl, or because it expires
    bytes INTEGER NOT NULL,       -- of its segments and its state
    state BLOB NOT NULL           -- msgpack of State
);
CREATE INDEX streams_by_age ON streams (ended, bytes) WHERE ended IS NOT NULL;
CREATE INDEX streams_by_end ON streams (until) WHERE until IS NOT NULL;
CREATE INDEX streams_open ON streams (number) WHERE ended IS NULL;
CREATE TABLE segments (
    stream INTEGER NOT NULL,
    first INTEGER NOT NULL,       -- offset before its first record
    records BLOB NOT NULL,        -- a dump of PackedRecords
    PRIMARY KEY (stream, first)
);
CREATE TABLE log (
    number INTEGER PRIMARY KEY,
    entries BLOB NOT NULL         -- msgpack of a list of entries
);
"""
_VERSION_2 = """
CREATE TABLE removed (
    ended REAL NOT NULL           -- one row: what had ended up to then has been removed for its age, or for room
);
INSERT INTO removed VALUES (0.0);
"""
_VERSION_3 = """
CREATE TABLE producers (
    stream INTEGER NOT NULL,
    id TEXT NOT NULL,             -- Producer-Id
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,         -- the last number accepted
    PRIMARY KEY (stream, id)
) WITHOUT ROWID;
ALTER TABLE streams ADD COLUMN owner TEXT;  -- whose quota it counts against; null of a response
CREATE INDEX streams_by_owner ON streams (owner, bytes) WHERE owner IS NOT NULL;
"""
_VERSION_4 = """
CREATE TABLE moved (
    row INTEGER NOT NULL,         -- one row: the last that was moved into the log from its tail
    identity BLOB NOT NULL        -- what the tail begins with
);
INSERT INTO moved VALUES (0, randomblob(8));
"""
_STEPS = (_SCHEMA, _VERSION_2, _VERSION_3, _VERSION_4)
INSERT_LOG = "INSERT INTO log VALUES (?, ?)"


class State(msgspec.Struct):
    """What is stored of a stream besides its records. The marks of its producers have rows of their own."""

    info: StreamInfo
    marks: Marks


class Extra(msgspec.Struct, omit_defaults=True):
    """The rarer parts of an entry.

    `created`: it is the stream's first; `result`: it is the last, and this is what the stream was closed with;
    `deleted`: the stream is gone.
    """

    state: State | None = None
    created: bool = False
    result: dict[str, Any] | None = None
    deleted: bool = False


# The stream's number, the offset before its first record here, the records, and rarely more.
Entry = tuple[int, int, Part, Extra | None]
NOTHING: Part = (None, [])
Statement = tuple[str, "Sequence[Any]"]

encode = msgspec.msgpack.Encoder().encode
decode_entries = msgspec.msgpack.Decoder(list[Entry]).decode
decode_state = msgspec.msgpack.Decoder(State).decode

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
# What SQLite says of a statement and not of the file.
_OURS = (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
SQLITE_FAULTS = (sqlite3.Error, msgspec.MsgspecError, ValueError)  # what a damaged or unwilling file raises


class SqliteFile:
    """The connections to one file: `write` for who commits, `read` for a thread that reads, `look_up` is for the event loop."""

    def __init__(self, path: Path, *, sync: bool) -> None:
        """`sync`: have every commit survive the death of the machine, by one fsync; nothing goes to the tail then."""
        self._path = path
        self._sync = sync
        self._tail = Tail(path.with_name(f"{path.name}-tail"))
        self._locks: list[int] = []
        self.write: sqlite3.Connection = None  # type: ignore[assignment]  # until open()
        self.read: sqlite3.Connection = None  # type: ignore[assignment]  # likewise
        self._look: sqlite3.Connection = None  # type: ignore[assignment]  # likewise

    def open(self) -> None:
        """Open the file, or make it. Raises `ConfigurationError`."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._take_lock()
            self.write = self._connect()
            self.write.execute("PRAGMA journal_mode = WAL")
            self._migrate()
            self._tail.open(self.moved, self.write.execute("SELECT identity FROM moved").fetchone()[0])
            self._move()
            self._give_room_back()
            self.read = self._connect()
            self._look = self._connect()
        except (OSError, *SQLITE_FAULTS) as error:
            self.close()
            raise self.unusable(error) from error
        except ConfigurationError:
            self.close()
            raise

    def unusable(self, error: Exception) -> ConfigurationError:
        """Return the one line that says what is wrong with the file."""
        reason = getattr(error, "strerror", None) or str(error)
        line = f"the journal {self._path} cannot be used: {reason}"
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _DAMAGE and not isinstance(
            error, OSError
        ):
            line += "; move the file away to begin a new one"
        return ConfigurationError(line)

    def _take_lock(self) -> None:
        # SQLite's own locks would let two processes take turns, each with its own idea of the open streams. The file
        # beside it has its real name, so that a symbolic link leads to the same lock; a hard link has another name, so
        # the file itself is locked as well.
        try:
            self._locks.append(_locked(_lock_of(self._path)))
            if _INDEPENDENT:
                self._locks.append(_locked(self._path))
        except BlockingIOError as error:
            raise ConfigurationError(
                f"the journal {self._path} is in use by another process; give this one its own (--journal)"
            ) from error
        if not _INDEPENDENT and self._path.exists() and self._path.stat().st_nlink > 1:
            raise ConfigurationError(
                f"the journal {self._path} has hard links: another process may use it by another name"
            )

    def _connect(self) -> sqlite3.Connection:
        # 0600 from the beginning: other people's conversations are nobody's business.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0.0)
        try:
            # In WAL mode NORMAL syncs only when the WAL is copied into the file, which is done in a thread, and when it
            # restarts; with OFF a power cut could leave the file damaged.
            db.execute(f"PRAGMA synchronous = {'FULL' if self._sync else 'NORMAL'}")
            db.execute("PRAGMA wal_autocheckpoint = 0")
            db.execute(f"PRAGMA journal_size_limit = {_WAL_PAGES * 4096}")
        except BaseException:
            db.close()  # nobody else knows it
            raise
        return db

    def _migrate(self) -> None:
        (version,) = self.write.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise ConfigurationError(
                f"the journal {self._path} was made by a newer everytoken (schema {version}); use that one"
            )
        if version < _VERSION:
            steps = "".join(_STEPS[version:])
            self.write.executescript(f"BEGIN IMMEDIATE; {steps} PRAGMA user_version = {_VERSION};")
            if 0 < version < 3:
                self._move_producers()
            self.write.execute("COMMIT")

    @property
    def moved(self) -> int:
        """The last row that was moved into the log from its tail; 0 if none was."""
        (row,) = self.write.execute("SELECT row FROM moved").fetchone()
        return int(row)

    @property
    def has_tail(self) -> bool:
        """Whether the newest rows of the log are not in the database yet."""
        return bool(self._tail.rows)

    def _move(self) -> None:
        """Move the newest rows into the log."""
        if self._tail.rows:
            self.execute([])

    def _move_producers(self) -> None:
        """Take producers' marks, and owners, out of the states that earlier versions kept them in."""
        for number, state in self.write.execute("SELECT number, state FROM streams").fetchall():
            self._move_marks(number, decode_state(state))
        for (entries,) in self.write.execute("SELECT entries FROM log ORDER BY number"):
            for number, _, _, extra in decode_entries(entries):
                if extra is not None and extra.state is not None:
                    self._move_marks(number, extra.state)

    def _move_marks(self, number: int, state: State) -> None:
        if state.info.shared:
            self.write.execute("UPDATE streams SET owner = ? WHERE number = ?", (state.info.owner, number))
            for producer, (epoch, seq) in state.marks.producers.items():
                self.write.execute(
                    "INSERT OR REPLACE INTO producers VALUES (?, ?, ?, ?)", (number, producer, epoch, seq)
                )

    def producers_of(self, stream: int) -> dict[str, tuple[int, int]]:
        """Return the marks of a stream's producers. Raises `JournalUnavailableError`."""
        rows = self.look_up("SELECT id, epoch, seq FROM producers WHERE stream = ?", stream)
        return {name: (epoch, seq) for name, epoch, seq in rows}

    def _give_room_back(self) -> None:
        """Make the file smaller if most of it is free. Only at the start: nobody waits for a commit yet."""
        pages, free, size = (
            self.write.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        used = pages - free
        if free > used and free * size >= _FREE and used * size <= _COPIED:
            with contextlib.suppress(sqlite3.Error):  # there may be no room for a copy
                self.write.execute("VACUUM")
                self.write.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def close(self) -> None:
        """Let go of the file."""
        if self.write is not None:
            with contextlib.suppress(JournalUnavailableError, sqlite3.Error):  # the next to open it does it
                self._move()
        self._tail.close()
        for db in (self._look, self.read, self.write):
            if db is not None:
                with contextlib.suppress(sqlite3.Error):
                    db.close()
        # Last: closing any descriptor of the file lets go of what SQLite has locked in it.
        while self._locks:
            os.close(self._locks.pop())

    def execute(self, statements: Sequence[Statement]) -> bool:
        """Carry out statements in one transaction, all or none; return False if they were a row that went to the tail.

        Raises `JournalUnavailableError` while the file refuses, anything else for a statement that can never be carried
        out.
        """
        db, tail = self.write, self._tail
        if len(statements) == 1 and not self._sync:
            sql, values = statements[0]
            if sql is INSERT_LOG and tail.append(*values):
                return False
        try:
            if len(statements) == 1 and not tail.rows:
                db.execute(*statements[0])
                return True
            db.execute("BEGIN IMMEDIATE")
            if tail.rows:
                db.executemany("INSERT OR REPLACE INTO log VALUES (?, ?)", tail.rows)
                db.execute("UPDATE moved SET row = ?", (tail.rows[-1][0],))
            for statement in statements:
                db.execute(*statement)
            db.execute("COMMIT")
            tail.clear()
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                db.rollback()
            if not isinstance(error, sqlite3.Error) or isinstance(error, _OURS):
                raise  # it would come again: what was to be stored is at fault
            busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in {
                sqlite3.SQLITE_BUSY,
                sqlite3.SQLITE_LOCKED,
            }
            raise (StorageBusyError if busy else JournalUnavailableError)(f"SQLite: {error}") from error
        return True

    def look_up(self, sql: str, *values: object) -> list[Any]:
        """Return a few rows, in the event loop's thread. Raises `JournalUnavailableError`."""
        try:
            return self._look.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise JournalUnavailableError(f"SQLite: {error}") from error

    def checkpoint(self) -> None:
        """Copy the WAL into the file, from any thread, until it has caught up with the commits.

        While there is a commit every millisecond it may never catch up, or only with what was there when it looked,
        and the WAL never restart. When it has grown too long, the last part is copied with commits kept out, for as
        long as one fsync takes.
        """
        with contextlib.suppress(sqlite3.Error), contextlib.closing(self._connect()) as db:
            for _ in range(5):
                _, pages, copied = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if pages == copied:
                    break
            if pages > _WAL_PAGES:
                db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()


def remove_unused(path: Path, files: Sequence[Path]) -> None:
    """Remove a journal's files, unless a process has it open, be it ever so idle. Raises `OSError`."""
    locks = [_locked(_lock_of(path))]
    try:
        if _INDEPENDENT:
            locks.append(_locked(path))
        for file in {*files, path.with_name(f"{path.name}.lock")}:
            file.unlink()
    finally:
        for lock in locks:
            os.close(lock)


def _lock_of(path: Path) -> Path:
    real = path.resolve()
    return real.with_name(f"{real.name}.lock")


def _locked(path: Path) -> int:
    """Return a descriptor that holds the lock of a file, which is made if need be. Raises `OSError`."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(lock)
        raise
    return lock
