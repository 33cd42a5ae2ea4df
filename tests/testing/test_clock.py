"""Time that the test moves, and the fixtures every test has."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import uvloop

from everytoken.testing import ManualClock, VirtualTimeLoop

A_DAY = 86_400
LONG = 3_600
A_MOMENT = 0.05


def test_a_manual_clock_moves_when_it_is_moved():
    clock = ManualClock(start=5.0)
    clock.advance(2.5)
    clock.advance(0)
    assert clock() == clock.now() == 7.5
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


@pytest.mark.virtual_time
async def test_timers_cost_no_time_and_keep_their_order():
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    started, real, order = loop.time(), time.monotonic(), []

    async def note(delay):
        await asyncio.sleep(delay)
        order.append((delay, loop.time() - started))

    await asyncio.gather(*(note(delay) for delay in (LONG, 1, A_DAY, 0.5)))
    assert order == [(delay, pytest.approx(delay)) for delay in (0.5, 1, LONG, A_DAY)]
    assert time.monotonic() - real < 5


@pytest.mark.virtual_time
async def test_bytes_on_their_way_come_before_a_timer():
    """Each of a hundred echoes over a real socket arrives before a time-out of an hour."""

    async def echo(reader, writer):
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number in range(100):
        writer.write(b"%d\n" % number)
        assert await asyncio.wait_for(reader.readline(), LONG) == b"%d\n" % number
    assert loop.time() - started < 1
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


@pytest.mark.virtual_time
async def test_time_passes_as_on_the_wall_while_a_thread_works():
    result = await asyncio.wait_for(asyncio.to_thread(slow_answer), LONG)
    assert result == "done"
    loop = asyncio.get_running_loop()
    assert loop.time() < 1_000 + LONG


def slow_answer():
    time.sleep(A_MOMENT)
    return "done"


def test_a_runner_ends_cleanly():
    async def work():
        await asyncio.to_thread(slow_answer)
        await asyncio.sleep(LONG)
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(work()) >= 1_000 + LONG


@pytest.mark.every_loop
async def test_every_loop_means_two_loops(request):
    is_uvloop = isinstance(asyncio.get_running_loop(), uvloop.Loop)
    assert is_uvloop == ("uvloop" in request.node.name)


GUARDED = """
import asyncio, time
from everytoken.testing import ScriptedUpstream

async def test_a_task_left_behind():
    asyncio.get_running_loop().keep = asyncio.create_task(asyncio.Event().wait())

async def test_a_blocked_loop():
    async with ScriptedUpstream(lambda request: time.sleep(1) or []) as upstream:
        _, writer = await asyncio.open_connection(upstream.host, upstream.port)
        writer.write(b"POST /chat/completions HTTP/1.1\\r\\n\\r\\n")
        await (await upstream.wait_for_attempt()).closed.wait()
        writer.close()
        await writer.wait_closed()

async def test_nothing_wrong():
    await asyncio.sleep(0)
"""


def test_the_guards_fail_what_they_must(tmp_path):
    shutil.copy(Path(__file__).parents[1] / "conftest.py", tmp_path)
    (tmp_path / "test_guarded.py").write_text(GUARDED)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        "asyncio_mode=auto",
        str(tmp_path),
    ]
    output = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60
    ).stdout
    assert "tasks left behind" in output
    assert "Blocking call to time.sleep" in output
    assert "2 passed, 1 error, 1 failed" in output or "1 failed, 2 passed, 1 error" in output
