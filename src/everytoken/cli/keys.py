"""`everytoken keys`: who may call the gateway."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from everytoken.cli.admin import Admin, admin_options, own_admin_key
from everytoken.cli.durations import Duration
from everytoken.cli.tables import table, when

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["keys"]

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_journal = click.option(
    "--journal",
    metavar="URL",
    help="Change the keys in this journal directly, while no gateway has it open (Redis: also while one has).",
)


@click.group()
def keys() -> None:
    """Make, list, revoke and rotate the API keys of callers.

    As soon as there is one, nobody may call without a key. The commands ask a running gateway, as an administrator: on
    the machine and as the user it runs as, nothing has to be given.
    """


def _limits(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options for limits of a key."""
    for name, kind, text in reversed(_LIMITS):
        option = click.option(f"--{name.replace('_', '-')}", name, type=kind, metavar="N", help=text)
        command = option(command)
    return command


_LIMITS = (
    ("requests_per_minute", click.IntRange(0), "Requests in 60 seconds; 0 for no limit, as everywhere here."),
    ("tokens_per_minute", click.IntRange(0), "Tokens in 60 seconds, of input and output."),
    ("running", click.IntRange(0), "Responses at once."),
    ("usd_per_day", click.FloatRange(0), "US dollars a day (UTC)."),
    ("usd_per_month", click.FloatRange(0), "US dollars a month."),
    ("max_tokens", click.IntRange(0), "The most that one request may ask for."),
    ("max_n", click.IntRange(0), "The most answers that one request may ask for."),
)


@keys.command()
@click.argument("name")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="Only this model; `gpt-*` for all that begin so. Repeat it.",
)
@click.option(
    "--api",
    "apis",
    multiple=True,
    metavar="API",
    help="Only this API: chat, messages, responses, completions, streams or other. Repeat it.",
)
@click.option(
    "--expires", type=Duration(), metavar="TIME", help="Refuse the key after this time, such as 30d."
)
@click.option(
    "--label", "labels", multiple=True, metavar="NAME=VALUE", help="Something to tell it by. Repeat it."
)
@click.option("--admin", is_flag=True, help="Let it administer, too.")
@_limits
@_as_json
@_journal
@admin_options
def create(
    name: str,
    models: tuple[str, ...],
    apis: tuple[str, ...],
    expires: float | None,
    labels: tuple[str, ...],
    admin: bool,  # noqa: FBT001  # click calls it by name
    as_json: bool,  # noqa: FBT001
    journal: str | None,
    url: str | None,
    admin_key: str | None,
    **limits: float | None,
) -> None:
    """Make a key and print it. It cannot be shown again."""
    asked: dict[str, Any] = {
        "name": name,
        "models": models,
        "apis": apis,
        "labels": _pairs(labels),
        "admin": admin,
    }
    if expires is not None:
        asked["expires"] = time.time() + expires
    if given := {limit: value for limit, value in limits.items() if value is not None}:
        asked["limits"] = given
    asked = json.loads(json.dumps(asked))
    if journal is not None:
        key = asyncio.run(_in_journal(journal, lambda book: _with_secret(book, book.create(asked))))
    else:
        key = Admin(url, admin_key).ask("POST", "/admin/keys", asked)
    _print_secret(key, as_json=as_json)


@keys.command(name="list")
@click.option("--all", "everything", is_flag=True, help="Also those that are revoked or have expired.")
@_as_json
@_journal
@admin_options
def list_(
    everything: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    journal: str | None,
    url: str | None,
    admin_key: str | None,
) -> None:
    """List the keys."""
    if journal is not None:
        found = asyncio.run(_in_journal(journal, _all))
    else:
        found = Admin(url, admin_key).ask("GET", "/admin/keys")["keys"]
    shown = [key for key in found if everything or key["state"] == "active"]
    if as_json:
        click.echo(json.dumps(shown, indent=2))
        return
    rows = [
        [
            key["name"],
            key["hint"],
            key["state"] + (", admin" if key["admin"] else ""),
            ", ".join(key["models"]) or "any",
            ", ".join(key["apis"]) or "any",
            when(key["expires"], "never"),
            "configuration" if key.get("configured") else when(key["created"], ""),
        ]
        for key in shown
    ]
    click.echo(
        table(["NAME", "KEY", "STATE", "MODELS", "APIS", "EXPIRES", "MADE"], rows) or "There are no keys."
    )


