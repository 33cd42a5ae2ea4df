"""The chat page in a real browser: `tests/browser/*.test.mjs`, run by node against `everytoken serve`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from node_packages import install

BROWSER = Path(__file__).parent / "browser"
BROWSERS = (
    os.environ.get("CHROMIUM", ""),
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
EVERYTOKEN = Path(sys.executable).with_name("everytoken")


@pytest.mark.parametrize("name", sorted(path.name for path in BROWSER.glob("*.test.mjs")))
def test_browser(name: str) -> None:
    if name != "pure.test.mjs" and not any(path and Path(path).exists() for path in BROWSERS):
        pytest.skip("no Chromium or Chrome found: set CHROMIUM to its path")
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    install(BROWSER)
    run = subprocess.run(
        [node, "--test", "--test-reporter=spec", name],
        cwd=BROWSER,
        env={**os.environ, "EVERYTOKEN": os.environ.get("EVERYTOKEN", str(EVERYTOKEN))},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
