"""Node, its packages and a browser for the tests that need them; without them those tests are skipped, with a word."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
BROWSER_TESTS = ROOT / "tests" / "browser"
BROWSERS = (
    os.environ.get("CHROMIUM", ""),
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
EVERYTOKEN = Path(sys.executable).with_name("everytoken")


def node_tests(name: str, *, limit: float = 100, **environ: str) -> None:
    """Run one file of `tests/browser` with node's own test runner; its output is the failure's message."""
    if not name.endswith("pure.test.mjs") and not any(path and Path(path).exists() for path in BROWSERS):
        pytest.skip("no Chromium or Chrome found: set CHROMIUM to its path")
    run_node_tests(BROWSER_TESTS, name, limit=limit, **environ)


def run_node_tests(folder: Path, name: str, *, limit: float = 100, **environ: str) -> None:
    """Run one file of a folder that has its own packages, for so many seconds at most."""
    install(folder)
    run_node(folder, name, limit=limit, **environ)


def run_node(folder: Path, name: str, *, limit: float = 100, **environ: str) -> None:
    """Run one file of a folder whose packages are there."""
    node = shutil.which("node") or pytest.skip("node is not installed")
    with subprocess.Popen(
        [node, "--test", "--test-reporter=spec", name],
        cwd=folder,
        env={"EVERYTOKEN": str(EVERYTOKEN), **os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
    ) as run:
        try:
            output, _ = run.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)  # with the gateway and the browser it has started
            output, _ = run.communicate()
        assert run.returncode == 0, output


def install(folder: Path, *local: Path) -> None:
    """
    `npm ci` in `folder` unless its lock file is what is installed; skip the test where there is no network.

    `local` are packages of this repository that it copies: it is done again when one of them has changed.
    """
    with _alone(folder, *local):
        _install(folder, *local)


def _install(folder: Path, *local: Path) -> None:
    lock = folder / "package-lock.json"
    mark = folder / "node_modules" / ".installed"
    if mark.exists() and mark.read_bytes() == lock.read_bytes() and mark.stat().st_mtime > _newest(*local):
        return
    run = npm(folder, "ci", "--prefer-offline", "--no-audit", "--no-fund")
    if run.returncode != 0 and re.search(
        r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT", run.stderr
    ):
        pytest.skip(f"the packages of {folder.name} are not installed, and npm has no network")
    assert run.returncode == 0, run.stderr
    mark.write_bytes(lock.read_bytes())


def built(folder: Path, *local: Path) -> None:
    """`npm run build` in `folder` unless nothing has changed since the last one, there or in `local` packages."""
    with _alone(folder, *local):
        _install(folder, *local)
        mark = folder / "node_modules" / ".built"
        if mark.exists() and mark.stat().st_mtime > _newest(folder, *local):
            return
        run = npm(folder, "run", "build")
        assert run.returncode == 0, run.stdout + run.stderr
        mark.touch()


@contextmanager
def _alone(*folders: Path) -> Iterator[None]:
    """Keep other test processes from installing and building in these folders at the same time."""
    locks = ROOT / "var" / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        for folder in sorted(folders):  # in one order everywhere, so that no two wait for each other
            lock = held.enter_context((locks / str(folder.relative_to(ROOT)).replace("/", "-")).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _newest(*folders: Path) -> float:
    """Return when a source in one of the folders has changed last."""
    sources = (
        path for folder in folders for path in folder.rglob("*") if _is_source(path.relative_to(folder).parts)
    )
    return max((path.stat().st_mtime for path in sources if path.is_file()), default=0)


def _is_source(parts: tuple[str, ...]) -> bool:
    return (
        parts[0] not in {"node_modules", "dist", ".next", "next-env.d.ts"} and ".tsbuildinfo" not in parts[-1]
    )


def npm(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run npm in `folder`."""
    program = shutil.which("npm") or pytest.skip("npm is not installed")
    return subprocess.run([program, *command], cwd=folder, capture_output=True, encoding="utf-8", check=False)
