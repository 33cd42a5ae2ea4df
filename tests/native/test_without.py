"""Without the part in C the Python code does everything: what drives responses is tested once more without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from everytoken.native import parts
from sampling import SOAK

ROOT = Path(__file__).parents[2]
TESTS = ["tests/relay", "tests/gateway/test_follow.py", "tests/gateway/test_follow_formats.py"]
MORE = [
    "tests/gateway",
    "tests/journal",
    "tests/contract",
    "tests/upstream",
    "tests/acceptance",
    "tests/conformance",
]


@pytest.mark.skipif(parts.short_path is None, reason="the C part was not built, so nothing else was tested")
@pytest.mark.timeout(3600 if SOAK else 300)
def test_everything_holds_without_it():
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        *TESTS,
        *(MORE if SOAK else ()),
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"EVERYTOKEN_NATIVE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:]


def test_the_environment_turns_it_off():
    program = "from everytoken.native import parts; print(parts.short_path, parts.use(wanted=False))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"EVERYTOKEN_NATIVE": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "None False\n"
