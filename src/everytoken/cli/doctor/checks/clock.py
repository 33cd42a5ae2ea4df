"""Clocks that are wrong: keys expire, and logs cannot be compared."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from everytoken.cli.doctor.findings import Change, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everytoken.cli.doctor.measured import Measured

__all__ = ["clock", "moment"]

_OFF: Final = 5.0  # seconds; Date has whole ones
_SET: Final = "timedatectl set-ntp true"


def clock(measured: Measured) -> Iterator[Finding]:
    """Say whose clock is off, against this machine's."""
    if not measured.streams:
        return
    behind = measured.delay
    why = "Keys expire at the wrong time, and times in logs and in usage do not match."
    if abs(behind) > _OFF:
        side = "behind" if behind > 0 else "ahead of"
        change = (Change("the gateway's machine, or this one", _SET),)
        what = f"The gateway's clock is {abs(behind):.0f} s {side} this machine's."
        yield Finding("clock-skew", "warning", what, why, change)
    stream = measured.streams[0]
    date = moment(stream.headers.get("date", ""))
    if date is None or not stream.events:
        return
    off = stream.events[0].arrived - date
    if abs(off) > _OFF and abs(off - behind) > _OFF:
        side = "behind" if off > 0 else "ahead of"
        what = f"The Date header is {abs(off):.0f} s {side} this machine's clock, and the gateway's clock is not."
        change = (Change("the proxy's machine", _SET),)
        yield Finding("clock-skew-proxy", "warning", what, why, change, stream.headers["date"])


def moment(date: str) -> float | None:
    """Return the moment that a Date header names, None for what is none."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
