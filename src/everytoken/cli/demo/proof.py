"""The count at the end of the demo. It compares what has arrived with what is stored, and with an answer without a kill."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.cli.demo.reading import Record

__all__ = ["Kill", "Proof", "proved"]


@dataclass(slots=True)
class Kill:
    """One kill of the gateway. `gone`: seconds until it was ready again; `silent`: until the next token came."""

    pid: int
    tokens: int
    gone: float = 0.0
    silent: float = 0.0
    next_pid: int = 0


@dataclass(frozen=True, slots=True)
class Proof:
    """What was counted. A token is a record with text.

    `lost` and `doubled` are tokens of the journal that have not arrived, and that have arrived more than once; `in_order`:
    whether all records arrived in the order of the journal.
    """

    tokens: int
    lost: int
    doubled: int
    in_order: bool
    size: int
    equals_journal: bool
    equals_uninterrupted: bool
    complete: bool
    kills: list[Kill] = field(default_factory=list)
    seconds: float = 0.0
    model: str = ""
    stream_id: str = ""

    @property
    def exact(self) -> bool:
        """Whether the gateway was killed, and it made no difference."""
        counted = not self.lost and not self.doubled and self.in_order and self.complete
        return counted and self.equals_journal and self.equals_uninterrupted and bool(self.kills)

    @property
    def sentence(self) -> str:
        """The count in words."""
        order = "order kept" if self.in_order else "order not kept"
        return f"{self.tokens} tokens, {self.lost} lost, {self.doubled} doubled, {order}"

    def as_json(self) -> dict[str, Any]:
        """Return the count as a value of JSON; times are seconds."""
        return {
            "exact": self.exact,
            "tokens": self.tokens,
            "lost": self.lost,
            "doubled": self.doubled,
            "in_order": self.in_order,
            "complete": self.complete,
            "bytes": self.size,
            "equals_journal": self.equals_journal,
            "equals_uninterrupted": self.equals_uninterrupted,
            "kills": [
                {
                    "pid": kill.pid,
                    "next_pid": kill.next_pid,
                    "after_tokens": kill.tokens,
                    "gateway_gone_seconds": round(kill.gone, 3),
                    "no_token_seconds": round(kill.silent, 3),
                }
                for kill in self.kills
            ],
            "seconds": round(self.seconds, 3),
            "model": self.model,
            "stream_id": self.stream_id,
        }


def proved(
    received: Sequence[Record], stored: Sequence[Record], uninterrupted: Sequence[Record], **rest: Any
) -> Proof:
    """Compare the records that were received with those of the journal, and their text with an uninterrupted answer's."""
    place = {record.offset: number for number, record in enumerate(stored)}
    arrived = [place.get(record.offset, -1) for record in received]
    times = dict.fromkeys(place, 0)
    for record in received:
        times[record.offset] = times.get(record.offset, 0) + 1
    tokens = [record.offset for record in stored if record.text]
    text = "".join(record.text for record in received).encode()
    return Proof(
        tokens=sum(bool(record.text) for record in received),
        lost=sum(not times[offset] for offset in tokens),
        doubled=sum(times[record] - 1 for record in times if times[record] > 1),
        in_order=all(before < after for before, after in itertools.pairwise(arrived)),
        size=len(text),
        equals_journal=[(one.offset, one.data) for one in received]
        == [(one.offset, one.data) for one in stored],
        equals_uninterrupted=text == "".join(record.text for record in uninterrupted).encode(),
        **rest,
    )
