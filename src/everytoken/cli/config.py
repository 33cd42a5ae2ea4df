"""`everytoken config`: an example of a configuration, its schema, or the one that counts."""

from __future__ import annotations

import json
from pathlib import Path

import click

from everytoken.errors import EverytokenError

__all__ = ["config"]


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--example", "what", flag_value="example", help="A commented file with every setting.")
@click.option("--schema", "what", flag_value="schema", help="The JSON Schema of the file, for editors.")
@click.option(
    "--show",
    "what",
    flag_value="show",
    help="What counts: FILE, the environment and the defaults; secrets are masked.",
)
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The same as FILE.")
def config(file: Path | None, config_file: Path | None, what: str | None) -> None:
    """Print an example of a configuration, its JSON Schema, or the one that counts."""
    if what is None:
        raise click.UsageError("say which: --example, --schema or --show")
    if file is not None and config_file is not None:
        raise click.UsageError("FILE and --config are the same: give one of them")
    file = file or config_file
    if file is not None and what != "show":
        raise click.UsageError(f"FILE is for --show, not for --{what}")
    if what == "schema":
        from everytoken.gateway.schema import schema  # noqa: PLC0415  # the gateway takes a moment to load

        click.echo(json.dumps(schema(), indent=2, ensure_ascii=False))
        return
    from everytoken.gateway.checking import MistakesError, check  # noqa: PLC0415
    from everytoken.gateway.example import example, shown  # noqa: PLC0415

    if what == "example":
        click.echo(example(), nl=False)
        return
    report = check(file)
    if report.errors:
        raise MistakesError(report)
    if report.config is None:
        raise EverytokenError("there is nothing to show")
    click.echo(shown(report.config, report.sources), nl=False)
