"""How many readers a response has, and how long it continues without one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from everytoken.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Readers"]


class Readers:
    """Counts readers. Without any for `grace` seconds (None: for ever) `abandon` is called, unless it is read elsewhere."""

    def __init__(
        self,
        stream_id: str,
        *,
        grace: float | None,
        is_read_elsewhere: Callable[[str], Awaitable[bool]],
        abandon: Callable[[], None],
    ) -> None:
        self._stream_id = stream_id
        self.grace = grace
        self.count = 0
        self._is_read_elsewhere = is_read_elsewhere
        self._abandon = abandon
        self._timer: asyncio.TimerHandle | None = None
        self._asking: asyncio.Task[None] | None = None
        self._over = False

    def came(self) -> None:
        """Count a reader in."""
        self.count += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def went(self) -> None:
        """Count a reader out."""
        self.count -= 1
        self.wait()

    def wait(self) -> None:
        """Wait for a reader if there is none."""
        if self.count == 0 and self.grace is not None and not self._over:
            if self.grace == 0:
                self._abandon()
            else:
                self._wait_on(self.grace)

    def end(self) -> None:
        """Wait no more."""
        self._over = True
        self._abandon = _nothing
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait_on(self, grace: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(grace, self._grace_is_over)

    def _grace_is_over(self) -> None:
        self._timer = None
        self._asking = asyncio.get_running_loop().create_task(self._abandon_if_unread())

    async def _abandon_if_unread(self) -> None:
        try:
            elsewhere = await self._is_read_elsewhere(self._stream_id)
        except JournalError:
            elsewhere = True  # nobody knows, so it goes on
        if self.count == 0 and self.grace is not None and not self._over:
            if elsewhere:
                self._wait_on(self.grace)
            else:
                self._abandon()


def _nothing() -> None:
    """Stand for what is not to be called any more."""
