"""What the doctor says: a finding, and the lines of configuration that mend it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["Change", "Finding", "Severity", "worst_first"]

Severity = Literal["error", "warning", "note"]
"""`error`: answers are late, cut or refused. `warning`: it works now, and something makes it fragile. `note`: good to know."""

_ORDER = {"error": 0, "warning": 1, "note": 2}


@dataclass(frozen=True, slots=True)
class Change:
    """A line to write, and where: a product, or a file."""

    where: str
    line: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    `code` is for programs. `what` and `why` are a sentence each. `evidence` are the numbers and words behind it.
    """

    code: str
    severity: Severity
    what: str
    why: str
    change: tuple[Change, ...] = ()
    evidence: str = ""

    def shown(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {**asdict(self), "change": [asdict(one) for one in self.change]}


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Return findings, the worst first, in the order of the checks otherwise."""
    return sorted(findings, key=lambda finding: _ORDER[finding.severity])
