"""Which appends are allowed: the rules of sequences and idempotent producers, the same for every journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from everytoken.errors import (
    InvalidRequestError,
    ProducerGapError,
    ProducerStaleError,
    SequenceConflictError,
    StreamClosedError,
    StreamFullError,
)

if TYPE_CHECKING:
    from everytoken.journal import Append, Producer

__all__ = ["MAX_PRODUCERS", "Marks", "check_producers", "is_duplicate", "marks_after"]

MAX_PRODUCERS = 1000  # that a stream remembers: it has to remember all of them


class Marks(msgspec.Struct, frozen=True):
    """What a stream remembers of its appends: the last `Stream-Seq`, and (epoch, number) of every producer."""

    sequence: str | None = None
    producers: dict[str, tuple[int, int]] = {}


def is_duplicate(marks: Marks, append: Append, *, closed: bool) -> bool:
    """Return whether the append had been there already; raises what speaks against it.

    `StreamClosedError`, `SequenceConflictError`, `ProducerStaleError`, `ProducerGapError`, `InvalidRequestError`.
    """
    if append.producer is not None and _is_repeated(marks, append.producer):
        return True
    if closed and (append.records or not append.close):
        raise StreamClosedError("the stream has ended")
    last = marks.sequence
    if append.sequence is not None and last is not None and append.sequence.encode() <= last.encode():
        raise SequenceConflictError("the sequence does not come after the last one")
    return False


def _is_repeated(marks: Marks, producer: Producer) -> bool:
    epoch, seq = marks.producers.get(producer.id, (producer.epoch, -1))
    if producer.epoch < epoch:
        raise ProducerStaleError("a producer with a higher epoch has taken over", epoch=epoch)
    if producer.epoch > epoch:
        if producer.seq != 0:
            raise InvalidRequestError("a new producer epoch begins at sequence 0", param="Producer-Seq")
        return False
    if producer.seq <= seq:
        return True
    if producer.seq != seq + 1:
        raise ProducerGapError("the producer's sequence has a gap", expected=seq + 1, received=producer.seq)
    return False


def check_producers(known: bool, count: int) -> None:  # noqa: FBT001
    """Raise `StreamFullError` for a producer that is not `known` to a stream that has `count` of them."""
    if not known and count >= MAX_PRODUCERS:
        raise StreamFullError(f"the stream already has {MAX_PRODUCERS} producers, the most it may have")


def marks_after(marks: Marks, append: Append) -> Marks:
    """Return what is remembered once `append` is in."""
    producers = marks.producers
    if append.producer is not None:
        producers = {**producers, append.producer.id: (append.producer.epoch, append.producer.seq)}
    return Marks(marks.sequence if append.sequence is None else append.sequence, producers)
