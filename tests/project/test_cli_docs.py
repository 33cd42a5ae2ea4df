"""The command line's help: in the documentation, and in the list of commands."""

from __future__ import annotations

import runpy
from pathlib import Path

import click
import pytest

from everytoken.cli import commands

DOCS = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "cli_docs.py"))
PAGE = DOCS["PAGE"].read_text(encoding="utf-8")
CONTEXT = click.Context(commands)
NAMES = commands.list_commands(CONTEXT)


def test_the_page_shows_the_help_as_it_is():
    assert DOCS["renewed"](PAGE) == PAGE, "run: python tools/cli_docs.py"


@pytest.mark.parametrize("name", ["", *NAMES])
def test_the_page_shows_every_command(name):
    assert DOCS["help_of"](name) in PAGE


@pytest.mark.parametrize("name", NAMES)
def test_the_list_says_of_a_command_what_it_says_itself(name):
    """The list has its own copy, so that it need not load the commands."""
    command = commands.get_command(CONTEXT, name)
    summary = " ".join(command.help.split("\n\n")[0].split())
    assert f"{name} {summary}" in " ".join(commands.get_help(CONTEXT).split())


def test_the_list_does_not_load_the_commands(monkeypatch):
    monkeypatch.setattr(commands, "get_command", lambda *_: pytest.fail("a command was loaded"))
    assert "serve" in commands.get_help(CONTEXT)
