"""The `everytoken` command as a program, for tests: a clean environment, and a gateway of one's own."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EVERYTOKEN = str(Path(sys.executable).with_name("everytoken"))
LIMIT = 20.0  # seconds until a test gives up
_PAUSE = 0.01
_PASSED_ON = (
    "PATH",
    "PYTHONPATH",
    "HOME",
    "XDG_DATA_HOME",
    "XDG_CONFIG_HOME",
    "LANG",
    "COVERAGE_PROCESS_START",
)


def environment(**more: str) -> dict[str, str]:
    """Return an environment without anybody's keys, proxies or taste in colours."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | more


def run(*arguments: str, stdin: str | bytes = b"", **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run `everytoken` to its end."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    return subprocess.run(
        [EVERYTOKEN, *arguments],
        input=given,
        env=environment(**env),
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )


@contextmanager
def started(
    *arguments: str, env: dict[str, str] | None = None, program: str = EVERYTOKEN, **more: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Start `everytoken` with its output in pipes; it is killed in the end if it still runs."""
    with subprocess.Popen(
        [program, *arguments],
        env=environment(**(env or {})),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # what has been read is what was asked for, and the rest is still in the pipe
        **more,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def gateway(
    *arguments: str, program: str = EVERYTOKEN, **env: str
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Start `everytoken serve` on a free port; gives the process and its URL."""
    serve = ("serve", "--port", "0", "--journal", "memory", *arguments)
    with started(*serve, env=env, program=program) as process:
        yield process, read_line(process).rsplit(maxsplit=1)[-1]


def read_line(process: subprocess.Popen[bytes]) -> str:
    """Return the next line of standard output."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], LIMIT)
    line = process.stdout.readline().decode() if ready else ""
    if not line:
        process.kill()
        assert process.stderr is not None
        raise AssertionError(f"no line came; standard error: {process.stderr.read().decode()}")
    return line


def wait_for(happened: Callable[[], bool], limit: float = LIMIT) -> None:
    """Wait until something has happened in another process or thread."""
    deadline = time.monotonic() + limit
    while not happened():
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(_PAUSE)
