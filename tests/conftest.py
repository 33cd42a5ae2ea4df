"""What every test gets: a loop that must not block, no task left behind, an upstream that follows a script.

Markers:

- `virtual_time`: timers cost no time (`everytoken.testing.VirtualTimeLoop`); keep client and server in the test's loop.
- `every_loop`: the test runs once on asyncio and once on uvloop.
- `blocking_allowed(reason)`: blocking calls in the event loop do not fail the test.
"""

from __future__ import annotations

import asyncio
import inspect
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvloop
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

import everytoken
from everytoken.testing import ScriptedUpstream, VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    UpstreamFactory = Callable[..., Awaitable[ScriptedUpstream]]
    LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# Blocking calls our own code may make in the event loop: (end of the file's path, function), each with its reason.
BLOCKING_ALLOWED: list[tuple[str, str]] = [
    # A commit to the WAL is a copy into the page cache, tens of microseconds; a thread costs more (docs/decisions/0008).
    ("everytoken/journal/sqlite_file.py", "execute"),
    # An indexed look at one or a few rows, likewise.
    ("everytoken/journal/sqlite_file.py", "look_up"),
    # Whether there is a password file, for each new connection: at the start, and when one was lost.
    ("asyncpg/connect_utils.py", "_parse_connect_arguments"),
]

# How fast the machine is must not decide over a test.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

TURNS_TO_END = 20  # loop turns a task that is ending may take before it counts as left behind


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell that starts something in the background has it ignore Ctrl-C, and all that is started from there.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "virtual_time: timers cost no time")
    config.addinivalue_line("markers", "every_loop: run on asyncio and on uvloop")
    config.addinivalue_line("markers", "blocking_allowed(reason): the event loop may be blocked")
    config.addinivalue_line("markers", "slow: takes more than 20 s; leave out with -m 'not slow'")


def pytest_report_header() -> str:
    """Say what is tested: the checkout, or the wheel that tests/project/test_wheel.py has installed."""
    return f"everytoken comes from {Path(everytoken.__file__).parent}"


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    if item.get_closest_marker("virtual_time"):
        return {"virtual": VirtualTimeLoop}
    if item.get_closest_marker("every_loop"):
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture(autouse=True, scope="session")
def _no_traces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the journals of servers that tests start out of the user's data directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture(autouse=True)
def _no_blocking(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test when our code blocks the event loop."""
    if request.node.get_closest_marker("blocking_allowed"):
        yield
        return
    with blockbuster_ctx("everytoken") as blockbuster:
        for function in blockbuster.functions.values():
            for filename, name in BLOCKING_ALLOWED:
                function.can_block_in(filename, name)
        yield


@pytest.fixture(autouse=True)
def _no_task_left(request: pytest.FixtureRequest) -> None:
    """Fail an async test that leaves tasks behind; set up first, so that it looks when all else is torn down."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("_task_guard")


@pytest.fixture
async def _task_guard() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    for _ in range(TURNS_TO_END):
        left = asyncio.all_tasks() - before - {asyncio.current_task()}
        if not left:
            return
        await asyncio.sleep(0)
    pytest.fail("tasks left behind: " + ", ".join(map(repr, left)))


@pytest.fixture
async def scripted_upstream() -> AsyncIterator[UpstreamFactory]:
    """Return a coroutine function that starts a `ScriptedUpstream` with its arguments; all are stopped after the test."""
    async with AsyncExitStack() as stack:

        async def start(*args: Any, **kwargs: Any) -> ScriptedUpstream:
            return await stack.enter_async_context(ScriptedUpstream(*args, **kwargs))

        yield start
