"""`everytoken responses`: the request log of a gateway."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from everytoken.cli.admin import Admin, admin_options
from everytoken.cli.durations import Duration
from everytoken.cli.tables import table

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["responses", "seconds_of"]

_OUTCOMES = ("running", "completed", "interrupted", "failed", "cancelled", "refused")


@click.command()
@click.option(
    "--since",
    type=Duration(),
    default="24h",
    show_default=True,
    metavar="TIME",
    help="What began in this time, such as 1h.",
)
@click.option("--outcome", type=click.Choice(_OUTCOMES), help="Only what ended so, or runs now.")
@click.option("--key", metavar="NAME", help="Only those of this API key.")
@click.option("--model", metavar="NAME", help="Only those asked for, or made by, this model.")
@click.option("--upstream", metavar="NAME", help="Only those that this upstream was asked for.")
@click.option("--error", metavar="CODE", help="Only those that ended with this error.")
@click.option("--text", metavar="TEXT", help="Only entries that have this text anywhere.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many, the newest first."
)
@click.option("--json", "as_json", is_flag=True, help="Print whole entries, one JSON object a line.")
@admin_options
def responses(
    since: float,
    limit: int,
    as_json: bool,  # noqa: FBT001  # click calls it by name
    url: str | None,
    admin_key: str | None,
    **chosen: str | None,
) -> None:
    """List responses, running and ended.

    Responses running at this gateway come first, then those that ended here or at another gateway on the same Redis, newest first. `everytoken show ID` shows one in full.
    """
    asked = {name: value for name, value in chosen.items() if value}
    query = urlencode({**asked, "since": f"{time.time() - since:.3f}", "limit": limit})
    found = Admin(url, admin_key).ask("GET", f"/admin/responses?{query}")["responses"]
    if as_json:
        for entry in found:
            click.echo(json.dumps(entry, ensure_ascii=False))
        return
    head = ["BEGAN", "OUTCOME", "MODEL", "KEY", "TRIES", "FIRST", "TOOK", "TOKENS", "COST", "ID"]
    click.echo(table(head, [_row(entry) for entry in found]) or "There are none.")


def _row(entry: Mapping[str, Any]) -> list[str]:
    outcome = entry["outcome"]
    if entry.get("error"):
        outcome = f"{outcome}: {entry['error']}"
    tokens, cost = entry.get("tokens") or {}, entry.get("cost")
    attempts = len(entry.get("attempts", ()))
    return [
        time.strftime("%m-%d %H:%M:%S", time.localtime(entry["at"])),
        outcome,
        entry.get("model_used") or entry.get("model") or entry.get("path", ""),
        entry.get("key") or "-",
        str(attempts) if attempts else "-",
        seconds_of(entry.get("first_content")),
        seconds_of(entry.get("seconds")),
        f"{tokens.get('input', '?')}+{tokens.get('output', '?')}" if tokens else "-",
        "-" if cost is None else f"${cost:.4f}",
        entry.get("response") or entry.get("request") or "-",
    ]


def seconds_of(value: float | None) -> str:
    """Return a time as people read it."""
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
