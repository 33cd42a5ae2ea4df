"""Every way in which a network can cut the same bytes into reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["THREE_WAY_BYTES", "split_everywhere"]

THREE_WAY_BYTES: Final = 64
"""Inputs up to this length are cut into three reads in every way: 2,145 ways for 64 bytes, as it grows with the
square."""


def split_everywhere(data: bytes) -> Iterator[list[bytes]]:
    """Yield `data` cut into reads: whole; byte by byte; in two everywhere; if it is short, in three everywhere.

    Each also comes with empty reads before, between and after, because a parser may wrongly take its first call for its
    first byte. The reads of one split, joined, are always `data`. The number of splits grows with the length and the work
    with its square, so this is for inputs of up to a few thousand bytes.
    """
    single = [data[i : i + 1] for i in range(len(data))]
    for reads in ([data], single, *([data[:i], data[i:]] for i in range(1, len(data)))):
        yield reads
        yield _with_empty_reads(reads)
    if len(data) <= THREE_WAY_BYTES:
        for first in range(len(data) + 1):
            for second in range(first, len(data) + 1):
                yield [data[:first], data[first:second], data[second:]]


def _with_empty_reads(reads: list[bytes]) -> list[bytes]:
    """Return `reads` with an empty read before each and one at the end."""
    return [*(piece for read in reads for piece in (b"", read)), b""]
