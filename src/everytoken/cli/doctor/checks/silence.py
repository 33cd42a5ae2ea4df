"""Hops that cut a stream in which nothing comes for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.cli.doctor.advice import able, changes
from everytoken.cli.doctor.findings import Finding
from everytoken.cli.doctor.products import subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everytoken.cli.doctor.measured import Measured, Stream

__all__ = ["silence"]


def silence(measured: Measured) -> Iterator[Finding]:
    """Say after how long a silence the stream was cut, and whether the gateway's keep-alive prevents that."""
    stream = measured.silent
    if stream is None or stream.complete or not (stream.seen or stream.problem or stream.status >= 500):
        yield from _cut(measured)
        return
    hop = subject(able("silence", measured.products))
    limit, keep_alive = _silence(measured, stream), measured.keep_alive
    evidence = (
        f"silent for {limit:.1f} s of {stream.idle:g}: {stream.problem or 'it ended without its last event'}"
    )
    change = changes("silence", able("silence", measured.products))
    if limit < keep_alive:
        yield Finding(
            "idle-timeout",
            "error",
            f"{hop} cuts streams after {limit:.1f} s of silence.",
            f"The gateway's keep-alive comes every {keep_alive:g} s, which is too late: an answer is cut whenever a model "
            "thinks for longer.",
            change,
            evidence,
        )
    else:
        yield Finding(
            "idle-timeout-long",
            "warning",
            f"{hop} cuts what is silent for {limit:.1f} s.",
            f"Streams have a keep-alive every {keep_alive:g} s and are safe; an answer that is not streamed may take longer.",
            change,
            evidence,
        )


def _silence(measured: Measured, stream: Stream) -> float:
    """Return how long the stream had been silent when it was cut; its last event may have been held back."""
    if not stream.events:
        return 0.0
    last = stream.events[-1]
    return max(0.0, stream.ended - min(last.arrived, last.sent + measured.delay))


def _cut(measured: Measured) -> Iterator[Finding]:
    """Say that a stream was cut, although it had no silence."""
    for paced in measured.paced:
        if paced.seen and not paced.complete and paced.problem:
            yield Finding(
                "stream-cut",
                "error",
                f"A stream was cut in the middle, although events came ({paced.method}).",
                "Responses break off; their readers have to resume.",
                changes("silence", able("silence", measured.products)),
                paced.problem,
            )
            break
