"""A journal in memory: gone with the process, bounded in size and age."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from everytoken.journal.local import LocalJournal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.journal import StreamInfo
    from everytoken.journal.quota import Quota
    from everytoken.journal.stream import Stream, StreamWriter

__all__ = ["MemoryJournal"]

_BATCH = 64  # streams that are removed for their age at once, with each response that begins
_SWEEP = 60.0  # seconds between two looks for streams whose time is over, while there is any traffic


class MemoryJournal(LocalJournal):
    """Keeps ended streams for `retention` seconds and within `max_bytes` together; open ones always."""

    durable = False

    def __init__(
        self,
        *,
        retention: float = 86_400.0,
        max_bytes: int = 512 * 1024 * 1024,
        quota: Quota | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(retention=retention, max_bytes=max_bytes, quota=quota, now=now)
        # When, and how large, in the order they ended. A `dict` would search for its first key past all that are gone.
        self._ended: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._ended_bytes = 0
        self._swept = now()
        self._old_are_left = False
        self.moved = self._show

    async def create(
        self, info: StreamInfo, records: Sequence[bytes] = (), *, closed: bool = False
    ) -> StreamWriter:
        """Begin a stream. Raises `StreamExistsError`."""
        if self._now() >= self._swept + _SWEEP:
            self.sweep()
        elif self._old_are_left:
            self._drop_old()
        writer = await super().create(info, records, closed=closed)
        writer.log.immediate = True
        return writer

    async def stop(self) -> None:
        """Nothing is kept."""
        await super().stop()
        self._streams.clear()
        self._ended.clear()

    async def probe(self) -> None:
        """To be in memory is to be stored."""

    def _show(self, stream: Stream) -> None:
        """Show at once what was appended: to be in memory is to be stored. A writer's records take a shorter way."""
        try:
            stream.begin()
            stream.commit()
            if self._deleting:
                self._going = list(self._deleting.values())
                self._after([stream])
            elif stream.closed:
                self._stored([stream])
        except Exception:  # noqa: BLE001  # the group commit tries it again, and knows what to do if it fails
            stream.put_back()
            self._commit.add(stream)

    def sweep(self) -> None:
        """Let go of the streams whose time is over, and of ended ones that are too old or beyond the size."""
        super().sweep()
        self._swept = self._now()
        self._drop_old()

    def _drop_old(self) -> None:
        """Let go of all that is beyond the size, and of a batch of what is too old: the loop must not stand still for it."""
        now, room = self._now(), _BATCH
        self._old_are_left = False
        while self._ended:
            oldest, (ended, _) = next(iter(self._ended.items()))
            over = self._ended_bytes + self._open_bytes > self._max_bytes and len(self._ended) > 1
            if not over:
                if now - ended < self._retention:
                    break
                if not room:
                    self._old_are_left = True
                    break
                room -= 1
            self._removed = ended
            self._have_deleted(self._streams[oldest])

    def _admit(self, stream: Stream, records: Sequence[bytes]) -> None:
        super()._admit(stream, records)
        if self._ended and self._ended_bytes + self._open_bytes > self._max_bytes:
            self._drop_old()

    def _store(self, streams: Sequence[Stream]) -> bool:  # noqa: ARG002
        return True

    def _stored(self, streams: Sequence[Stream]) -> None:
        for stream in streams:
            if stream.closed and stream.lost is None and stream.info.id not in self._ended:
                self._ended[stream.info.id] = (self._now(), stream.records.nbytes)
                self._ended_bytes += stream.records.nbytes
                if self._ended_bytes + self._open_bytes > self._max_bytes:
                    self._drop_old()

    def _drop(self, stream: Stream) -> None:
        self._ended_bytes -= self._ended.pop(stream.info.id, (0.0, 0))[1]
        super()._drop(stream)
