"""How long to wait for the network. The current watch is a context variable, so it belongs to one thread or task."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WATCH", "Watch"]


class Watch:
    """The current deadline of a request. `sent` is called once, when the first bytes go out, and returns the next one."""

    __slots__ = ("_clock", "_sent", "deadline")

    def __init__(self, clock: Callable[[], float], deadline: float, sent: Callable[[], float]) -> None:
        self._clock = clock
        self._sent: Callable[[], float] | None = sent
        self.deadline = deadline

    def left(self) -> float:
        """Return the seconds until the deadline. Never 0, with which a socket would not wait at all."""
        return max(self.deadline - self._clock(), 0.001)

    def on_write(self) -> float:
        """Note that bytes go out; return the seconds until the deadline."""
        if self._sent is not None:
            sent, self._sent = self._sent, None
            self.deadline = sent()
        return self.left()


WATCH: ContextVar[Watch | None] = ContextVar("everytoken_watch", default=None)
