"""Node packages for the tests that need them, installed once per lock file."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def install(folder: Path) -> None:
    """`npm ci` in `folder` unless its lock file is what is installed; skip the test where npm cannot."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    lock = folder / "package-lock.json"
    mark = folder / "node_modules" / ".installed"
    if mark.exists() and mark.read_bytes() == lock.read_bytes():
        return
    run = subprocess.run(
        [npm, "ci", "--prefer-offline", "--no-audit", "--no-fund"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        pytest.skip(f"npm ci in {folder.name} failed: {run.stderr.strip()[-300:]}")
    mark.write_bytes(lock.read_bytes())
