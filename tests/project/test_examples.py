"""`examples/`: every line of the guide is there unchanged, and every program runs against `everytoken serve`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from everytoken.testing.answer import DEFAULT_TEXT
from node_packages import EVERYTOKEN, built, install, node_tests
from sampling import SOAK

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PACKAGE = ROOT / "js"
GUIDE = {
    "python_sync.py": "python_sync",
    "python_async.py": "python_async",
    "python_interrupted.py": "interrupted",
    "node.mjs": "node",
    "react-vite/src/chat.tsx": "react",
    "nextjs/app/chat.tsx": "react",
}
ADDED = {"import { useAsked } from './ask'", "useAsked(prompt => handleSubmit(prompt)"}


def lines_of(path: Path) -> list[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


@pytest.mark.parametrize("example", GUIDE)
def test_every_line_of_the_guide_is_in_the_example_as_it_is(example: str) -> None:
    guide = lines_of(ROOT / "spec" / "guide" / f"{GUIDE[example]}.txt")
    program = lines_of(EXAMPLES / example)
    if example.endswith(".tsx"):
        added = [line for line in program if any(line.startswith(start) for start in ADDED)]
        assert len(added) == len(ADDED)
        program = [line for line in program if line not in added]
        assert program == guide
    else:
        start = program.index(guide[0])
        assert program[start : start + len(guide)] == guide


@pytest.mark.parametrize(
    "program", sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in {".py", ".mjs"})
)
def test_the_program_says_how_it_is_installed_and_run(program: str) -> None:
    first = (EXAMPLES / program).read_text(encoding="utf-8").splitlines()[0]
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert re.search(r"`(pip|npm) install( \S+)*`", first)
    assert f"{'node' if program.endswith('.mjs') else 'python'} {program}`" in first
    assert f"]({program})" in page


def test_no_lock_file_names_a_registry() -> None:
    for lock in ROOT.glob("examples/**/package-lock.json"):
        if "node_modules" not in lock.parts:
            text = lock.read_text(encoding="utf-8").replace('"resolved": "file:../../js"', "")
            assert not re.search(r'"resolved"|registry', text), lock


@contextmanager
def process(*command: str) -> Iterator[str]:
    """Run a server that prints its URL on its first line; yield the URL."""
    with subprocess.Popen([EVERYTOKEN, *command], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
            assert found is not None
            yield found[0]
        finally:
            server.kill()


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    with (
        process("fake-upstream", "--delay", "0") as upstream,
        process("serve", "--port", "0", "--journal", "memory", "--upstream", f"{upstream}/v1") as url,
    ):
        yield url


@pytest.mark.parametrize(
    "program", ["python_sync.py", "python_async.py", "python_interrupted.py", "node.mjs"]
)
def test_the_program_prints_the_answer(program: str, gateway: str) -> None:
    interpreter = sys.executable
    if program.endswith(".mjs"):
        interpreter = shutil.which("node") or pytest.skip("node is not installed")
        install(EXAMPLES)
    run = subprocess.run(
        [interpreter, EXAMPLES / program],
        env={**os.environ, "OPENAI_BASE_URL": f"{gateway}/v1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, DEFAULT_TEXT), run.stderr


def test_the_component_works_unchanged() -> None:
    built(EXAMPLES / "react-vite")
    node_tests("component.test.mjs")


@pytest.mark.skipif(not SOAK, reason="builds Next.js, for two minutes: make soak")
@pytest.mark.timeout(400)  # on a new checkout npm installs and builds two packages first
def test_the_component_and_both_hooks_work_side_by_side() -> None:
    built(PACKAGE)
    built(EXAMPLES / "nextjs", PACKAGE)
    node_tests("nextjs.test.mjs")
