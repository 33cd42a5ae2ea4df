"""A journal in memory: gone with the process, bounded in size and age."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from everytoken.errors import (
    OffsetInvalidError,
    StreamClosedError,
    StreamExistsError,
    StreamNotFoundError,
)
from everytoken.journal import StreamInfo
from everytoken.journal.packed import PackedRecords

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["MemoryJournal"]

_STEP = 64  # records taken at once, between two looks at their size


class _Stream:
    """One stream: the log that readers see and the writer of it.

    `_newest` are the records of the last append, as they came: a reader that keeps up gets these, and only one that
    does not has them made anew.
    """

    __slots__ = ("_journal", "_moved", "_newest", "_records", "closed", "info")

    def __init__(self, journal: MemoryJournal, info: StreamInfo) -> None:
        self._journal = journal
        self._records = PackedRecords()
        self._newest: Sequence[bytes] = ()
        self._moved: list[Callable[[], None]] = []
        self.info = info
        self.closed = False

    @property
    def log(self) -> _Stream:
        return self

    @property
    def tail(self) -> int:
        return len(self._records)

    @property
    def nbytes(self) -> int:
        return self._records.nbytes

    def take(self, offset: int, limit: int) -> Sequence[bytes]:
        records = self._records
        count = len(records) - offset
        if count == len(self._newest):
            return self._newest
        if count < 0:
            raise OffsetInvalidError("this offset is past the end of the stream", param="offset")
        taken: list[bytes] = []
        size = 0
        while size < limit and offset < len(records):
            some = records[offset : offset + _STEP]
            taken += some
            offset += len(some)
            size += sum(map(len, some))
        return taken

    async def fetch(self, offset: int, limit: int) -> Sequence[bytes]:
        return self.take(offset, limit)

    def subscribe(self, moved: Callable[[], None]) -> None:
        self._moved.append(moved)

    def unsubscribe(self, moved: Callable[[], None]) -> None:
        if moved in self._moved:
            self._moved.remove(moved)

    def append(self, records: Sequence[bytes]) -> None:
        if self.closed:
            raise StreamClosedError(f"stream {self.info.id} has ended")
        self._records.extend(records)
        self._newest = records
        # Storing is done with this, so the readers hear of it at once. A reader that has had enough takes itself off
        # the list in this call: hence the copy.
        for moved in self._moved.copy():
            moved()

    def close(self, records: Sequence[bytes], result: dict[str, Any]) -> None:
        if self.closed:
            raise StreamClosedError(f"stream {self.info.id} has ended")
        self._records.extend(records)
        self._newest = ()
        self.closed = True
        self.info.result = result
        self._journal.closed(self)
        for moved in self._moved.copy():
            moved()


class MemoryJournal:
    """Keeps ended streams for `retention` seconds and within `max_bytes` together; open ones always."""

    def __init__(self, *, retention: float = 86_400.0, max_bytes: int = 512 * 1024 * 1024) -> None:
        self._retention = retention
        self._max_bytes = max_bytes
        self._streams: dict[str, _Stream] = {}
        self._ended: dict[str, float] = {}  # in the order they ended
        self._ended_bytes = 0

    async def start(self) -> None:
        """Nothing to prepare."""

    async def stop(self) -> None:
        """Nothing is kept."""
        self._streams.clear()
        self._ended.clear()

    async def create(self, stream_id: str, *, content_type: str, owner: str, meta: dict[str, Any]) -> _Stream:
        """Begin a stream. Raises `StreamExistsError`."""
        if stream_id in self._streams:
            raise StreamExistsError(f"stream {stream_id} exists")
        stream = _Stream(self, StreamInfo(stream_id, content_type, owner, time.time(), meta))
        self._streams[stream_id] = stream
        return stream

    async def open(self, stream_id: str) -> _Stream:
        """Return a stream to read. Raises `StreamNotFoundError`."""
        stream = self._streams.get(stream_id)
        if stream is None:
            raise StreamNotFoundError("there is no such stream")
        return stream

    def closed(self, stream: _Stream) -> None:
        """Take note of an ended stream, and let go of the oldest ones beyond the bounds."""
        now = asyncio.get_running_loop().time()
        self._ended[stream.info.id] = now
        self._ended_bytes += stream.nbytes
        while self._ended:
            oldest = next(iter(self._ended))
            over = self._ended_bytes > self._max_bytes and oldest != stream.info.id
            if not over and now - self._ended[oldest] < self._retention:
                break
            del self._ended[oldest]
            self._ended_bytes -= self._streams.pop(oldest).nbytes
