"""Until when the network is waited for. In force is the watch of the context, so it belongs to one thread or task."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WATCH", "Watch"]


class Watch:
    """The deadline of what a request waits for. `sent` is called once, when its first bytes go out; it returns the next."""

    __slots__ = ("_clock", "_sent", "deadline")

    def __init__(self, clock: Callable[[], float], deadline: float, sent: Callable[[], float]) -> None:
        self._clock = clock
        self._sent: Callable[[], float] | None = sent
        self.deadline = deadline

    def left(self) -> float:
        """Return the seconds until the deadline. Never 0: for a socket that would mean not to wait at all."""
        return max(self.deadline - self._clock(), 0.001)

    def on_write(self) -> float:
        """Take note of bytes that go out; return the seconds until the deadline."""
        if self._sent is not None:
            sent, self._sent = self._sent, None
            self.deadline = sent()
        return self.left()


WATCH: ContextVar[Watch | None] = ContextVar("everytoken_watch", default=None)
