"""What a SQLite journal holds when it is opened: the streams that are open, or ended without a segment yet."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from everytoken.journal.rules import Marks
from everytoken.journal.sqlite_file import decode_entries, decode_state
from everytoken.journal.stream import Stream

if TYPE_CHECKING:
    from everytoken.journal.packed import Part
    from everytoken.journal.sqlite_file import Extra, SqliteFile
    from everytoken.journal.stream import Fetch

__all__ = ["Recovered"]


class Recovered:
    """The segments say what they hold of a stream, the log what has come since.

    `streams`: by number. `floors`: the first row of the log that each of them needs. `rows`: the rows of the log with
    their sizes. `last_row`, `last_number`: the highest in use. `ended_bytes`: size of the streams that have ended.
    `used`: what the ended streams of each owner take: owner, bytes, count. `removed`: what had ended up to then has been removed, because it was too old or there was no room for it.
    """

    def __init__(self, file: SqliteFile, fetch: Fetch) -> None:
        """Read it. Raises what SQLite and msgspec raise on damage."""
        self._fetch = fetch
        self._db = file.write
        self._producers = file.producers_of
        self.streams: dict[int, Stream] = {}
        self.floors: dict[int, int] = {}
        self.rows: deque[tuple[int, int]] = deque()
        self.last_row = file.moved
        self.last_number = 0
        for number, tail, size, state in self._db.execute(
            "SELECT number, tail, bytes, state FROM streams WHERE ended IS NULL"
        ):
            self._add(number, tail, size, state)
        for row, entries in self._db.execute("SELECT number, entries FROM log ORDER BY number"):
            self.rows.append((row, len(entries)))
            self.last_row = row
            for number, first, part, extra in decode_entries(entries):
                self._redo(row, number, first, part, extra)
        (highest,) = self._db.execute("SELECT coalesce(max(number), 0) FROM streams").fetchone()
        self.last_number = max(self.last_number, highest)
        (self.ended_bytes,) = self._db.execute(
            "SELECT coalesce(sum(bytes), 0) FROM streams WHERE ended IS NOT NULL"
        ).fetchone()
        self.used: list[tuple[str, int, int]] = self._db.execute(
            "SELECT owner, sum(bytes), count(*) FROM streams "
            "WHERE owner IS NOT NULL AND ended IS NOT NULL GROUP BY owner"
        ).fetchall()
        (self.removed,) = self._db.execute("SELECT max(ended) FROM removed").fetchone()

    def _add(self, number: int, tail: int, size: int, state: bytes) -> None:
        stored = decode_state(state)
        stream = Stream(stored.info, self._fetch, tail=tail)
        stream.number, stream.created = number, True
        stream.stored_bytes = size
        self._remember(stream, stored.marks.sequence)
        self.streams[number] = stream

    def _redo(self, row: int, number: int, first: int, part: Part, extra: Extra | None) -> None:
        self.last_number = max(self.last_number, number)
        stream = self.streams.get(number)
        if stream is None:
            if extra is None or not extra.created or self._has_ended(number):
                return
            assert extra.state is not None
            stream = self.streams[number] = Stream(extra.state.info, self._fetch)
            stream.number, stream.created = number, True
        self.floors.setdefault(number, row)
        if first > stream.tail:
            raise ValueError(f"records are missing before row {row} of its log")
        if first == stream.tail:  # otherwise it is in the segments: those end between two entries
            stream.load(part)
        if extra is None:
            return
        if extra.state is not None:
            stream.info = extra.state.info
            self._remember(stream, extra.state.marks.sequence)
        if extra.result is not None:
            stream.info.result = extra.result
            stream.closed = stream.closing = True
        if extra.deleted:
            del self.streams[number], self.floors[number]

    def _remember(self, stream: Stream, sequence: str | None) -> None:
        producers = self._producers(stream.number) if stream.info.shared else {}
        stream.marks = stream.storing_marks = stream.due_marks = Marks(sequence, producers)

    def _has_ended(self, number: int) -> bool:
        row = self._db.execute("SELECT ended FROM streams WHERE number = ?", (number,)).fetchone()
        return row is not None
