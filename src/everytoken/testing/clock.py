"""Time under a test's control: a clock for code that takes `now` as an argument, and an event loop that never sleeps."""

from __future__ import annotations

import asyncio
import selectors
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

__all__ = ["ManualClock", "VirtualTimeLoop"]

_Ts = TypeVarTuple("_Ts")


class ManualClock:
    """A clock that stands still until it is advanced; `clock()` and `clock.now()` are the time in seconds."""

    def __init__(self, start: float = 1_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """Return the time in seconds."""
        return self._now

    __call__ = now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass. Raises `ValueError` for a negative number."""
        if seconds < 0:
            raise ValueError("time cannot run backwards")
        self._now += seconds


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers cost no time.

    When nothing is ready, `loop.time()` jumps to the next timer, so that thirty seconds of silence take no time and always
    come after everything that was due before them.

    Sockets are real. Before it jumps, the loop therefore waits for bytes in flight: it polls for `grace` seconds of real
    time if any socket is open. While a job runs in an executor (a DNS lookup, for example), its end is unknown, so time
    passes at its real speed.

    The limit: if another process or thread takes longer than `grace` to send, that looks like silence. Keep client and
    server in this loop, or use real time. Code that asks `time.monotonic()` instead of `loop.time()` sees no jump.
    """

    def __init__(self, *, start: float = 1_000.0, grace: float = 0.002) -> None:
        self._clock = ManualClock(start)
        self._jobs = 0
        super().__init__(_JumpingSelector(self._clock, grace, lambda: self._jobs > 0))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._clock.now()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*_Ts], Any], *args: *_Ts
    ) -> asyncio.Future[Any]:
        """Run `func` in a thread; until it is done, time passes at its real speed."""
        future = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        future.add_done_callback(self._job_done)
        return future

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        """Join the executor's threads in real time; since Python 3.12 the wait for them has a time limit."""
        self._jobs += 1
        try:
            await super().shutdown_default_executor(*args, **kwargs)
        finally:
            self._jobs -= 1

    def _job_done(self, _future: asyncio.Future[Any]) -> None:
        self._jobs -= 1


class _JumpingSelector(selectors.BaseSelector):
    """A selector that moves the clock instead of waiting."""

    def __init__(self, clock: ManualClock, grace: float, busy: Callable[[], bool]) -> None:
        self._clock = clock
        self._grace = grace
        self._busy = busy
        self._selector = selectors.DefaultSelector()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return self._selector.select(timeout)
        if self._busy():
            return self._wait(timeout)
        # The loop's own wake-up pipe is always registered; anything more is a socket that may have bytes on their way.
        grace = min(self._grace, timeout) if len(self.get_map()) > 1 else 0
        ready = self._selector.select(0) or (self._selector.select(grace) if grace else [])
        if not ready:
            self._clock.advance(timeout)
        return ready

    def _wait(self, timeout: float) -> list[tuple[selectors.SelectorKey, int]]:
        started = monotonic()
        ready = self._selector.select(timeout)
        self._clock.advance(min(monotonic() - started, timeout) if ready else timeout)
        return ready

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._selector.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._selector.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._selector.get_map()

    def close(self) -> None:
        self._selector.close()
