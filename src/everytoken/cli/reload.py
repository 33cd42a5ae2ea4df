"""`everytoken reload`: have a running gateway read its configuration again."""

from __future__ import annotations

import json

import click

from everytoken.cli.admin import Admin, admin_options

__all__ = ["reload"]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@admin_options
def reload(as_json: bool, url: str | None, admin_key: str | None) -> None:  # noqa: FBT001  # click calls it by name
    """Have a running gateway read its configuration again, as SIGHUP does.

    It also reads the files of secrets again. Prints what has changed, and what waits for the next start. If there is a mistake, nothing changes, and all mistakes
    are printed; the exit status is 1 then. Open responses continue in any case.
    """
    changes = Admin(url, admin_key).ask("POST", "/admin/reload", {})
    if as_json:
        click.echo(json.dumps(changes, indent=2))
        return
    for what, names in (("changed", changes["changed"]), ("at the next start", changes["waiting"])):
        if names:
            click.echo(f"{what}: {', '.join(names)}")
    if not (changes["changed"] or changes["waiting"]):
        click.echo("nothing has changed")
