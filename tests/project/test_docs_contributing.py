"""`CONTRIBUTING.md`: every command it gives can be given.

Commands that take minutes are looked at, not run: the target exists, the file exists, pytest finds a test.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = [
    textwrap.dedent(code) for code in re.findall(r"^ *```sh\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
]
COMMANDS = [
    shlex.split(line, comments=True) for block in BLOCKS for line in block.splitlines() if line.strip()
]


def beginning(*words: str) -> list[list[str]]:
    return [command for command in COMMANDS if command[: len(words)] == list(words)]


def test_only_commands_of_a_known_kind_are_given():
    kinds = {"make", "npm", ".ci/run", ".venv/bin/pytest", ".venv/bin/python", "EVERYTOKEN_SOAK=1"}
    assert {command[0] for command in COMMANDS} == kinds
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("command", beginning("make"), ids=" ".join)
def test_make_has_the_target(command):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{command[1]}:.* ##", makefile, re.MULTILINE)
    for argument in command[2:]:
        assert argument.startswith("ARGS=")


def test_pytest_finds_what_it_is_told_to_run():
    told = [command[1:] for command in beginning(".venv/bin/pytest")]
    told += [command[2:] for command in beginning("EVERYTOKEN_SOAK=1", ".venv/bin/pytest")]
    told += [shlex.split(command[2].removeprefix("ARGS=")) for command in beginning("make", "test")[1:]]
    places = {word for words in told for word in words if word.startswith("tests/")}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *places],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    collected = run.stdout.splitlines()
    for words in told:
        name = words[words.index("-k") + 1] if "-k" in words else ""
        for place in (word for word in words if word.startswith("tests/")):
            assert any(test.startswith(place) and name in test.lower() for test in collected), words


@pytest.mark.parametrize("command", beginning(".venv/bin/python"), ids=" ".join)
def test_python_is_told_to_run_what_is_there(command):
    if command[1] == "-m":
        run = subprocess.run(
            [sys.executable, *command[1:4], "--help"], check=False, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
    else:
        source = (ROOT / command[1]).read_text(encoding="utf-8")
        assert all(f'"{word}"' in source for word in command[2:] if word.startswith("-"))


def test_npm_has_the_scripts():
    scripts = json.loads((ROOT / "js" / "package.json").read_text(encoding="utf-8"))["scripts"]
    assert {command[4] for command in beginning("npm", "--prefix", "js", "run")} <= set(scripts)
    for command in beginning("npm", "--prefix"):
        assert (ROOT / command[2] / "package-lock.json").exists()


def test_both_packages_have_the_same_version():
    python = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    javascript = json.loads((ROOT / "js" / "package.json").read_text(encoding="utf-8"))
    assert python["version"] == javascript["version"]
    weights = tomllib.loads((ROOT / "weights" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = f"{weights['name']}=={weights['version']}"
    assert pinned in python["optional-dependencies"]["embedded"]
