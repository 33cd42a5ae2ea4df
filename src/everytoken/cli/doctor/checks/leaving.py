"""Whether the gateway learns that a client has left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.cli.doctor.advice import able, changes
from everytoken.cli.doctor.findings import Finding
from everytoken.cli.doctor.products import subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everytoken.cli.doctor.measured import Measured

__all__ = ["leaving"]


def leaving(measured: Measured) -> Iterator[Finding]:
    """Say that the gateway was not told."""
    if measured.left != "running":
        return
    products = able("leaving", measured.products)
    hop = subject(products)
    yield Finding(
        "leaving-unnoticed",
        "error",
        f"{hop} does not tell the gateway that a client has left.",
        "A response that nobody reads continues to its end, at your expense.",
        changes("leaving", products),
        "the gateway still wrote to a probe after its client had closed the connection",
    )
