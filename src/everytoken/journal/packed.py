"""Many records in little memory.

The chunks of one response are alike: around a few characters of text stands the same JSON. So what a run of records has
in common at its beginning and its end is kept once, and of each record only the middle, in one buffer. A chunk of 240
bytes takes about 20.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PackedRecords", "Part"]

# The runs that begin in it (their first record, counted from the part's, and what they have in common), and of each
# record only the middle.
Part = tuple[list[tuple[int, bytes, bytes]] | None, list[bytes]]

_decode = msgspec.msgpack.Decoder(tuple[list[tuple[int, bytes, bytes]], bytes, bytes]).decode

_LOOK = 4096  # bytes of a record in which something in common is looked for, from either end
_WORTH = 48  # bytes in common that make a run worth its own entry


class PackedRecords:
    """An append-only sequence of records; what comes out is, byte for byte, what went in."""

    __slots__ = ("_blob", "_ends", "_previous", "_run", "_runs")

    def __init__(self) -> None:
        self._blob = bytearray()
        self._ends = array("Q")  # where each record's middle ends in the blob
        self._runs: list[tuple[int, bytes, bytes]] = [
            (0, b"", b"")
        ]  # first record, common beginning, common end
        self._run = _run(b"", b"")  # the last of them
        self._previous = (
            b"",
            b"",
        )  # the two ends of the last record that fitted no run, as far as they are looked at

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def nbytes(self) -> int:
        """About how many bytes of memory the records take."""
        return len(self._blob) + 8 * len(self._ends) + 128 * len(self._runs)

    def extend(self, records: Sequence[bytes]) -> None:
        """Append records."""
        blob = self._blob
        for record in records:
            begin, end, least, middle = self._run
            if not (record.startswith(begin) and record.endswith(end) and len(record) >= least):
                middle = self._look_for_run(record)
            blob += record[middle]
            self._ends.append(len(blob))

    def _look_for_run(self, record: bytes) -> slice:
        """Take a record that the present run does not fit, or that comes before any; return what to keep of it."""
        begin, end, _, _ = self._run
        if begin:
            begin, end = _shared(record, begin, end)
        if len(begin) + len(end) < _WORTH:
            if self._previous[0]:  # nothing comes before the first record
                begin, end = _shared(record, *self._previous)
            self._previous = record[:_LOOK], record[-_LOOK:]
        if len(begin) + len(end) < _WORTH or not begin:
            begin = end = b""
        if (begin, end) != self._runs[-1][1:]:
            self._runs.append((len(self._ends), begin, end))
        self._run = _run(begin, end)
        return self._run[3]

    def __getitem__(self, span: slice) -> list[bytes]:
        """Return the records of a span with step 1, unpacked."""
        start, stop, _ = span.indices(len(self._ends))
        first, begin, end = self._runs[-1]
        if start >= first:
            return self._between(start, stop, begin, end)
        result: list[bytes] = []
        following = [run[0] for run in self._runs[1:]] + [stop]
        for (first, begin, end), until in zip(self._runs, following, strict=True):
            if first < stop and until > start:
                result += self._between(max(first, start), min(until, stop), begin, end)
        return result

    def _between(self, start: int, stop: int, begin: bytes, end: bytes) -> list[bytes]:
        blob, ends = self._blob, self._ends
        here = ends[start - 1] if start else 0
        result: list[bytes] = []
        for there in ends[start:stop]:
            result.append(begin + blob[here:there] + end)
            here = there
        return result

    def truncate(self, length: int) -> None:
        """Take back all records but the first `length`."""
        del self._ends[length:]
        del self._blob[self._ends[-1] if length else 0 :]
        while len(self._runs) > 1 and self._runs[-1][0] >= length:
            del self._runs[-1]
        self._resume()

    def drop(self, count: int) -> None:
        """Let go of the first `count` records."""
        if not count:
            return
        size = self._ends[count - 1]
        self._blob = self._blob[size:]
        self._ends = array("Q", [end - size for end in self._ends[count:]])
        runs = self._runs
        at = max(i for i, run in enumerate(runs) if i == 0 or run[0] <= count)
        self._runs = [(max(0, first - count), begin, end) for first, begin, end in runs[at:]]

    def part(self, start: int) -> Part:
        """Return the records from `start` on as they stand here, for `extend_part` of one that holds those before."""
        runs, ends = None, self._ends
        last_run = self._runs[-1][0]
        if last_run < start == len(ends) - 1:
            return None, [
                bytes(self._blob[ends[start - 1] :])
            ]  # one record, as its run has it: nearly always
        if last_run >= start:
            runs = [(first - start, begin, end) for first, begin, end in self._runs if first >= start]
        blob, middles = self._blob, []
        here = ends[start - 1] if start else 0
        for there in ends[start:]:
            middles.append(bytes(blob[here:there]))
            here = there
        return runs, middles

    def extend_part(self, part: Part) -> None:
        """Append what `part` returned."""
        runs, middles = part
        for first, begin, end in runs or ():
            if first + len(self) == 0:
                self._runs.clear()
            self._runs.append((first + len(self), begin, end))
        for middle in middles:
            self._blob += middle
            self._ends.append(len(self._blob))
        self._resume()

    def _resume(self) -> None:
        _, begin, end = self._runs[-1]
        self._run = _run(begin, end)

    def dump(self, length: int) -> bytes:
        """Return the first `length` records as bytes, for `load`."""
        runs = [run for run in self._runs if run[0] < length or run[0] == 0]
        blob = bytes(self._blob[: self._ends[length - 1] if length else 0])
        return msgspec.msgpack.encode((runs, self._ends[:length].tobytes(), blob))

    @classmethod
    def load(cls, data: bytes) -> PackedRecords:
        """Return what was dumped. Raises `ValueError` if that is damaged."""
        packed = cls()
        packed._runs, ends, blob = _decode(data)
        packed._ends.frombytes(ends)
        packed._blob += blob
        if not packed._runs or (packed._ends[-1] if ends else 0) != len(blob):
            raise ValueError("packed records are damaged")
        packed._resume()
        return packed


def _run(begin: bytes, end: bytes) -> tuple[bytes, bytes, int, slice]:
    """Return what `extend` needs of a run: its two ends, the length of the shortest record in it, what to keep of one.

    Nothing is long enough for a run without a beginning, so that the next record looks for a better one.
    """
    least = len(begin) + len(end) if begin else sys.maxsize
    return begin, end, least, slice(len(begin), -len(end) or None)


def _shared(record: bytes, begin: bytes, end: bytes) -> tuple[bytes, bytes]:
    """Return what `record` shares with `begin` at its beginning and with `end` at its end, without overlap."""
    size = min(len(begin), len(record), _LOOK)
    begin = begin[: _same(begin[:size], record[:size], "big")]
    size = min(len(end), len(record) - len(begin), _LOOK)
    shared = _same(end[len(end) - size :], record[len(record) - size :], "little")
    return begin, record[len(record) - shared :]


def _same(one: bytes, other: bytes, order: Literal["big", "little"]) -> int:
    """Return how many bytes of two strings of one length agree, from the first on ("big") or up to the last.

    As numbers, where the bytes that are looked at first weigh most, they differ by what comes behind these.
    """
    return len(one) - ((int.from_bytes(one, order) ^ int.from_bytes(other, order)).bit_length() + 7) // 8
