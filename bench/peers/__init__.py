"""The peers' own environments: one per file NAME.in next to this one, in var/bench/NAME, outside version control."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

INPUTS = Path(__file__).parent
ENVIRONMENTS = INPUTS.parents[1] / "var" / "bench"


def names() -> list[str]:
    return sorted(path.stem for path in INPUTS.glob("*.in"))


def python_of(name: str) -> str:
    """Return the interpreter in a peer's environment, whether or not it is installed yet."""
    return str(ENVIRONMENTS / name / "bin" / "python")


def install(name: str) -> str | None:
    """Install a peer unless it is there already; return None, or why it cannot be installed."""
    wanted = INPUTS / f"{name}.in"
    ready = ENVIRONMENTS / name / "installed.in"  # what was installed, written when all of it was
    if ready.exists() and ready.read_text() == wanted.read_text():
        return None
    print(f"installing {name} ({wanted.read_text().strip()}) …", flush=True)
    ready.unlink(missing_ok=True)
    for command in (
        [sys.executable, "-m", "venv", str(ENVIRONMENTS / name)],
        [
            python_of(name),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            str(wanted),
        ],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stderr.strip())  # may name paths and hosts, which have no place in the report
            return "cannot be installed here"
    ready.write_text(wanted.read_text())
    return None
