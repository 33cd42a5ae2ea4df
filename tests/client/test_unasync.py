"""The blocking client is made from the asynchronous one, and the tool that does it notices what it cannot translate."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "unasync.py"
UNASYNC = runpy.run_path(str(TOOL))


@pytest.mark.parametrize(("source", "name"), UNASYNC["FILES"].items())
def test_the_blocking_file_is_the_asynchronous_one_translated(source, name):
    assert UNASYNC["made"](source) == (UNASYNC["CLIENT"] / name).read_text(encoding="utf-8"), (
        "run: make unasync"
    )


@pytest.fixture
def copied(tmp_path):
    """A copy of the client's folder, for the tool to work on."""
    for names in UNASYNC["FILES"].items():
        for name in names:
            (tmp_path / name).write_text(
                (UNASYNC["CLIENT"] / name).read_text(encoding="utf-8"), encoding="utf-8"
            )
    return tmp_path


def test_a_file_changed_by_hand_is_named_by_the_check_and_made_anew(copied):
    path = copied / "sync.py"
    right = path.read_text(encoding="utf-8")
    path.write_text(right + "CHANGED = 1\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"sync\.py"):
        UNASYNC["main"](["--check"], copied)
    UNASYNC["main"]([], copied)
    assert path.read_text(encoding="utf-8") == right
    UNASYNC["main"](["--check"], copied)


@pytest.mark.parametrize(
    ("passage", "instead", "message"),
    [
        pytest.param(
            "self._shared = Shared(policy, prefill",
            "self._policy = policy, (prefill",
            "must contain",
            id="a stale passage",
        ),
        pytest.param("    async def aclose", "    # Async\n    async def aclose", "'Async'", id="a new word"),
    ],
)
def test_what_the_tables_do_not_cover_is_an_error(copied, passage, instead, message):
    path = copied / "aio.py"
    path.write_text(path.read_text(encoding="utf-8").replace(passage, instead), encoding="utf-8")
    with pytest.raises(SystemExit, match=message):
        UNASYNC["main"](["--check"], copied)


def test_the_check_that_lint_runs_succeeds():
    run = subprocess.run([sys.executable, str(TOOL), "--check"], capture_output=True, check=False, text=True)
    assert (run.returncode, run.stderr) == (0, "")
