"""`everytoken conversations`: what is kept, in a list."""

from __future__ import annotations

from contextlib import suppress

import click
import msgspec

from everytoken.cli.kept import Kept
from everytoken.cli.tables import table, when
from everytoken.cli.text import one_line
from everytoken.errors import EverytokenError

__all__ = ["complete", "conversations"]


def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names and ids that a shell may complete."""
    with suppress(EverytokenError):
        found = Kept(save=False).all()
        return [word for one in found for word in (one.name, one.id) if word and word.startswith(incomplete)]
    return []


@click.command()
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="How many, the newest first."
)
@click.option("--remove", metavar="ID|NAME", shell_complete=complete, help="Remove a conversation for good.")
@click.option("--json", "as_json", is_flag=True, help="Print whole conversations, one JSON object a line.")
def conversations(limit: int, remove: str | None, as_json: bool) -> None:  # noqa: FBT001  # click calls it by name
    """List the conversations that are kept, and remove them.

    `everytoken chat --conversation ID` continues one of them.
    """
    kept = Kept(save=False)
    if remove is not None:
        found = kept.find(remove)
        if found is None:
            raise EverytokenError(f"there is no conversation {remove}")
        kept.path(found).unlink(missing_ok=True)
        click.echo(f"removed {found.id}, “{one_line(found.title)}”")
        return
    listed = kept.all()[:limit]
    if as_json:
        for one in listed:
            click.echo(msgspec.json.encode(one))
        return
    rows = [(one.id, when(one.updated, ""), one_line(one.name), one_line(one.title)) for one in listed]
    click.echo(table(("ID", "UPDATED", "NAME", "TITLE"), rows) or "There are no conversations yet.")
