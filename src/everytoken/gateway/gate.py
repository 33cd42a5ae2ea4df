"""How many responses run at once, on this node and at each upstream, and who waits for a place.

A request that has no place waits for a while, before anything is stored or an upstream is asked. Places are given to keys
in turn, so that one key with a thousand requests does not keep another waiting behind all of them. The queue has an end:
behind it a request is refused at once, which costs its caller less than waiting in vain.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Final

from everytoken.errors import OverloadedError, RateLimitedError
from everytoken.gateway.follow import ReaderConnection
from everytoken.gateway.http import ClientGoneError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.gateway.http import Request

__all__ = ["Gate", "Place"]

_RETRY: Final = 1.0  # seconds; places come free one by one


class Place:
    """A place to run; `upstream` has room for it, "" if that is not limited. `leave` it, once."""

    __slots__ = ("_gate", "upstream")

    def __init__(self, gate: Gate | None, upstream: str) -> None:
        self._gate = gate
        self.upstream = upstream

    def leave(self) -> None:
        """Give the place to somebody else."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.left(self.upstream)


_ANYWHERE: Final = Place(None, "")


class _Unwatched:
    """Stands for a caller who is not watched: it only waits."""

    gone = False

    def __init__(self) -> None:
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def wait(self, deadline: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._woken.wait()

    def close(self) -> None:
        pass


class _Waiter:
    __slots__ = ("client", "names", "owner", "place", "refused")

    def __init__(self, owner: str, names: Sequence[str], client: ReaderConnection | _Unwatched) -> None:
        self.owner = owner
        self.names = names
        self.client = client
        self.place: Place | None = None
        self.refused = False


class Gate:
    """Lets so many responses run at once, and as many more wait.

    `most`: on this node, 0 for no limit; `upstreams`: likewise, by name. `queue`: how many may wait, each for `patience`
    seconds.
    """

    def __init__(self, most: int, upstreams: Mapping[str, int], queue: int, patience: float) -> None:
        self.running = 0
        self._by_upstream: dict[str, int] = {}
        self._waiting: dict[str, deque[_Waiter]] = {}  # by owner; whose turn is next comes first
        self.waiting = 0
        self.change(most, upstreams, queue, patience)

    def change(self, most: int, upstreams: Mapping[str, int], queue: int, patience: float) -> None:
        """Use other limits from now on; what runs goes on."""
        self._most, self._queue, self._patience = most, queue, patience
        self._limits = {name: limit for name, limit in upstreams.items() if limit}
        self.off = not most and not self._limits
        self._let_in()

    async def enter(self, request: Request | None, owner: str, names: Sequence[str]) -> Place:
        """Return a place for a response that one of the upstreams with these names is to serve.

        `request`: whose caller may leave while it waits; None where that cannot be watched.

        Raises `OverloadedError`, `RateLimitedError` when it cannot be had in time, `ClientGoneError`.
        """
        if self.off:
            return _ANYWHERE
        if not self.waiting and (place := self._place(names)) is not None:
            return place
        self._make_room(owner)
        waiter = _Waiter(owner, names, _Unwatched() if request is None else ReaderConnection(request))
        self._waiting.setdefault(owner, deque()).append(waiter)
        self.waiting += 1
        try:
            self._let_in()
            await self._wait(waiter)
        except BaseException:
            if waiter.place is not None:
                waiter.place.leave()
            raise
        finally:
            if waiter.place is None and not waiter.refused:
                self._remove(waiter)
            waiter.client.close()
        assert waiter.place is not None
        return waiter.place

    async def _wait(self, waiter: _Waiter) -> None:
        client = waiter.client
        deadline = asyncio.get_running_loop().time() + self._patience
        while waiter.place is None and not waiter.refused:
            if client.gone:
                raise ClientGoneError
            if asyncio.get_running_loop().time() >= deadline:
                raise OverloadedError(
                    f"no place came free within {self._patience:g} seconds: as many responses run as may",
                    retry_after=_RETRY,
                )
            await client.wait(deadline)
        if waiter.refused:
            raise RateLimitedError(
                "too many requests with this API key are waiting, and others wait too", retry_after=_RETRY
            )
        if client.gone:
            raise ClientGoneError

    def left(self, upstream: str) -> None:
        """A place has come free."""
        self.running -= 1
        if upstream:
            self._by_upstream[upstream] -= 1
        self._let_in()

    def _place(self, names: Sequence[str]) -> Place | None:
        """Return a place if there is one."""
        if self._most and self.running >= self._most:
            return None
        upstream = ""
        if self._limits:
            free = (name for name in names if self._has_room(name))
            found = next(free, None)
            if found is None and names:
                return None
            upstream = found or ""
        self.running += 1
        if upstream:
            self._by_upstream[upstream] = self._by_upstream.get(upstream, 0) + 1
        return Place(self, upstream)

    def _has_room(self, name: str) -> bool:
        limit = self._limits.get(name)
        return limit is None or self._by_upstream.get(name, 0) < limit

    def _make_room(self, owner: str) -> None:
        """Make room in the queue: whose requests fill it loses the last of them. Raises `OverloadedError`."""
        if self.waiting < self._queue:
            return
        largest = max(self._waiting, key=lambda name: len(self._waiting[name]), default=owner)
        if not self.waiting or len(self._waiting.get(owner, ())) + 1 >= len(self._waiting[largest]):
            raise OverloadedError(
                "as many responses run as may, and as many requests wait", retry_after=_RETRY
            )
        waiter = self._waiting[largest][-1]
        waiter.refused = True
        self._remove(waiter)
        waiter.client.wake()

    def _let_in(self) -> None:
        """Give the places that are free to those who wait, one key after the other."""
        passed = 0
        while self.waiting and passed < len(self._waiting):
            if self._most and self.running >= self._most:
                return
            owner = next(iter(self._waiting))
            for waiter in self._waiting[owner]:
                place = self._place(waiter.names)
                if place is not None:
                    waiter.place = place
                    self._remove(waiter)
                    waiter.client.wake()
                    passed = -1
                    break
            passed += 1
            if owner in self._waiting:
                self._waiting[owner] = self._waiting.pop(owner)  # now it is the others' turn

    def _remove(self, waiter: _Waiter) -> None:
        waiters = self._waiting[waiter.owner]
        waiters.remove(waiter)
        self.waiting -= 1
        if not waiters:
            del self._waiting[waiter.owner]
