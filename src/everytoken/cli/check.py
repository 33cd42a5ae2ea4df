"""`everytoken check`: what is wrong with a configuration."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import click
import msgspec

__all__ = ["check"]


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The same as FILE.")
@click.option("--connect", "connects", is_flag=True, help="Also try each upstream, and the journal.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    file: Path | None,
    config_file: Path | None,
    connects: bool,  # noqa: FBT001  # click calls it by name
    as_json: bool,  # noqa: FBT001
) -> None:
    """Check a configuration: all errors at once, with lines and suggestions.

    Reads FILE and the environment as `everytoken serve --config FILE` does; without FILE, the environment alone. Warns of
    what is probably not meant. Exit status: 0 without errors, 1 with them.
    """
    from everytoken.gateway.checking import Report  # noqa: PLC0415  # the gateway takes a moment to load
    from everytoken.gateway.checking import check as look  # noqa: PLC0415
    from everytoken.gateway.checking.connecting import connect  # noqa: PLC0415

    if file is not None and config_file is not None:
        raise click.UsageError("FILE and --config are the same: give one of them")
    file = file or config_file
    report = look(file)
    if connects and report.config is not None and not report.errors:
        report = Report([*report.problems, *asyncio.run(connect(report.config))], report.config)
    errors, warnings = len(report.errors), len(report.warnings)
    if as_json:
        told = {
            "file": None if file is None else str(file),
            "ok": not errors,
            "errors": errors,
            "warnings": warnings,
            "problems": msgspec.to_builtins(report.problems),
        }
        click.echo(json.dumps(told, indent=2))
    else:
        for problem in report.problems:
            click.echo(str(problem))
        checked = "the environment" if file is None else str(file)
        click.echo(f"{checked}: {_count(errors, 'error')}, {_count(warnings, 'warning')}")
    sys.exit(1 if errors else 0)


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
