"""What an attempt has sent before its first content: held back, because a retry has to start from a clean slate."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from everytoken.dialects.pieces import Chunk
    from everytoken.recovery.transcript import Transcript

__all__ = ["Held"]

_MAX = 256  # chunks without content kept back before the first content; more are passed on
_MAX_BYTES = 1024 * 1024


class Held:
    """Chunks without content, and frames. Nothing of them is delivered, nor in the transcript, until they are released."""

    __slots__ = ("_bytes", "_frames", "_records")

    def __init__(self) -> None:
        self._records: list[bytes] = []
        self._frames: tuple[Chunk, ...] = ()
        self._bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether more can be held back."""
        return len(self._records) < _MAX and self._bytes < _MAX_BYTES

    def add(self, chunk: Chunk) -> None:
        """Hold a chunk back."""
        self._bytes += len(chunk.record)
        self._records.append(chunk.record.encode())
        if chunk.frame:
            self._frames = (*self._frames, chunk)

    def release(self, transcript: Transcript) -> list[bytes]:
        """Return what was held back, which is delivered from now on."""
        for chunk in self._frames:
            transcript.add(chunk)
        records, self._records, self._frames = self._records, [], ()
        return records
