"""The checks: each a function from what was measured to what it means, without any I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from everytoken.cli.doctor.checks.access import access
from everytoken.cli.doctor.checks.buffering import buffering
from everytoken.cli.doctor.checks.clock import clock
from everytoken.cli.doctor.checks.framing import framing
from everytoken.cli.doctor.checks.headers import headers
from everytoken.cli.doctor.checks.journal import journal
from everytoken.cli.doctor.checks.leaving import leaving
from everytoken.cli.doctor.checks.machine import machine
from everytoken.cli.doctor.checks.model import model
from everytoken.cli.doctor.checks.silence import silence
from everytoken.cli.doctor.checks.size import size
from everytoken.cli.doctor.checks.tls import tls
from everytoken.cli.doctor.checks.upstreams import upstreams
from everytoken.cli.doctor.findings import worst_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from everytoken.cli.doctor.findings import Finding
    from everytoken.cli.doctor.measured import Measured

__all__ = ["CHECKS", "found"]

CHECKS: Final[tuple[Callable[[Measured], Iterable[Finding]], ...]] = (
    tls,
    access,
    buffering,
    silence,
    framing,
    headers,
    leaving,
    size,
    clock,
    model,
    journal,
    machine,
    upstreams,
)


def found(measured: Measured) -> list[Finding]:
    """Return what all checks find, the worst first."""
    return worst_first([finding for check in CHECKS for finding in check(measured)])
