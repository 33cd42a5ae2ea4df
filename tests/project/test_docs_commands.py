"""Every command that a page of the documentation names is there, with every option that it is given."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from everytoken.cli import commands as program

ROOT = Path(__file__).parents[2]
PAGES = [
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/decisions/*.md",
        "examples/*.md",
        "js/README.md",
        "weights/*.md",
    )
    for path in sorted(ROOT.glob(pattern))
]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
# Names of our files, streams and packages begin like commands, and so do sentences in messages.
OTHER = re.compile(r"everytoken(?:,| is |: |\.|-|/|\[| keys?\b(?! (?:create|list|revoke|rotate|--)))")


def code(text: str) -> list[str]:
    """Return what is marked as code: the lines of blocks for a shell, and what stands between backticks."""
    fences = re.findall(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    shell = [
        line for language, block in fences if language in {"sh", "console"} for line in block.splitlines()
    ]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [*shell, *spans]


def commands(page: str, name: str) -> list[list[str]]:
    """Return the words behind a program's name, wherever a page calls it."""
    found = []
    for line in code((ROOT / page).read_text(encoding="utf-8")):
        for part in re.split(r"\s*(?:\||&&|;)\s*", re.sub(r"\s+#.*$|…", "", line)):
            words = re.sub(r"^\$ ", "", part)
            words = re.sub(r"^(?:[A-Z_]+=\S* +)+", "", words)
            words = re.sub(r"^\.venv/bin/", "", words)
            if re.match(rf"{name} [a-z-]", words) and not (name == "everytoken" and OTHER.match(words)):
                found.append(shlex.split(words.replace("'", "") if words.count("'") % 2 else words)[1:])
    return found


def known(words: list[str]) -> tuple[click.Command, list[str]]:
    """Return the command that the words call, and those of them that are left."""
    context = click.Context(program)
    command: click.Command = program
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]!r}"
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_there_with_its_options(page):
    for words in commands(page, "everytoken"):
        command, rest = known(words)
        options = {
            name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
        }
        options |= {"--help", "-h"} | ({"--version"} if command is program else set())
        given = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)}
        assert given <= options, f"{' '.join(words)}: {sorted(given - options)}"


@pytest.mark.parametrize("page", PAGES)
def test_every_target_of_make_is_there(page):
    for words in commands(page, "make"):
        for word in words:
            if not re.match(r"[A-Z]+=", word):
                assert re.search(rf"^{re.escape(word)}:.* ##|^{re.escape(word)}: ", MAKEFILE, re.MULTILINE), (
                    words
                )


@pytest.mark.parametrize("page", PAGES)
def test_every_script_of_npm_is_there(page):
    scripts = set()
    for path in (*ROOT.glob("*/package.json"), *ROOT.glob("examples/*/package.json")):
        scripts |= set(json.loads(path.read_text(encoding="utf-8")).get("scripts", {}))
    for words in commands(page, "npm"):
        if "run" in words:
            assert words[words.index("run") + 1] in scripts, words


def test_the_check_finds_something():
    called = [words for page in PAGES for words in commands(page, "everytoken")]
    assert len(called) > 60
    assert {words[0] for words in called} >= {"serve", "chat", "tail", "check", "keys", "responses", "doctor"}
    with pytest.raises(AssertionError, match="no command"):
        known(["nonsense"])
