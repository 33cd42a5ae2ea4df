"""How records stand in the rows of `everytoken.entries`, and how long a stream is kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from everytoken.journal import StreamInfo
from everytoken.journal.packed import PackedRecords

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Entry", "decode_info", "encode", "kept_for", "packed"]

_ONE: Final = 0  # the record as it is
_SOME: Final = 1  # a list in MessagePack
_MANY: Final = 2  # packed
_PACKED: Final = 64  # records from which on they are packed
_LONGEST: Final = 1e9  # seconds

encode = msgspec.msgpack.Encoder().encode
decode_info = msgspec.msgpack.Decoder(StreamInfo).decode
_decode_some = msgspec.msgpack.Decoder(list[bytes]).decode


def packed(records: Sequence[bytes]) -> tuple[int, bytes]:
    """Return how records are packed, and the bytes."""
    if len(records) == 1:
        return _ONE, records[0]
    if len(records) < _PACKED:
        return _SOME, encode(records)
    together = PackedRecords()
    together.extend(records)
    return _MANY, together.dump(len(together))


class Entry(NamedTuple):
    """The records of one commit, read; `first`: the offset before the first of them."""

    first: int
    records: Sequence[bytes] | PackedRecords

    @classmethod
    def of(cls, row: Any) -> Entry:
        """Read a row. Raises `ValueError` if it is damaged."""
        packing, data = row["packing"], row["data"]
        records: Sequence[bytes] | PackedRecords = (
            [data]
            if packing == _ONE
            else _decode_some(data)
            if packing == _SOME
            else PackedRecords.load(data)
        )
        if len(records) != row["count"]:
            raise ValueError("an entry is damaged")
        return cls(row["first"], records)


def kept_for(info: StreamInfo, retention: float | None) -> float | None:
    """Return for how many seconds a stream is kept if it is not used; None: for good. `retention`: of an ended one."""
    lives = [] if retention is None else [retention]
    if info.ttl is not None:
        lives = [float(info.ttl)]
    if info.expires is not None:
        lives.append(info.expires - time.time())
    return max(0.001, min(*lives, _LONGEST)) if lives else None
