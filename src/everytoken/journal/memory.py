"""A journal in memory: gone with the process, bounded in size and age."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from everytoken.journal.local import LocalJournal, LocalStream

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MemoryJournal"]

_SWEEP = 60.0  # seconds between two looks for streams whose time is over


class MemoryJournal(LocalJournal):
    """Keeps ended streams for `retention` seconds and within `max_bytes` together; open ones always."""

    immediate = True
    durable = False

    def __init__(self, *, retention: float = 86_400.0, max_bytes: int = 512 * 1024 * 1024) -> None:
        super().__init__()
        self._retention = retention
        self._max_bytes = max_bytes
        self._ended: dict[str, float] = {}  # in the order they ended
        self._ended_bytes = 0
        self._swept = time.time()

    async def stop(self) -> None:
        """Nothing is kept."""
        self._streams.clear()
        self._ended.clear()

    def _drop(self, stream: LocalStream) -> None:
        if self._ended.pop(stream.info.id, None) is not None:
            self._ended_bytes -= stream.nbytes
        super()._drop(stream)

    def _stored(self, streams: Sequence[LocalStream]) -> None:
        """Take note of ended streams, and let go of the oldest ones beyond the bounds."""
        now = time.time()
        if now >= self._swept + _SWEEP:
            self._swept = now
            self.drop_expired()
        for stream in streams:
            if stream.closed:
                self._ended[stream.info.id] = now
                self._ended_bytes += stream.nbytes
        while self._ended:
            oldest = next(iter(self._ended))
            over = self._ended_bytes > self._max_bytes and len(self._ended) > 1
            if not over and now - self._ended[oldest] < self._retention:
                break
            del self._ended[oldest]
            self._ended_bytes -= self._streams.pop(oldest).nbytes
