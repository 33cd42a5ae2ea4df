"""`docs/architecture.md`: what it names is there, and the layers are those that import-linter checks."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from everytoken.journal.memory import MemoryJournal
from everytoken.journal.sqlite import SqliteJournal
from hot_path import calls_of_one_chunk
from hot_path_docs import renewed

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "everytoken"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_file_and_folder_it_names_is_there():
    named = re.findall(r"`([a-z_]+(?:/[a-z_0-9]*(?:\.[a-z]+)?)+|[a-z_]+\.py)`", PAGE)
    assert len(named) > 50
    assert [name for name in named if not ((PACKAGE / name).exists() or (ROOT / name).exists())] == []


def test_the_source_tree_is_the_source_tree():
    [tree] = re.findall(r"```text\n(src/everytoken/\n.*?)```", section("The source tree"), re.DOTALL)
    root, *lines = tree.splitlines()
    for line in lines:
        name = line.split()[0]
        place = ROOT / root / name if line.startswith(" ") else ROOT / name
        assert place.exists(), name
    modules = {path.name + "/" * path.is_dir() for path in (ROOT / root).iterdir()}
    modules -= {"__init__.py", "__pycache__/", "py.typed"}
    assert modules == {line.split()[0] for line in lines if line.startswith(" ")}


def test_the_layers_are_those_of_import_linter():
    [drawn] = re.findall(r"```text\n(.*?)```", section("The layers"), re.DOTALL)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = settings["contracts"][0]["layers"]
    assert [re.split(r" {2,}", line.strip())[0] for line in drawn.splitlines()] == layers


def test_the_table_of_transitions_is_that_of_recovery():
    tool = ROOT / "tools" / "transitions_docs.py"
    run = subprocess.run([sys.executable, tool, "--check"], check=False)
    assert run.returncode == 0, "run: python tools/transitions_docs.py"


async def test_the_calls_of_one_chunk_are_those_that_are_made(tmp_path):
    again = renewed(PAGE, "memory", await calls_of_one_chunk(MemoryJournal()))
    again = renewed(again, "sqlite", await calls_of_one_chunk(SqliteJournal(tmp_path / "journal.sqlite")))
    assert again == PAGE, "run: python tests/hot_path_docs.py"
