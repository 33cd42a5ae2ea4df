# ruff: noqa: INP001  # a program, not a package
"""Write the commands' own help into docs/cli.md: `python tools/cli_docs.py`."""

from __future__ import annotations

import re
from pathlib import Path

import click

from everytoken.cli import commands

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
WIDTH = 100
_HELP = re.compile(r"(<!-- help of everytoken ?([a-z-]*) -->\n)```text\n.*?^```$", re.DOTALL | re.MULTILINE)


def help_of(name: str) -> str:
    """Return what `everytoken NAME --help` prints; of everytoken itself for ""."""
    width = {"max_content_width": WIDTH, "terminal_width": WIDTH}
    whole = click.Context(commands, info_name="everytoken", **commands.context_settings, **width)
    if not name:
        return commands.get_help(whole)
    command = commands.get_command(whole, name)
    if command is None:
        raise LookupError(f"docs/cli.md asks for the help of {name!r}, which is no command")
    return command.get_help(click.Context(command, info_name=name, parent=whole))


def renewed(page: str) -> str:
    """Return `page` with the help as it is now; a command that it does not show yet gets a section at its end."""
    for name in commands.list_commands(click.Context(commands)):
        if f"<!-- help of everytoken {name} -->" not in page:
            page += f"\n## everytoken {name}\n\n<!-- help of everytoken {name} -->\n```text\n```\n"
    return _HELP.sub(lambda match: f"{match[1]}```text\n{help_of(match[2])}\n```", page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
