"""Hops that hold events back, and hops that compress them: the first question about any stream."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from everytoken.cli.doctor.advice import able, changes
from everytoken.cli.doctor.findings import Change, Finding
from everytoken.cli.doctor.products import subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everytoken.cli.doctor.measured import Measured, Stream

__all__ = ["buffering", "held", "is_held"]

_APART: Final = 0.02  # seconds; what was sent closer together says nothing
_TOGETHER: Final = 0.25  # of the time between two sendings: closer arrivals are one arrival
_LATE: Final = 0.5  # seconds by which the gateway itself may be late with an event


def held(stream: Stream) -> float:
    """Return how much longer the slowest event took than the quickest, in seconds."""
    lags = [event.arrived - event.sent for event in stream.events]
    return max(lags) - min(lags) if lags else 0.0


def is_held(stream: Stream) -> bool:
    """Whether events that were sent apart have arrived together."""
    least = max(_APART, stream.interval / 2)
    apart = [pair for pair in pairwise(stream.events) if pair[1].sent - pair[0].sent >= least]
    together = [
        pair
        for pair in apart
        if pair[1].arrived - pair[0].arrived < _TOGETHER * (pair[1].sent - pair[0].sent)
    ]
    return len(together) * 2 >= len(apart) > 0


def buffering(measured: Measured) -> Iterator[Finding]:
    """Say who holds events back, or compresses them."""
    streams = [stream for stream in measured.paced if stream.seen]
    late = [stream for stream in streams if is_held(stream)]
    packed = [stream for stream in streams if stream.encoding]
    if late and measured.direct:
        yield Finding(
            "bunches",
            "warning",
            "Events arrive in bunches, although nothing is between this machine and the gateway.",
            "Readers see nothing for a while and then much at once.",
            (Change("this machine, or the network", "look for what overloads it, and try again"),),
            _evidence(late[0]),
        )
    elif late:
        yield _holds(measured, late, packed)
    elif packed:
        products, encoding = able("compression", measured.products), packed[0].encoding
        yield Finding(
            "compression",
            "warning",
            f"{subject(products)} compresses event streams ({encoding}).",
            "Each event has to be flushed through the compressor, here and at every later hop; one that does not holds "
            "tokens back.",
            changes("compression", products),
            _evidence(packed[0]),
        )
    bare = measured.bare
    if bare is not None and bare.seen and not packed and (bare.encoding or not late):
        yield from _of_bare(measured, bare)
    yield from _gateway_late(streams)


def _holds(measured: Measured, late: list[Stream], packed: list[Stream]) -> Finding:
    problem = "compression" if packed else "buffering"
    products = able(problem, measured.products)
    methods = " and ".join(sorted({stream.method for stream in late}))
    if packed:
        what = f"{subject(products)} compresses event streams ({packed[0].encoding}) and holds them back."
    else:
        what = f"{subject(products)} holds event streams back (buffering)."
    change = changes(problem, products)
    if packed and "nginx" in products:
        change = (*change, *changes("buffering", ["nginx"]))
    return Finding(
        "buffering",
        "error",
        what,
        "Readers see nothing for a long time and then much at once, and a stream that is silent for them may be cut.",
        change,
        f"{methods}: {_evidence(late[0])}",
    )


def _of_bare(measured: Measured, bare: Stream) -> Iterator[Finding]:
    """Say what happens to a stream that does not ask intermediaries to let it through."""
    held_back, encoding = is_held(bare), bare.encoding
    if encoding:
        products = able("compression", measured.products)
        # Next.js compresses by default and heeds no-transform; others were told to.
        by_default = products == ["nextjs"]
        yield Finding(
            "compression-unasked",
            "note" if by_default else "warning",
            f"{subject(products)} compresses event streams ({encoding}){' and holds them back' if held_back else ''} "
            "unless they forbid it.",
            "The gateway's streams forbid it (Cache-Control: no-transform), so only that header keeps them from being held "
            "back; a hop that drops it is enough.",
            changes("compression", products),
            f"without the header: {_evidence(bare)}",
        )
    elif held_back:
        products = able("buffering", measured.products)
        yield Finding(
            "buffering-unasked",
            "warning",
            f"{subject(products)} holds back what does not forbid it (buffering).",
            "The gateway's event streams forbid it (X-Accel-Buffering: no); what it passes on of other kinds, such as audio, "
            "is held back.",
            changes("buffering", products),
            f"without the header: {_evidence(bare)}",
        )


def _gateway_late(streams: list[Stream]) -> Iterator[Finding]:
    gaps = [
        (later.sent - earlier.sent) - stream.interval
        for stream in streams
        for earlier, later in pairwise(stream.events)
        if later.number <= len(stream.events) - 2  # the last one comes after a silence
    ]
    worst = max(gaps, default=0.0)
    if worst >= _LATE:
        yield Finding(
            "gateway-late",
            "warning",
            f"The gateway itself was {worst:.1f} s late with an event.",
            "It has too much to do, or something blocks it: its log tells where the event loop was blocked.",
            (Change("the gateway's machine", "give it a core of its own, or serve from several nodes"),),
        )


def _evidence(stream: Stream) -> str:
    if len(stream.events) < 2:
        return f"content-encoding: {stream.encoding}" if stream.encoding else ""
    sent = stream.events[-1].sent - stream.events[0].sent
    took = stream.events[-1].arrived - stream.events[0].arrived
    told = f"{len(stream.events)} events sent over {sent:.2f} s arrived within {took:.2f} s"
    if is_held(stream):
        told += f"; one was held for {held(stream):.2f} s"
    return f"{told}; content-encoding: {stream.encoding}" if stream.encoding else told
