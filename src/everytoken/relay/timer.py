"""One timer for a deadline that moves all the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["DeadlineTimer"]


class DeadlineTimer:
    """Calls `fired` with the time once a deadline has passed. If the deadline moves away, the timer stays and checks again."""

    __slots__ = ("_due", "_fired", "_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, fired: Callable[[float], None]) -> None:
        self._loop = loop
        self._fired = fired
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # uvloop's handle of a timer that is due at once cannot tell its time

    def arm(self, deadline: float) -> None:
        """Wait for `deadline` (the loop's time, infinity for none)."""
        if deadline == float("inf"):
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return
        if self._timer is not None:
            if self._due <= deadline:
                return
            self._timer.cancel()
        self._due = deadline
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def stop(self) -> None:
        """Wait for nothing any more, and let go of what would be called."""
        self.arm(float("inf"))
        self._fired = _nothing

    def _on_timer(self) -> None:
        self._timer = None
        # The loop may fire a timer a tick of its clock early.
        self._fired(max(self._due, self._loop.time()))


def _nothing(_: float) -> None:
    """Stand for a call that is not wanted any more."""
