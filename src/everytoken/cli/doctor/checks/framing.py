"""The versions of HTTP on the way, and whether a cut can be told from an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.cli.doctor.advice import able, changes
from everytoken.cli.doctor.findings import Finding
from everytoken.cli.doctor.products import subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everytoken.cli.doctor.measured import Measured

__all__ = ["framing"]


def framing(measured: Measured) -> Iterator[Finding]:
    """Say which hop speaks HTTP/1.0, and whether a stream that was cut looked whole."""
    streams = measured.streams
    products = able("http-1.0", measured.products)
    hop = subject(products)
    arrived = {str(stream.seen.get("http_version", "")) for stream in streams}
    why = "HTTP/1.0 has no end mark for a streamed response, so one that was cut looks complete; every request needs a new connection."
    if "1.0" in arrived:
        what = f"{hop} speaks HTTP/1.0 to the gateway."
        evidence = "the gateway was asked in HTTP/1.0"
        yield Finding("http-1.0", "error", what, why, changes("http-1.0", products), evidence)
    elif any(stream.http_version == "HTTP/1.0" for stream in streams):
        what = f"{hop} answers in HTTP/1.0."
        yield Finding(
            "http-1.0", "error", what, why, changes("http-1.0", products), "the answer came in HTTP/1.0"
        )
    if any(stream.clean and not stream.complete for stream in streams):
        cutters = able("silence", measured.products)
        yield Finding(
            "cut-looks-whole",
            "error",
            f"{subject(cutters)} ended a stream properly that it had cut.",
            "Clients take a part of an answer for all of it.",
            changes("http-1.0" if "1.0" in arrived else "silence", cutters),
            "the body ended as HTTP asks for, before the last event",
        )
