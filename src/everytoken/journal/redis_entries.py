"""How a stream is stored in Redis: its keys, the ids of its entries, and their content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from everytoken.journal import StreamInfo  # noqa: TC001  # msgspec reads the annotations
from everytoken.journal.packed import PackedRecords
from everytoken.journal.rules import Marks  # noqa: TC001  # likewise

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Entry", "Keys", "Position", "State", "decode_mark", "decode_state", "encode", "fields_of"]

_PACKED = 64  # records from which on an entry has them packed, as one field

encode = msgspec.msgpack.Encoder().encode
_decode_result = msgspec.msgpack.Decoder(dict[str, Any]).decode


class State(msgspec.Struct):
    """What is stored of a stream besides its records. `node`: the node that writes it, "" if any may.

    The marks of producers have a hash of their own; here are those that an earlier version has stored.
    """

    info: StreamInfo
    marks: Marks
    node: str = ""


decode_state = msgspec.msgpack.Decoder(State).decode
decode_mark = msgspec.msgpack.Decoder(tuple[int, int]).decode


class Keys:
    """The names of what is in Redis; `tag`: the hash tag of a partition, with its braces, "" where there are none.

    All of a partition is in one slot of a Redis Cluster, so that its scripts may use it in one step.
    """

    __slots__ = ("_prefix", "nodes", "taken")

    def __init__(self, tag: str = "") -> None:
        prefix = self._prefix = b"everytoken:" + (f"{tag}:".encode() if tag else b"")
        self.nodes = prefix + b"nodes"  # a set: every node that may have open streams
        self.taken = (
            prefix + b"taken"
        )  # a Redis Stream of takeovers, so that a writer that is silent learns of it

    def stream(self, stream_id: str) -> bytes:
        """Return the key of a stream's entries."""
        return b"%bs:%b" % (self._prefix, stream_id.encode())

    def info(self, stream_id: str) -> bytes:
        """Return the key of a stream's state."""
        return b"%bi:%b" % (self._prefix, stream_id.encode())

    def producers(self, stream_id: str) -> bytes:
        """Return the key of the marks of a stream's producers."""
        return b"%bp:%b" % (self._prefix, stream_id.encode())

    def read(self, stream_id: str) -> bytes:
        """Return the key that is there while another node than the writer's reads a stream."""
        return b"%br:%b" % (self._prefix, stream_id.encode())

    def open(self, node: str) -> bytes:
        """Return the key of a node's open streams, sorted by their age."""
        return b"%bopen:%b" % (self._prefix, node.encode())

    def alive(self, node: bytes) -> bytes:
        """Return the key that is there while a node lives."""
        return b"%balive:%b" % (self._prefix, node)

    def probe(self, node: str) -> bytes:
        """Return the key that a node's probes write."""
        return b"%bprobe:%b" % (self._prefix, node.encode())

    def used(self, owner: str) -> tuple[bytes, bytes]:
        """Return the keys of what the streams of an owner take: each of them, and their sum and number."""
        return b"%bu:%b" % (self._prefix, owner.encode()), b"%bt:%b" % (self._prefix, owner.encode())

    def counter(self, kind: str, name: str) -> bytes:
        """Return the key of a counter (`t`otal, `w`indow, `r`unning), or of a reservation (`r` too: names differ)."""
        return b"%bl:%b:%b" % (self._prefix, kind.encode(), name.encode())

    @property
    def reserved(self) -> bytes:
        """The key of the open reservations."""
        return self._prefix + b"l:open"

    @property
    def made(self) -> bytes:
        """The key of what the streams are spread over."""
        return self._prefix + b"made"


class Position(NamedTuple):
    """Where a stream is after an entry: the epoch it was written in, the tail, whether it has ended."""

    epoch: int
    tail: int
    closed: bool = False

    @property
    def entry_id(self) -> bytes:
        """The id of that entry; ids rise with the epoch, then with the tail."""
        return b"%d-%d" % (self.epoch + 1, 2 * self.tail + self.closed)

    @classmethod
    def parse(cls, entry_id: bytes) -> Position:
        """Read an entry's id."""
        epoch, _, number = entry_id.partition(b"-")
        return cls(int(epoch) - 1, int(number) >> 1, bool(int(number) & 1))


def fields_of(records: Sequence[bytes], result: dict[str, Any] | None = None, node: str = "") -> list[bytes]:
    """Return an entry's fields: a record each, or all of them packed; the result it ends with; who begins to write."""
    if len(records) < _PACKED:
        fields = [part for record in records for part in (b"r", record)]
    else:
        packed = PackedRecords()
        packed.extend(records)
        fields = [b"p", packed.dump(len(packed))]
    if result is not None:
        fields += (b"c", encode(result))
    if node or not fields:
        fields += (b"e", node.encode())
    return fields


class Entry:
    """One entry, read."""

    __slots__ = ("claimed", "packed", "position", "records", "result")

    def __init__(self, raw: Sequence[Any]) -> None:
        """`raw`: id and fields. Raises `ValueError` if it is damaged."""
        entry_id, fields = raw
        self.position = Position.parse(entry_id)
        self.records: list[bytes] | PackedRecords = []
        self.result: dict[str, Any] | None = None
        self.claimed = self.packed = False
        records = self.records
        for i in range(0, len(fields), 2):
            name, value = fields[i], fields[i + 1]
            if name == b"r":
                records.append(value)
            elif name == b"p":
                self.records = PackedRecords.load(value)
                self.packed = True
            elif name == b"c":
                self.result = _decode_result(value)
            elif name == b"e":
                self.claimed = True

    @property
    def first(self) -> int:
        """The offset before its first record."""
        return self.position.tail - len(self.records)
