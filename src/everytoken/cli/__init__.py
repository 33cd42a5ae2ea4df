"""The command line: one module for each command, named here."""

from __future__ import annotations

import importlib
import sys

import click

from everytoken.errors import EverytokenError

__all__ = ["main"]

# A command's module is imported when it is used: `everytoken chat` need not load a server.
_COMMANDS = {
    "serve": ("everytoken.cli.serve", "serve"),
    "chat": ("everytoken.cli.chat", "chat"),
    "fake-upstream": ("everytoken.cli.fake_upstream", "fake_upstream"),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="everytoken", prog_name="everytoken")
def _commands() -> None:
    """Streamed LLM responses made dependable: every token, exactly once, in order, and never a wrong ending."""


def main() -> None:
    """Run the command line; an error of ours is one line on standard error and exit status 1."""
    try:
        _commands()
    except EverytokenError as error:
        click.echo(f"everytoken: {error.message}", err=True)
        sys.exit(1)
