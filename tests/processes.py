"""`everytoken serve` and its clients as processes of their own, and what they take."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.processes import stop

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
READY = re.compile(r"everytoken is ready at (http://\S+)")


@contextmanager
def upstream() -> Iterator[str]:
    """Run the upstream of the benchmark; yield its base URL."""
    command = [sys.executable, "-m", "bench.upstream"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout
    try:
        yield process.stdout.readline().strip() + "/v1"
    finally:
        stop(process)
        process.stdout.close()


@contextmanager
def gateway(*arguments: str) -> Iterator[tuple[str, int]]:
    """Run `everytoken serve`; yield its URL and process id."""
    command = [
        sys.executable,
        "-c",
        "from everytoken.cli import main; main()",
        "serve",
        "--port",
        "0",
        *arguments,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout
    try:
        line = process.stdout.readline()
        found = READY.match(line)
        if found is None:
            raise AssertionError(f"not ready: {line!r} {process.stderr and process.stderr.read()}")
        yield found[1], process.pid
    finally:
        stop(process)
        process.stdout.close()
        if process.stderr:
            process.stderr.close()


def load(url: str, responses: int, chunks: int) -> subprocess.Popen[str]:
    """Begin to read responses, and to check every chunk, in a process of its own."""
    command = [sys.executable, "-m", "bench.load", "--url", url, "--ramp", "0.1", "--limit", "50"]
    numbers = ["--responses", str(responses), "--chunks", str(chunks)]
    return subprocess.Popen([*command, *numbers], stdout=subprocess.PIPE, text=True, cwd=ROOT)


def report(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a load and return what it has seen."""
    output, _ = process.communicate(timeout=60)
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    return result


def resident(pid: int) -> int:
    """Return the bytes of memory a process has now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
