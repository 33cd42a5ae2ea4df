"""Keys that were made while the gateway ran: a stream of its own in the journal, which every node follows.

A record is a key as it is from then on. So a change is stored when it has been acknowledged, all nodes have it as soon as
the journal tells them, and a journal of another package needs nothing more for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final

import msgspec

from everytoken.errors import (
    EverytokenError,
    JournalFullError,
    JournalUnavailableError,
    StreamExistsError,
    StreamNotFoundError,
)
from everytoken.gateway.keys.key import Key
from everytoken.journal import Append, StreamInfo
from everytoken.journal.quota import OWN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.journal import Journal, Log

__all__ = ["StoredKeys"]

logger = logging.getLogger("everytoken.gateway")

_STREAM: Final = "~keys"  # callers cannot make a stream with such a name, nor read one that is nobody's
_BATCH: Final = 1024 * 1024  # bytes that are read at once
_MOST: Final = 100_000  # changes; each takes about 400 bytes
_AGAIN: Final = 1.0  # seconds between two looks for a stream that is not there yet, or cannot be read

_decode = msgspec.json.Decoder(Key).decode


class StoredKeys:
    """Follows the stream of keys, and adds to it. `changed` is called with each change, in order, in the event loop."""

    def __init__(self, journal: Journal, changed: Callable[[Key], None]) -> None:
        self._journal = journal
        self._changed = changed
        self._log: Log | None = None
        self._offset = 0
        self._moved = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def start(self) -> None:
        """Read what there is, and follow. Raises `JournalUnavailableError`: nobody may be let in by half a list."""
        if self._following is None:
            if await self._open():
                await self._read_on()
            self._following = asyncio.create_task(self._follow_for_ever())

    async def stop(self) -> None:
        """Follow no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            self._following = None
        self._leave()

    async def put(self, key: Key) -> None:
        """Store a key as it is from now on; it counts here when this returns. A key can always be revoked.

        Raises `JournalUnavailableError`, `JournalFullError`.
        """
        if self._offset >= _MOST and key.revoked is None:
            raise JournalFullError(
                f"there have been {_MOST:,} changes of keys: from now on keys can only be revoked"
            )
        record = msgspec.json.encode(key)
        try:
            stored = await self._journal.submit(_STREAM, Append(records=[record]))
        except StreamNotFoundError:
            self._leave()  # whatever has become of what was followed
            self._offset = 0
            await self._create()
            stored = await self._journal.submit(_STREAM, Append(records=[record]))
        if stored.tail > self._offset:
            seen: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((stored.tail, seen))
            self._moved.set()
            await seen

    async def _create(self) -> None:
        info = StreamInfo(
            id=_STREAM, content_type="application/json", owner=OWN, created=time.time(), shared=True
        )
        with contextlib.suppress(StreamExistsError):  # another node was quicker
            await self._journal.create(info)

    async def _open(self) -> bool:
        """Begin to read, if there is anything yet."""
        try:
            self._log = await self._journal.open(_STREAM)
        except StreamNotFoundError:
            return False
        self._offset = 0
        self._log.subscribe(self._moved.set)
        return True

    def _leave(self) -> None:
        if self._log is not None:
            self._log.unsubscribe(self._moved.set)
            self._log = None

    async def _follow_for_ever(self) -> None:
        while True:
            try:
                await self._until_moved()
                if self._log is not None and self._log.deleted:
                    self._leave()
                if self._log is not None or await self._open():
                    await self._read_on()
            except EverytokenError as error:
                logger.warning(
                    "the keys in the journal cannot be followed: %s (%s)", error.message, error.code
                )
                self._leave()
                self._moved.set()
                await asyncio.sleep(_AGAIN)
            except Exception:  # one failure must not end it for good
                logger.exception("the keys in the journal cannot be followed")
                await asyncio.sleep(_AGAIN)

    async def _until_moved(self) -> None:
        if self._log is None:  # another node may have made the first key
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AGAIN):
                    await self._moved.wait()
        else:
            await self._moved.wait()
        self._moved.clear()

    async def _read_on(self) -> None:
        assert self._log is not None
        while self._offset < self._log.tail:
            records: Sequence[bytes] | None = self._log.take(self._offset, _BATCH)
            if records is None:
                records = await self._log.fetch(self._offset, _BATCH)
            if not records:
                raise JournalUnavailableError("the keys in the journal cannot be read")
            for record in records:
                self._offset += 1
                self._take(record)
        for _, seen in [one for one in self._waiting if one[0] <= self._offset]:
            if not seen.done():
                seen.set_result(None)
        self._waiting = [one for one in self._waiting if one[0] > self._offset]

    def _take(self, record: bytes) -> None:
        try:
            self._changed(_decode(record))
        except msgspec.DecodeError:
            logger.error("a key in the journal cannot be read; it may be of a later version")  # noqa: TRY400
