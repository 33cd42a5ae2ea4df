"""Where entries of the request log are kept: one stream of the journal for each hour, which all nodes add to.

So the entries of every node are in one place, they expire with their hour, and a journal of another package needs nothing
more for it. Entries are added a few at a time. What is looked for is looked for from the newest hour backwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.errors import EverytokenError, StreamExistsError, StreamNotFoundError
from everytoken.journal import Append, StreamInfo
from everytoken.journal.quota import OWN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from everytoken.gateway.requestlog.query import Query
    from everytoken.journal import Journal, Log

__all__ = ["HOUR", "Kept", "room_in"]

logger = logging.getLogger("everytoken.gateway")

HOUR: Final = 3600
"""Seconds for which one stream has the entries."""

_DELAY: Final = 0.2  # seconds for which entries are gathered; so much of the log may die with a process
_MOST: Final = 10_000  # entries that wait; a journal that cannot take them loses the oldest
_LOOK: Final = 2000  # entries that are looked through at once, the newest first
_BATCH: Final = 1024 * 1024  # bytes that are read at once
_ENTRY: Final = 640  # bytes that an entry takes, more or less
_FEW: Final = 1000

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def stream_of(hour: int) -> str:
    """Return the name of the stream of an hour since 1970. Callers cannot make one with such a name."""
    return f"~requests-{time.strftime('%Y%m%d%H', time.gmtime(hour * HOUR))}"


def room_in(max_journal: int) -> int:
    """Return how many entries are kept in a journal that may take so many bytes: what fits in a quarter of it."""
    return max(_FEW, max_journal // 4 // _ENTRY)


class Kept:
    """Adds entries and looks through them. `now`: seconds since 1970.

    An hour's entries are kept for `keep` seconds, and of all hours `most` entries, give or take an eighth: the oldest hours
    go, and one that alone has more starts over.
    """

    def __init__(
        self,
        journal: Journal,
        keep: float,
        now: Callable[[], float] = time.time,
        *,
        most: int = 1_000_000,
    ) -> None:
        self._journal = journal
        self._keep = keep
        self._now = now
        self._most = most
        self._hour = 0  # when it was looked last whether there is room
        self._unseen = 0  # entries since then
        self._waiting: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._storing: asyncio.Task[None] | None = None
        self._lost = 0

    def add(self, entry: dict[str, Any]) -> None:
        """Keep an entry; it can be found a moment later."""
        if len(self._waiting) >= _MOST:
            del self._waiting[0]
            self._lost += 1
        self._waiting.append(_encode(entry))
        if self._timer is None and self._storing is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY, self._begin)

    async def stop(self) -> None:
        """Store what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._begin()
        if self._storing is not None:
            await self._storing

    async def flush(self) -> None:
        """Store what waits now, for a reader that wants to see it."""
        await self.stop()

    def _begin(self) -> None:
        self._timer = None
        if self._waiting:
            self._storing = asyncio.ensure_future(self._store())

    async def _store(self) -> None:
        entries, self._waiting = self._waiting, []
        try:
            await self._append(entries)
        except EverytokenError as error:
            self._lost += len(entries)
            logger.warning(
                "%d entries of the request log could not be stored, %d in all: %s (%s)",
                len(entries),
                self._lost,
                error.message,
                error.code,
            )
        except Exception:  # one failure must not end it for good
            logger.exception("the request log could not be stored")
        finally:
            self._storing = None
            if self._waiting and self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_DELAY, self._begin)

    async def _append(self, entries: list[bytes]) -> None:
        hour = int(self._now() // HOUR)
        tail = await self._add_to(hour, entries)
        self._unseen += len(entries)
        if hour != self._hour or self._unseen > self._most // 8:
            self._hour, self._unseen = hour, 0
            if tail > self._most:
                await self._remove(hour)
                tail = await self._add_to(hour, entries)
            await self._make_room(hour, self._most - tail)

    async def _add_to(self, hour: int, entries: list[bytes]) -> int:
        """Add entries; return how many the hour has then."""
        name, append = stream_of(hour), Append(records=entries)
        try:
            return (await self._journal.submit(name, append)).tail
        except StreamNotFoundError:
            info = StreamInfo(
                id=name,
                content_type="application/json",
                owner=OWN,
                created=self._now(),
                shared=True,
                expires=(hour + 1) * HOUR + self._keep,
            )
            try:
                return (await self._journal.create(info, entries)).log.tail
            except StreamExistsError:  # another node was quicker
                return (await self._journal.submit(name, append)).tail

    async def _make_room(self, hour: int, left: int) -> None:
        """Have the hours before one go for which there is no room left."""
        for number in range(hour - 1, int((self._now() - self._keep) // HOUR) - 2, -1):
            left -= await self.length(number)
            if left < 0:
                await self._remove(number)

    async def _remove(self, hour: int) -> None:
        with contextlib.suppress(StreamNotFoundError):
            await self._journal.delete(stream_of(hour))

    # Looking

    async def find(self, query: Query) -> list[dict[str, Any]]:
        """Return the entries that a query asks for, newest first. Raises `JournalError`."""
        await self.flush()
        now = self._now()
        newest = int(min(query.until, now) // HOUR)
        # An entry is in the hour in which its response has ended, however long that took.
        oldest = int(max(query.since, now - self._keep - HOUR) // HOUR)
        newest = max(newest, int(now // HOUR)) if query.until < now else newest
        found: list[dict[str, Any]] = []
        for hour in range(newest, oldest - 1, -1):
            try:
                log = await self._journal.open(stream_of(hour), touch=False)
                end = log.tail
                while end > 0 and len(found) < query.limit:
                    start = max(0, end - _LOOK)
                    records = [record async for some in _read(log, start, end) for record in some]
                    # In a thread: it may be megabytes of JSON.
                    found += await asyncio.to_thread(_matching, records, query, query.limit - len(found))
                    end = start
            except StreamNotFoundError:
                continue
            if len(found) >= query.limit:
                break
        return found

    async def length(self, hour: int) -> int:
        """Return how many entries there are of an hour since 1970. Raises `JournalError`."""
        try:
            return (await self._journal.open(stream_of(hour), touch=False)).tail
        except StreamNotFoundError:
            return 0

    async def records(self, hour: int, offset: int) -> AsyncIterator[Sequence[bytes]]:
        """Yield the entries of an hour since 1970 from an offset on, some at a time. Raises `JournalError`."""
        try:
            log = await self._journal.open(stream_of(hour), touch=False)
            async for some in _read(log, offset, log.tail):
                yield some
        except StreamNotFoundError:
            return


def _matching(records: Sequence[bytes], query: Query, limit: int) -> list[dict[str, Any]]:
    found = []
    for record in reversed(records):
        if not query.may_match(record):
            continue
        entry = _decode(record)
        if query.matches(entry):
            found.append(entry)
            if len(found) >= limit:
                break
    return found


async def _read(log: Log, offset: int, end: int) -> AsyncIterator[Sequence[bytes]]:
    """Yield the records of a log from one offset to another, some at a time."""
    while offset < end:
        some = log.take(offset, _BATCH)
        if some is None:
            some = await log.fetch(offset, _BATCH)
        if not some:
            break
        yield some[: end - offset]
        offset += len(some)
