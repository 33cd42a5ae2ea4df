"""The list of commands."""

from __future__ import annotations

import pytest

from everytoken.cli.conversation.commands import COMMANDS

WIDTH = 80  # columns, as terminals have them
INDENT = len("  Alt-Enter, Ctrl-J  ")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_line_of_the_list_fits_a_terminal(name):
    argument, meaning = COMMANDS[name]
    assert len(f"{name} {argument}") < INDENT - 2
    assert INDENT + len(meaning) <= WIDTH
