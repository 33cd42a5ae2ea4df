"""The newest rows of a SQLite journal's log, in a file of their own beside it, so that a commit is one `write`.

A transaction costs SQLite 60 to 100 microseconds however little is in it, and with few responses nearly every chunk is a
commit. So a row of the log is first appended here, and moves into the table with the next transaction that does anything
else. The table says up to which row that has happened, in the same transaction: what is found here behind that row, after
the death of a process, moves when the journal is opened again. As with SQLite's own WAL, what was written survives
the death of the process, and that of the machine once it has been synced.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from typing import TYPE_CHECKING

from everytoken.errors import JournalUnavailableError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ROW", "Tail"]

ROW = 256 * 1024  # bytes of a row from which on it goes into the table at once
_FULL = 4 * 1024 * 1024  # bytes in the file at which they move
_HEAD = struct.Struct("<QII")  # number, length, CRC-32 of both and the entries
_NUMBERED = struct.Struct("<QI")


class Tail:
    """The file, and its rows that are not in the table yet: `rows`, by number, oldest first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._size = 0
        self._identity = b""
        self.rows: list[tuple[int, bytes]] = []

    def open(self, moved: int, identity: bytes) -> None:
        """Open the file and read what follows row `moved`; `identity` is that of the database. Raises `OSError`.

        What a dying process left half written is not taken: nobody has been told that it is stored. Nor is what belongs to
        another database, which somebody has moved away.
        """
        self._identity = identity
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(os.dup(self._file), "rb") as file:
            data = file.read()
        self._size = len(identity) if data.startswith(identity) else 0
        while self._size > 0 and self._size + _HEAD.size <= len(data):
            number, length, check = _HEAD.unpack_from(data, self._size)
            begin = self._size + _HEAD.size
            entries = data[begin : begin + length]
            if (
                len(entries) < length
                or zlib.crc32(entries, zlib.crc32(_NUMBERED.pack(number, length))) != check
            ):
                break
            self._size = begin + length
            if number > moved:
                self.rows.append((number, entries))
        os.ftruncate(self._file, self._size)

    def append(self, number: int, entries: bytes) -> bool:
        """Append a row; return False if it is too large, or the file. Raises `JournalUnavailableError`; then nothing is."""
        assert self._file is not None
        length = len(entries)
        if length > ROW or self._size + length > _FULL:
            return False
        check = zlib.crc32(entries, zlib.crc32(_NUMBERED.pack(number, length)))
        row = (b"" if self._size else self._identity) + _HEAD.pack(number, length, check) + entries
        try:
            written = os.write(self._file, row)
        except OSError as error:
            raise JournalUnavailableError(f"{self._path.name}: {error.strerror}") from error
        if written < len(row):  # the disk is full
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise JournalUnavailableError(f"{self._path.name}: no space left")
        self._size += written
        self.rows.append((number, entries))
        return True

    def clear(self) -> None:
        """Let go of the rows: they are in the table now."""
        self.rows = []
        # If this fails, they stay there as rows that have moved.
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)
                self._size = 0

    def close(self) -> None:
        """Close the file, and remove it if there is nothing in it."""
        if self._file is not None:
            if not self.rows:
                with contextlib.suppress(OSError):
                    self._path.unlink()
            os.close(self._file)
            self._file = None
