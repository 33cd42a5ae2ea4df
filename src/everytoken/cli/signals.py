"""Ctrl-C and SIGTERM: the running coroutine is cancelled and may clean up."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import FrameType, TracebackType

__all__ = ["Signals", "StoppedError"]

_T = TypeVar("_T")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedError(Exception):
    """The signal `number` has ended a run."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """While entered, a signal cancels the coroutine in `run`; a second signal does not wait for its clean-up.

    Outside `run` a signal raises: `KeyboardInterrupt` for SIGINT, `StoppedError` for SIGTERM. Use it in the main
    thread.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._task: asyncio.Task[Any] | None = None
        self._number: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.close()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def stopped(self) -> bool:
        """Whether a signal has arrived during this run."""
        return self._number is not None

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine, always in the same event loop. Raises `StoppedError` when a signal has ended it."""
        self._number = None
        try:
            return self._runner.run(self._hold(coroutine))
        except asyncio.CancelledError:
            if self._number is None:
                raise
            raise StoppedError(self._number) from None

    async def _hold(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        self._task = asyncio.current_task()
        try:
            return await coroutine
        finally:
            self._task = None

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._task is not None and self._number is None:
            self._number = number
            # Not `cancel` alone: the loop may be waiting for its sockets and has to be woken.
            self._runner.get_loop().call_soon_threadsafe(self._task.cancel)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise StoppedError(number)
