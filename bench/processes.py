"""Start programs, wait until they relay, and stop them by process id, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from bench.chunks import KEY, Order, request_body
from bench.measure import tree
from bench.stacks import Absent, Command, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

READY_LIMIT = 90.0
STOP_LIMIT = 5.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def stop(process: subprocess.Popen[str]) -> None:
    """End a program that we started, with all its children."""
    pids = tree(process.pid) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(STOP_LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in pids[1:]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@contextmanager
def upstream() -> Iterator[str]:
    """Run the upstream; yield its URL."""
    command = [sys.executable, "-m", "bench.upstream"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        stop(process)


@contextmanager
def relay(
    start: Callable[[Place], Command],
    upstream_url: str,
    beside: Callable[[Path], AbstractContextManager[str]] | None = None,
) -> Iterator[tuple[str, int]]:
    """Run a stack; yield its URL and process id once it relays. Raises Absent if it does not."""
    with ExitStack() as around:
        directory = around.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        also = "" if beside is None else around.enter_context(beside(Path(directory)))
        place = Place(Path(directory), free_port(), upstream_url, free_port(), also)
        command = start(place)
        log = Path(directory, "log")
        with log.open("w") as output:
            try:
                process = subprocess.Popen(
                    command.arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env=os.environ | command.environment,
                    cwd=directory,
                    start_new_session=True,  # Ctrl-C is for us; we stop the others
                )
            except FileNotFoundError as error:
                raise Absent("is not installed") from error
            try:
                url = f"http://127.0.0.1:{place.port}"
                _wait_until_it_relays(process, url, log)
                yield url, process.pid
            finally:
                stop(process)


def _wait_until_it_relays(process: subprocess.Popen[str], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_LIMIT
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        request_body(Order(0, 1, 0, hold=False)),
        {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
    )
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                if b"[DONE]" in answer.read():
                    return
        except (OSError, HTTPException):
            pass
        if process.poll() is not None:
            print(_last_line(log))  # may name paths, which have no place in the report
            raise Absent("does not start")
        if time.monotonic() > deadline:
            print(_last_line(log))
            raise Absent(f"does not relay within {READY_LIMIT:.0f} s")
        time.sleep(0.1)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it says nothing"


def release(upstream_url: str) -> None:
    """Let the upstream end the responses it holds open."""
    with urllib.request.urlopen(f"{upstream_url}/release", timeout=10) as answer:
        json.load(answer)
