"""Starting workers, and starting them again: with small programs in their place."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import Any

import pytest

from everytoken.cli.workers.supervisor import Supervisor

pytestmark = pytest.mark.blocking_allowed("processes are started")
LIMIT = 20.0
# Says that it serves, and what it hears; ends as its parent's signals have it.
WORKER = """
import json, os, signal, socket, sys, time
number, _, line = map(int, sys.argv[-1].split(":"))
line = socket.socket(fileno=line)
signal.signal(signal.SIGHUP, lambda *_: line.sendall(b'{"kind":"others","value":["hup",null],"number":7}\\n'))
line.sendall(json.dumps({"kind": "ready", "value": f"node{number}-{os.getpid()}"}).encode() + b"\\n")
for message in line.makefile():
    told = json.loads(message)
    if told.get("kind") and told.get("number"):
        line.sendall(json.dumps({"number": told["number"], "value": [number, told["kind"]]}).encode() + b"\\n")
"""


class Watched(Supervisor):
    """One whose workers' messages can be seen."""

    def __init__(self, count: int, command: list[str], listening: socket.socket) -> None:
        self.is_ready = asyncio.Event()
        self.told: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        super().__init__(count, command, listening, self.is_ready.set)

    async def _handle(self, child: Any, kind: str, value: Any) -> Any:
        answer = await super()._handle(child, kind, value)
        await self.told.put((kind, value if kind == "ready" else answer))
        return answer

    def pids(self) -> list[int]:
        return [child.process.pid for child in self._children.values()]


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as one:
        yield one


async def started(listening: socket.socket, count: int = 2) -> tuple[Watched, asyncio.Task[int]]:
    supervisor = Watched(count, [sys.executable, "-c", WORKER], listening)
    running = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(LIMIT):
        await supervisor.is_ready.wait()
    return supervisor, running


async def ended(running: asyncio.Task[int]) -> int:
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(LIMIT):
        return await running


async def test_all_serve_before_it_is_ready_and_all_end_with_it(listening):
    supervisor, running = await started(listening, 3)
    pids = supervisor.pids()
    assert len(pids) == 3
    assert await ended(running) == 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_what_one_asks_all_the_others_answer(listening):
    supervisor, running = await started(listening, 3)
    while not supervisor.told.empty():
        supervisor.told.get_nowait()
    os.kill(os.getpid(), signal.SIGHUP)
    async with asyncio.timeout(LIMIT):
        answers = [await supervisor.told.get() for _ in range(3)]
    assert sorted(sorted(number for number, _ in answer) for _, answer in answers) == [[1, 2], [1, 3], [2, 3]]
    await ended(running)


async def test_a_worker_that_dies_is_started_again_even_if_that_fails_at_first(
    listening, monkeypatch, caplog
):
    supervisor, running = await started(listening)
    real, failures = asyncio.create_subprocess_exec, []

    async def failing(*arguments: Any, **more: Any) -> Any:
        if not failures:
            failures.append(arguments)
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return await real(*arguments, **more)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", failing)
    while not supervisor.told.empty():
        supervisor.told.get_nowait()
    os.kill(supervisor.pids()[0], signal.SIGKILL)
    async with asyncio.timeout(LIMIT):
        kind, node = await supervisor.told.get()
    assert (kind, node.partition("-")[0]) == ("ready", "node1")
    assert "worker 1 was killed by SIGKILL; another one is started\n" in caplog.text
    assert "worker 1 cannot be started: Resource temporarily unavailable" in caplog.text
    assert await ended(running) == 0


async def test_one_that_cannot_be_started_at_all_ends_all(listening):
    supervisor = Watched(2, ["/nonexistent/python"], listening)
    async with asyncio.timeout(LIMIT):
        assert await supervisor.run() == 1
    supervisor = Watched(2, [sys.executable, "-c", "raise SystemExit(3)"], listening)
    async with asyncio.timeout(LIMIT):
        assert await supervisor.run() == 3
    assert not supervisor.is_ready.is_set()
