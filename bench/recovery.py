"""What the recovery machine costs per chunk, beyond splitting the stream and decoding its chunks, at any length.

`python -m bench.recovery` prints the table.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from everytoken.dialects.openai_chat import ChatDecoder, ChatRequest
from everytoken.recovery import Breaker, LearnedCapabilities, Recovery, Target
from everytoken.sse import SSEDecoder
from everytoken.testing import Answer
from everytoken.testing.plan import plan_answer

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTHS: Final = (200, 2_000, 20_000)
REPETITIONS: Final = 9
REQUEST: Final = ChatRequest(
    {"model": "m", "messages": [{"role": "user", "content": "Explain."}], "stream": True}
)


class Row(NamedTuple):
    """One length: µs per chunk of reading alone and of the whole machine, in the repetition least disturbed."""

    chunks: int
    reading: float
    machine: float


def events(chunks: int) -> list[bytes]:
    """Return an answer of so many chunks as its reads, one event each."""
    plan = plan_answer(Answer.of_chunks(chunks), REQUEST.body, number=0)
    assert not hasattr(plan, "code")
    return list(plan.pieces)


def reading(reads: list[bytes]) -> None:
    """Split and decode, and make the records."""
    split, decode = SSEDecoder().receive_data, ChatDecoder().receive_event
    for read in reads:
        for event in split(read):
            decode(event)
            event.data.encode()


def machine(reads: list[bytes]) -> None:
    """The same by the recovery machine, which remembers what was delivered and watches the clock."""
    experience = LearnedCapabilities()
    recovery = Recovery(
        request=REQUEST,
        targets=[Target(name="a")],
        seed=1,
        jitter=lambda: 0.0,
        experience=lambda _: experience,
        breaker=Breaker(),
    )
    recovery.start(0.0)
    recovery.connected(0.0)
    recovery.accept(0.0)
    for read in reads:
        recovery.receive_data(1.0, read)
    assert recovery.outcome == "completed"


def measure(lengths: tuple[int, ...] = LENGTHS) -> list[Row]:
    """Return a row for each length; the two take turns, so that a busy machine slows both."""
    rows = []
    for chunks in lengths:
        reads = events(chunks)
        spent: dict[Callable[[list[bytes]], None], list[float]] = {reading: [], machine: []}
        for _ in range(REPETITIONS):
            for function, times in spent.items():
                started = time.process_time()
                function(reads)
                times.append((time.process_time() - started) / len(reads) * 1e6)
        rows.append(Row(chunks, min(spent[reading]), min(spent[machine])))
    return rows


def main() -> None:
    """Print the table."""
    print("| chunks | split and decode, µs per chunk | with recovery | recovery alone |")
    print("|---|---|---|---|")
    for row in measure():
        print(f"| {row.chunks} | {row.reading:.2f} | {row.machine:.2f} | {row.machine - row.reading:.2f} |")


if __name__ == "__main__":
    main()
