"""The tests of the part in C once more, with the compiler's own checks of memory and of undefined behaviour in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import everytoken
from sampling import SOAK

PACKAGE = Path(everytoken.__file__).parent
HERE = Path(__file__).parent
CHECKS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all")


def library(name: str) -> str:
    """Return the path of one of gcc's libraries; skip the test without it."""
    found = subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if not Path(found).is_absolute():
        pytest.skip(f"{name} is missing")
    return found


@pytest.mark.skipif(not SOAK, reason="compiles it anew: make soak")
@pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="needs gcc on Linux")
@pytest.mark.timeout(600)
def test_it_reads_and_writes_nothing_that_is_not_its_own(tmp_path):
    copy = shutil.copytree(
        PACKAGE, tmp_path / "everytoken", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    built = copy / "native" / f"_short_path{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = f"-I{sysconfig.get_path('include')}"
    source = copy / "native" / "short_path.c"
    command = ["gcc", *CHECKS, "-shared", "-fPIC", include, str(source), "-o", str(built)]
    subprocess.run(command, check=True)
    environ = os.environ | {
        "LD_PRELOAD": f"{library('libasan.so')} {library('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0",  # what the interpreter itself leaves at its end
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(tmp_path),
    }
    environ.pop("EVERYTOKEN_SOAK", None)
    where = subprocess.run(
        [
            sys.executable,
            "-c",
            "from everytoken.native import parts; print(parts.short_path.__self__.__file__)",
        ],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.strip() == str(built)
    tests = [str(HERE / name) for name in ("test_short_path.py", "test_messages.py", "test_commit.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "500", *tests],
        env=environ,
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert "passed" in done.stdout
