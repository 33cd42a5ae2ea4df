"""`everytoken doctor`: what is wrong between a client and a gateway, and between a gateway and its upstreams."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import click

from everytoken.cli.address import api_key, gateway_url, model_name
from everytoken.cli.admin import admin_key as key_of_administration
from everytoken.cli.doctor.checks import found
from everytoken.cli.doctor.output import Progress, as_json, as_text, is_healthy
from everytoken.cli.doctor.runner import NotRunError, Options, examine

__all__ = ["doctor"]

_BAD = 2  # exit status when nothing could be looked at


@click.command()
@click.argument("url", required=False)
@click.option(
    "--key",
    metavar="KEY",
    help="The API key.  [default: EVERYTOKEN_API_KEY, OPENAI_API_KEY, or that of your config.toml]",
)
@click.option(
    "--admin-key",
    metavar="KEY",
    help="An admin key, to look at the gateway itself and its upstreams.  [default: EVERYTOKEN_ADMIN_KEY, or, on this "
    "machine, the one that this user's gateway made for itself]",
)
@click.option(
    "--model",
    metavar="NAME",
    help="A model that callers are to use.  [default: EVERYTOKEN_MODEL, or model of your config.toml]",
)
@click.option(
    "--idle",
    type=click.FloatRange(0.1, 900),
    default=6.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a silence to try: proxies that cut sooner are found.",
)
@click.option(
    "--interval",
    type=click.FloatRange(0.02, 5),
    default=0.2,
    show_default=True,
    metavar="SECONDS",
    help="The time between two events of a probe.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 3600),
    metavar="SECONDS",
    help="When to stop waiting for what has not been seen.  [default: 30 more than --idle]",
)
@click.option(
    "--no-upstreams", is_flag=True, help="Do not have the gateway ask its upstreams for a few tokens."
)
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON.")
def doctor(
    url: str | None,
    key: str | None,
    admin_key: str | None,
    model: str | None,
    idle: float,
    interval: float,
    timeout: float | None,
    no_upstreams: bool,  # noqa: FBT001  # click calls it by name
    json_wanted: bool,  # noqa: FBT001
) -> None:
    """Find out what is wrong on the path to a gateway, and behind it.

    URL is the gateway as clients reach it, with or without /v1.  [default: EVERYTOKEN_BASE_URL, base_url of your
    config.toml, or http://127.0.0.1:8000]

    Sends event streams at a steady pace through everything on the way, and looks at what arrives when. With an admin key
    the gateway also looks at its journal and its machine, and asks each upstream for a few tokens, which costs as little.
    Names what is wrong, and the line of configuration that mends it.

    Exit status: 0 when nothing was found, 1 when something was, 2 when it could not run.
    """
    base = gateway_url(url)
    options = Options(
        base=base,
        key=(key or "").strip() or api_key(base),
        admin_key=key_of_administration(admin_key, base) or None,
        model=model_name(model) or "",
        idle=idle,
        interval=interval,
        timeout=timeout or idle + 30,
        upstreams=not no_upstreams,
    )
    progress, begun = Progress(), time.monotonic()
    try:
        done = asyncio.run(examine(options, progress))
    except NotRunError as error:
        progress.clear()
        if json_wanted:
            click.echo(json.dumps({"url": options.base, "problem": error.message}, indent=2))
        click.echo(f"everytoken: {error.message}", err=True)
        sys.exit(_BAD)
    progress.clear()
    findings, seconds = found(done.measured), time.monotonic() - begun
    report = (as_json if json_wanted else as_text)(done, findings, seconds)
    click.echo(report, color=False if "NO_COLOR" in os.environ else None)
    sys.exit(0 if is_healthy(findings) else 1)
