"""The report: for people, with colours on a terminal only, and as JSON."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from everytoken.cli.doctor.products import NAMES
from everytoken.cli.text import one_line, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.cli.doctor.findings import Finding
    from everytoken.cli.doctor.runner import Examination

__all__ = ["Progress", "as_json", "as_text", "is_healthy"]

_COLOURS: Final = {"error": "red", "warning": "yellow", "note": "cyan"}
_WIDTH: Final = 78  # columns of a line of progress


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Whether there is nothing to mend; notes are not."""
    return all(finding.severity == "note" for finding in findings)


def as_json(done: Examination, findings: Sequence[Finding], seconds: float) -> str:
    """Return the report for programs."""
    value: dict[str, Any] = {
        "url": done.measured.url,
        "healthy": is_healthy(findings),
        "findings": [finding.shown() for finding in findings],
        "not_looked_at": done.unseen,
        "path": _path(done),
        "everytoken": _version(done),
        "seconds": round(seconds, 1),
    }
    return json.dumps(value, indent=2)


def as_text(done: Examination, findings: Sequence[Finding], seconds: float) -> str:
    """Return the report for people."""
    version = _version(done)
    path = ", ".join(_path(done))
    gateway = f"everytoken {version}" if version else "the gateway"
    lines = [f"{done.measured.url}: {f'{path}, then {gateway}' if path else gateway}", ""]
    for finding in findings:
        label = click.style(f"{finding.severity}:", fg=_COLOURS[finding.severity], bold=True)
        lines += [f"{label} {one_line(finding.what)}", f"  {one_line(finding.why)}"]
        lines += [
            f"  {one_line(one.where)}:  {click.style(visible(one.line), bold=True)}" for one in finding.change
        ]
        if finding.evidence:
            lines.append(click.style(f"  seen: {one_line(finding.evidence)}", dim=True))
        lines.append("")
    lines += [f"Not looked at: {one_line(unseen)}" for unseen in done.unseen]
    lines.append(f"{_summary(findings)} ({seconds:.1f} s)")
    return "\n".join(lines)


def _summary(findings: Sequence[Finding]) -> str:
    if is_healthy(findings):
        notes = len(findings)
        return f"Nothing found; {notes} note{'s' if notes > 1 else ''}." if notes else "Nothing found."
    counts = []
    for severity in ("error", "warning"):
        count = sum(finding.severity == severity for finding in findings)
        if count:
            counts.append(f"{count} {severity}{'s' if count > 1 else ''}")
    return f"Found: {', '.join(counts)}."


def _path(done: Examination) -> list[str]:
    return [NAMES[product] for product in done.measured.products]


def _version(done: Examination) -> str:
    stream = done.measured.greeting
    return "" if stream is None else str(stream.seen.get("everytoken", ""))


class Progress:
    """One line on standard error that says what is being waited for, where that is a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def __call__(self, what: str) -> None:
        """Show it in place of what was shown before."""
        if self._shown:
            click.echo(f"\r\x1b[K{f'Looking at {what} …'[:_WIDTH]}", nl=False, err=True)

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)
