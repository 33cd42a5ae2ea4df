"""Which ended streams of a SQLite journal need not be kept: the overdue, the old, and what does not fit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from everytoken.errors import JournalUnavailableError

if TYPE_CHECKING:
    from everytoken.journal.sqlite_file import SqliteFile

__all__ = ["Retention"]

logger = logging.getLogger("everytoken.journal")

_PAGE = 4096
_OVER = "SELECT number FROM streams WHERE until <= ? AND ended IS NOT NULL LIMIT ?"
_OLD = "SELECT number, ended, bytes FROM streams WHERE ended < ? ORDER BY ended LIMIT ?"
_PAGES = "SELECT page_count - freelist_count FROM pragma_page_count, pragma_freelist_count"
_OLDEST = "SELECT number, ended, bytes FROM streams WHERE ended IS NOT NULL ORDER BY ended LIMIT ?"


class Retention:
    """Ended streams are kept for `seconds` and within `max_bytes`; the file may have `slack` bytes more for the log."""

    def __init__(self, file: SqliteFile, *, seconds: float, max_bytes: int, slack: int) -> None:
        self._file = file
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._slack = slack

    def is_exceeded(self, ended_bytes: int) -> bool:
        """Whether ended streams must be removed to make room; False if that cannot be checked."""
        try:
            return self._excess(ended_bytes) > 0
        except JournalUnavailableError:
            return False  # the commit will say so

    def old(self, now: float, ended_bytes: int, limit: int) -> tuple[list[int], float]:
        """Return the numbers of up to `limit` streams that need not be kept, and when the last of them had ended.

        That is 0.0 if there is none but those that were to end then in any case.
        """
        removed = 0.0
        try:
            old = [number for (number,) in self._file.look_up(_OVER, now, limit)]
            rows = self._file.look_up(_OLD, now - self._seconds, limit - len(old))
            excess = self._excess(ended_bytes)
            if excess > 0 and not (old or rows):
                for row in self._file.look_up(_OLDEST, limit):
                    rows.append(row)
                    excess -= row[2]
                    if excess <= 0:
                        break
        except JournalUnavailableError as error:
            logger.warning("the journal could not look for old streams: %s", error.message)
            return [], removed
        for number, ended, _ in rows:
            old.append(number)
            removed = max(removed, ended)
        return list(dict.fromkeys(old)), removed

    def _excess(self, ended_bytes: int) -> int:
        """Return how many bytes of ended streams have to go. Raises `JournalUnavailableError`.

        Pages are counted too, not only bytes: of a page that a segment has begun, the next one may not want the rest.
        """
        pages: int = self._file.look_up(_PAGES)[0][0]
        return max(ended_bytes, pages * _PAGE - self._slack) - self._max_bytes
