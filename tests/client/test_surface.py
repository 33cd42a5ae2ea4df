"""The public surface: its names and types, what importing it costs, and that docs/python.md runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import everytoken
from everytoken.testing import ScriptedUpstream

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "python.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
GUIDE = ROOT / "spec" / "guide"

IMPORT = """
import httpx2
import everytoken
everytoken.{name}
import sys
print(*{{name.partition('.')[0] for name in sys.modules}})
"""

COST = """
import time
begun = time.process_time()
import httpx2
between = time.process_time()
import everytoken
everytoken.{name}
print((time.process_time() - between) / (between - begun))
"""
MOST = 0.7  # of what importing the HTTP library takes, on the same machine at the same time
TRIES = 10


def test_every_public_name_is_there_and_named_once():
    assert sorted(set(everytoken.__all__)) == sorted(everytoken.__all__)
    assert dir(everytoken) == sorted(everytoken.__all__)
    for name in everytoken.__all__:
        assert getattr(everytoken, name) is getattr(everytoken, name)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = everytoken.nonsense


def test_importing_the_package_imports_nothing_but_the_standard_library():
    program = "import everytoken, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, check=True, text=True)
    found = set(run.stdout.split()) - set(sys.stdlib_module_names)
    assert "everytoken" in found
    assert not found & {"httpx2", "httpcore2", "msgspec", "anyio", "rich", "click", "regex"}


@pytest.mark.parametrize("name", ["Client", "AsyncClient"])
def test_a_client_loads_little_more_than_the_http_library(name):
    """What would be felt at import is not there."""
    run = subprocess.run(
        [sys.executable, "-c", IMPORT.format(name=name)], capture_output=True, check=True, text=True
    )
    heavy = {
        "uvicorn",
        "uvloop",
        "rich",
        "budoux",
        "regex",
        "click",
        "sqlite3",
        "openai",
        "redis",
        "httptools",
    }
    assert not heavy & set(run.stdout.split())


@pytest.mark.parametrize("name", ["Client", "AsyncClient"])
def test_importing_a_client_takes_little_longer_than_importing_the_http_library(name):
    """Processor time, and the least of several."""
    program = COST.format(name=name)
    least = 9.0
    for _ in range(TRIES):
        run = subprocess.run(
            [sys.executable, "-I", "-c", program], capture_output=True, check=True, text=True
        )
        least = min(least, float(run.stdout))
        if least <= MOST:
            break
    assert least <= MOST


def test_the_page_s_code_runs():
    with ScriptedUpstream(
        faults=[(0, "clean-end", "middle"), (2, "reset", "one"), (6, "reset", "middle")]
    ) as upstream:
        run = subprocess.run(
            [sys.executable, "-c", "".join(SNIPPETS)],
            env={
                **os.environ,
                "OPENAI_BASE_URL": upstream.base_url,
                "OPENAI_API_KEY": "any",
                "ANTHROPIC_BASE_URL": upstream.base_url.removesuffix("/v1"),
                "ANTHROPIC_API_KEY": "any",
                "PYTHONIOENCODING": "utf-8",
            },
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert (run.stderr, run.stdout) == (
            "",
            upstream.text * 4 + "\n" + upstream.text + "\n" + upstream.text * 2,
        )


def test_the_guides_lines_are_on_the_page_as_they_are():
    page = "".join(SNIPPETS)
    for name in ("python_sync", "python_async"):
        for line in (GUIDE / f"{name}.txt").read_text(encoding="utf-8").splitlines():
            assert line.strip() in page


def test_the_example_prints_the_answer_although_the_first_one_is_cut():
    with ScriptedUpstream(faults=[(0, "clean-end", "middle")]) as upstream:
        run = subprocess.run(
            [sys.executable, "-W", "error", ROOT / "examples" / "python_client.py"],
            env={**os.environ, "OPENAI_BASE_URL": upstream.base_url, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert (run.returncode, run.stdout, run.stderr) == (0, upstream.text, "")
