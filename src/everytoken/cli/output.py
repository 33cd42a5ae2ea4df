"""Unbuffered writing to a file descriptor, which a signal can stop at any time."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Output"]

_LOOK = 0.1  # seconds between two checks for a signal while the other side does not read


class Output:
    """Writes bytes at once. When `stopped` reports a signal, a waiting write is given up, and so are all that follow.

    `failure` is the error that made writing impossible (the pipe is closed, the disk is full); from then on
    nothing is written. It is stored rather than raised, because timers write too.
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
                # A pipe that is ready takes this much without blocking, so `write` never delays a signal.
                if select.select([], [self.descriptor], [], _LOOK)[1]:
                    rest = rest[os.write(self.descriptor, rest[: select.PIPE_BUF]) :]
                else:
                    self._given_up = self._stopped()
        except OSError as error:
            self.failure = error
