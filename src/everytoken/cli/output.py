"""Writing to a file descriptor: nothing buffered, and nobody kept waiting who wants to stop."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Output"]

_LOOK = 0.1  # seconds between two looks at whether to stop, while the other side does not read


class Output:
    """Writes bytes at once. `stopped` tells whether a signal has come, which ends a write that waits, and all after it.

    `failure` is the error that made writing impossible (the other side of the pipe has gone, the disk is full);
    from then on nothing is written. It is kept rather than raised, because some writes are made by timers.
    """

    def __init__(self, descriptor: int, stopped: Callable[[], bool]) -> None:
        self.descriptor = descriptor
        self.failure: OSError | None = None
        self._stopped = stopped
        self._given_up = False

    def write(self, data: bytes) -> None:
        """Write all of `data`."""
        rest = memoryview(data)
        try:
            while rest and self.failure is None and not self._given_up:
                # A pipe that is ready takes this much without blocking, so a signal is never waited out in `write`.
                if select.select([], [self.descriptor], [], _LOOK)[1]:
                    rest = rest[os.write(self.descriptor, rest[: select.PIPE_BUF]) :]
                else:
                    self._given_up = self._stopped()
        except OSError as error:
            self.failure = error
