"""`everytoken show`: one response, from its request to its end."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from everytoken.cli.admin import Admin, admin_options
from everytoken.cli.responses import seconds_of
from everytoken.cli.tables import when

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["show"]

_WIDEST = 100  # columns
_LEFT = 34  # columns in front of the bars


@click.command()
@click.argument("response", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print the entry as JSON.")
@admin_options
def show(
    response: str,
    as_json: bool,  # noqa: FBT001  # click calls it by name
    url: str | None,
    admin_key: str | None,
) -> None:
    """Show one response: its attempts, seams and times.

    ID is that of the response (of its stream, or in its Location header) or of the request (x-request-id).
    """
    entry = Admin(url, admin_key).ask("GET", f"/admin/responses/{quote(response, safe='')}")
    if as_json:
        click.echo(json.dumps(entry, indent=2, ensure_ascii=False))
        return
    for line in described(entry, min(shutil.get_terminal_size().columns, _WIDEST)):
        click.echo(line)


def described(entry: Mapping[str, Any], width: int) -> list[str]:
    """Return the lines that tell about a response, none wider than `width`."""
    facts = [
        ("response", entry.get("response")),
        ("request", entry.get("request")),
        ("began", when(entry["at"], "")),
        ("key", entry.get("key")),
        ("call", f"{entry['method']} {entry['path']} from {entry['peer']}" if "method" in entry else None),
        ("API", entry.get("api")),
        ("model", _model(entry)),
        ("outcome", _outcome(entry)),
        ("took", _took(entry)),
        ("gaps", _gaps(entry)),
        ("tokens", _tokens(entry)),
        ("cost", None if entry.get("cost") is None else f"${entry['cost']:.6f}"),
        (
            "records",
            f"{entry['records']}, {entry.get('bytes', 0)} bytes received" if "records" in entry else None,
        ),
        ("readers", entry.get("readers")),
    ]
    lines = [f"{name:<9} {value}"[:width].rstrip() for name, value in facts if value not in (None, "")]
    if entry.get("taken_over") is not None:
        lines.append(f"taken over from another process at offset {entry['taken_over']}")
    attempts = entry.get("attempts") or []
    if attempts:
        lines += ["", *_timeline(attempts, entry, width)]
    return lines


def _timeline(attempts: list[dict[str, Any]], entry: Mapping[str, Any], width: int) -> list[str]:
    """Return a bar for each attempt: `·` until its first content, `█` from there on, `×` where it failed."""
    ends = [attempt["ended"] for attempt in attempts if attempt["ended"] is not None]
    total = max([entry.get("seconds") or 0.0, *ends, 0.001])
    room = max(10, width - _LEFT)
    seams = {seam["attempt"]: seam for seam in entry.get("seams", ())}
    lines = []
    for attempt in attempts:
        began = attempt["started"]
        ended = total if attempt["ended"] is None else attempt["ended"]
        first = attempt.get("first_content")
        content = ended if first is None else min(began + first, ended)
        at = [round(moment / total * (room - 1)) for moment in (began, content, ended)]
        bar = " " * at[0] + "·" * (at[1] - at[0]) + ("█" if first is not None else "·") * (at[2] - at[1] + 1)
        cause = attempt["cause"]
        if cause is not None:
            bar = bar[:-1] + "×"
        name = f"{attempt['number']} {attempt['strategy']} {attempt['upstream'] or '(lost)'}"
        lines.append(f"{name[: _LEFT - 2]:<{_LEFT - 1}} {bar}".rstrip()[:width])
        told = [f"{seconds_of(began)} to {seconds_of(ended)}"]
        if first is not None:
            told.append(f"first content after {seconds_of(first)}")
        if attempt["number"] in seams:
            seam = seams[attempt["number"]]
            gap = "" if seam.get("gap") is None else f", after a gap of {seconds_of(seam['gap'])}"
            told.append(f"\n  continues at offset {seam['offset']}{gap}")
        lines += [line[:width] for line in f"  {', '.join(told)}".replace(", \n", "\n").split("\n")]
        if cause is not None:
            lines.append(f"  {cause['code']}: {cause['message']}"[:width])
    return lines


def _model(entry: Mapping[str, Any]) -> str | None:
    asked, used = entry.get("model"), entry.get("model_used")
    return asked if not used or used == asked else f"{asked}, answered by {used}"


def _outcome(entry: Mapping[str, Any]) -> str:
    outcome = str(entry["outcome"])
    if entry.get("error"):
        outcome = f"{outcome}: {entry.get('message') or ''} ({entry['error']})"
    return outcome


def _took(entry: Mapping[str, Any]) -> str | None:
    if entry.get("seconds") is None:
        return None
    first = entry.get("first_content")
    return seconds_of(entry["seconds"]) + (
        "" if first is None else f", first content after {seconds_of(first)}"
    )


def _gaps(entry: Mapping[str, Any]) -> str | None:
    if entry.get("gap_longest") is None:
        return None
    return f"{seconds_of(entry.get('gap_median'))} at the median, {seconds_of(entry['gap_longest'])} at most"


def _tokens(entry: Mapping[str, Any]) -> str | None:
    tokens = entry.get("tokens")
    return ", ".join(f"{count} {name}" for name, count in tokens.items()) if tokens else None
