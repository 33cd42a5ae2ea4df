"""Whether large requests pass, such as those with images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.cli.doctor.advice import able, changes
from everytoken.cli.doctor.findings import Finding
from everytoken.cli.doctor.products import subject

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everytoken.cli.doctor.measured import Measured

__all__ = ["size"]


def size(measured: Measured) -> Iterator[Finding]:
    """Say who refuses a large request."""
    large = measured.large
    if large is None or (large.status == 200 and large.received == large.size):
        return
    if not large.status:
        return  # the connection broke: another check tells of it
    if measured.was_late(large.status):
        return  # another check tells of it
    products = able("body", measured.products)
    hop = subject(products)
    mib = large.size / 1024**2
    what = f"{hop} refuses requests of {mib:.1f} MiB (status {large.status})."
    if large.status == 200:
        what = f"{hop} cuts requests of {mib:.1f} MiB off."
    yield Finding(
        "body-refused",
        "error",
        what,
        "A request with an image, or a long conversation, is refused before the gateway sees it.",
        changes("body", products),
        f"sent {large.size} bytes; status {large.status}; the gateway got {large.received}",
    )
