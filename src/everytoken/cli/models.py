"""`everytoken models`: what a server offers."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import click
import msgspec

from everytoken.cli.address import api_key, base_url_option, model_name
from everytoken.cli.address import base_url as chosen_base_url
from everytoken.cli.asking import ChatServer
from everytoken.cli.ending import Outcome, report
from everytoken.cli.tables import table
from everytoken.cli.text import one_line
from everytoken.errors import EverytokenError

__all__ = ["models"]

_LENGTHS = ("context_length", "max_model_len", "context_window")  # OpenRouter, vLLM, Groq


@click.command()
@base_url_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print what the server says, as a list of JSON objects."
)
@click.pass_context
def models(
    ctx: click.Context,
    base_url: str | None,
    as_json: bool,  # noqa: FBT001  # click calls it by name
) -> None:
    """List the models that a server offers.

    The one that `everytoken chat` asks if none is named has a star.
    """
    url = chosen_base_url(base_url)
    try:
        found = asyncio.run(_listed(url))
    except EverytokenError as error:
        ctx.exit(report(Outcome(error, begun=False, notice=None), url))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
        return
    chosen = model_name(None) or next((model["id"] for model in found), "")
    columns = {
        "CONTEXT": [_length(model) for model in found],
        "OWNER": [one_line(str(model.get("owned_by") or "")) for model in found],
        "CREATED": [_date(model.get("created")) for model in found],
    }
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    rows = [
        (
            "*" if model["id"] == chosen else "",
            *(cells[row] for cells in shown.values()),
            one_line(model["id"]),
        )
        for row, model in enumerate(found)
    ]
    click.echo(table(("", *shown, "MODEL"), rows) or "The server lists no models.")


async def _listed(url: str) -> list[dict[str, Any]]:
    server = ChatServer(url, api_key(url))
    try:
        return await server.models()
    finally:
        await server.close()


def _length(model: dict[str, Any]) -> str:
    found = next((model[name] for name in _LENGTHS if isinstance(model.get(name), int)), None)
    return "" if found is None else f"{found:,}"


def _date(seconds: Any) -> str:
    """Return a day; "" without one, or where the server says the year 1970."""
    if not isinstance(seconds, int | float) or not 86400 < seconds < 1e11:
        return ""
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
