"""What a connection has of the standard library's, in a tenth of the memory: there may be thousands of connections.

A `deque` takes 600 bytes, also empty, and an `asyncio.Event` has one.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

__all__ = ["Flag", "Queue"]

T = TypeVar("T")


class Flag:
    """An `asyncio.Event`."""

    __slots__ = ("_is_set", "_waiters")

    def __init__(self, *, is_set: bool = False) -> None:
        self._is_set = is_set
        self._waiters: list[asyncio.Future[None]] | None = None

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake who waits."""
        self._is_set = True
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def clear(self) -> None:
        """Reset it."""
        self._is_set = False

    async def wait(self) -> bool:
        """Wait until it is set. Who waits returns even if it is reset before its turn has come, as with the `Event`."""
        if self._is_set:
            return True
        waiter = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)
        return True


class Queue(list[T]):
    """As much of a `deque` as uvicorn needs for its pipeline, which is nearly always empty."""

    __slots__ = ()

    def appendleft(self, item: T) -> None:
        """Put something in front."""
        self.insert(0, item)
