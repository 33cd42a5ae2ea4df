"""How much the streams of callers may take: one of them, all of one key, and everything in the journal together.

Responses are not counted against a key: what they may take is bounded by `max_response`. Bytes are those that the
journal keeps, packed where it packs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from everytoken.errors import QuotaExceededError, StreamFullError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.journal import StreamInfo
    from everytoken.journal.stream import Stream

__all__ = ["OWN", "Quota", "Usage", "Used", "chats_of", "size_of"]

OWN = "~"
"""The owner of what the gateway keeps for itself: no caller's, and of no quota. Who writes it bounds it."""

_OVERHEAD = 32  # bytes that a record takes besides its own: an empty one is not free


def chats_of(owner: str) -> str:
    """Return whose the streams are that say which responses a caller's chats have.

    They have the bytes of a key for themselves, and may be as many as there are responses: a web application has one key,
    and a chat for each of its visitors.
    """
    return f"{OWN}chats:{owner}"


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """`stream`: bytes of one stream; `key_bytes`, `key_streams`: bytes and number of all streams of one key."""

    stream: int = 256 * 1024**2
    key_bytes: int = 1024**3
    key_streams: int = 10_000

    def check(self, info: StreamInfo, there: int | None, added: int, used: Used) -> None:
        """Raise `StreamFullError` or `QuotaExceededError` for what would be too much.

        `there`: bytes of the stream so far, None for one that is to be created; `used`: by all of its owner's.
        """
        if info.owner == OWN:
            return
        if (there or 0) + added > self.stream:
            raise StreamFullError(f"stream {info.id} would exceed its limit of {self.stream} bytes")
        if there is None and used.streams >= self.key_streams and not info.owner.startswith(OWN):
            raise QuotaExceededError(f"this key already has {used.streams} streams; delete some first")
        if used.bytes + added > self.key_bytes:
            raise QuotaExceededError(
                f"the streams of this key would exceed {self.key_bytes} bytes; delete some first"
            )


class Used(msgspec.Struct):
    """What the streams of one key take."""

    bytes: int = 0
    streams: int = 0


def size_of(records: Sequence[bytes]) -> int:
    """Return about how many bytes of a journal records take."""
    return sum(map(len, records)) + _OVERHEAD * len(records)


class Usage:
    """What is used, for a journal whose streams all belong to this process."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._owners: dict[str, Used] = {}

    def admit(self, stream: Stream, added: int) -> None:
        """Charge what is about to be added. Raises `StreamFullError`, `QuotaExceededError`."""
        used = self._owners.get(stream.info.owner) or Used()
        self._quota.check(stream.info, stream.charged, added, used)
        self.charge(stream, (stream.charged or 0) + added)

    def charge(self, stream: Stream, size: int) -> None:
        """Charge a stream for `size` bytes, in the place of what it was charged for."""
        used = self._owners.setdefault(stream.info.owner, Used())
        if stream.charged is None:
            used.streams += 1
        used.bytes += size - (stream.charged or 0)
        stream.charged = size

    def release(self, stream: Stream) -> None:
        """Record that a stream is gone."""
        if stream.charged is not None:
            self.forget(stream.info.owner, stream.charged)
            stream.charged = None

    def forget(self, owner: str, size: int) -> None:
        """Record that a stream of `size` bytes is gone."""
        used = self._owners.setdefault(owner, Used())
        used.bytes -= size
        used.streams -= 1
        if used.streams <= 0:
            del self._owners[owner]

    def add(self, owner: str, size: int, streams: int) -> None:
        """Charge an owner for streams that are not in memory."""
        used = self._owners.setdefault(owner, Used())
        used.bytes += size
        used.streams += streams