@keys.command()
@click.argument("key")
@_journal
@admin_options
def show(key: str, journal: str | None, url: str | None, admin_key: str | None) -> None:
    """Show one key, by its name or id, as JSON."""
    if journal is not None:
        found = asyncio.run(_in_journal(journal, lambda book: _shown(book, book.named(key))))
    else:
        found = Admin(url, admin_key).ask("GET", f"/admin/keys/{quote(key, safe='')}")
    click.echo(json.dumps(found, indent=2))


@keys.command()
@click.argument("key")
@_limits
@_journal
@admin_options
def limit(
    key: str, journal: str | None, url: str | None, admin_key: str | None, **limits: float | None
) -> None:
    """Give a key these limits, and no others. Without any it has those of each key (`limits.each_key`)."""
    given = {name: value for name, value in limits.items() if value is not None} or None
    if journal is not None:
        found = asyncio.run(_in_journal(journal, lambda book: _later(book, book.limit(key, given))))
    else:
        path = f"/admin/keys/{quote(key, safe='')}/limits"
        found = Admin(url, admin_key).ask("POST", path, {"limits": given})
    shown = {name: value for name, value in (found["limits"] or {}).items() if value}
    told = ", ".join(f"{name} {value:g}" for name, value in shown.items())
    click.echo(f"{found['name']}: {told or 'the limits of each key'}", err=True)


@keys.command()
@click.argument("key")
@click.option("--stop", is_flag=True, help="Stop what the key has running, too.")
@_journal
@admin_options
def revoke(
    key: str,
    stop: bool,  # noqa: FBT001
    journal: str | None,
    url: str | None,
    admin_key: str | None,
) -> None:
    """Refuse a key from now on, for good. Every gateway on the same journal knows it within two seconds."""
    if journal is not None:
        found = asyncio.run(_in_journal(journal, lambda book: _later(book, book.revoke(key, stop=stop))))
    else:
        found = Admin(url, admin_key).ask("POST", f"/admin/keys/{quote(key, safe='')}/revoke", {"stop": stop})
    click.echo(f"{found['name']} ({found['hint']}) is revoked", err=True)


@keys.command()
@click.argument("key")
@click.option(
    "--overlap",
    type=Duration(),
    default="24h",
    show_default=True,
    metavar="TIME",
    help="How long the old secret still counts; 0 for not at all.",
)
@_as_json
@_journal
@admin_options
def rotate(
    key: str,
    overlap: float,
    as_json: bool,  # noqa: FBT001
    journal: str | None,
    url: str | None,
    admin_key: str | None,
) -> None:
    """Give a key a new secret and print it. What it may do, and what it has made, stays."""
    if journal is not None:
        found = asyncio.run(_in_journal(journal, lambda book: _with_secret(book, book.rotate(key, overlap))))
    else:
        path = f"/admin/keys/{quote(key, safe='')}/rotate"
        found = Admin(url, admin_key).ask("POST", path, {"overlap": overlap})
    _print_secret(found, as_json=as_json)


@keys.command()
def admin() -> None:
    """Print the admin key that this user's gateways made for themselves.

    The console at /console asks for it. It is printed only here: keep it as you keep a password.
    """
    click.echo(own_admin_key())


def _print_secret(key: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(key, indent=2))
        return
    click.echo(f"{key['name']} ({key['id']}); keep the secret, it cannot be shown again:", err=True)
    click.echo(key["secret"])


def _pairs(labels: Sequence[str]) -> dict[str, str]:
    found = {}
    for label in labels:
        name, separator, value = label.partition("=")
        if not separator or not name:
            raise click.UsageError(f"{label!r} is not NAME=VALUE")
        found[name] = value
    return found


# Directly in a journal


async def _in_journal(url: str, work: Callable[[Any], Any]) -> Any:
    from everytoken.gateway import Config  # noqa: PLC0415  # the gateway is loaded only for this
    from everytoken.gateway.keys import KeyBook  # noqa: PLC0415
    from everytoken.gateway.making import configured_journal  # noqa: PLC0415

    config = Config(journal=url)
    journal = configured_journal(config, port=config.port)
    book = KeyBook(config, journal)
    await journal.start()
    try:
        await book.start()
        return await work(book)
    finally:
        await book.stop()
        await journal.stop()


async def _all(book: Any) -> Any:
    return [key for key in book.all() if not key["configured"]]


async def _shown(book: Any, key: Any) -> Any:
    return book.shown(key)


async def _later(book: Any, work: Any) -> Any:
    return book.shown(await work)


async def _with_secret(book: Any, work: Any) -> Any:
    key, secret = await work
    return {**book.shown(key), "secret": secret}
