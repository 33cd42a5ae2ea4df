"""What nodes that are gone have left open, and which nodes those are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from everytoken.journal.redis_connection import pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.journal.redis_entries import Keys
    from everytoken.journal.redis_link import RedisLink

__all__ = ["RedisOrphans"]

# Nodes that one look is for, chosen by chance. Each is then looked for by as many others, however many there are. If all
# looked for all, the looks would grow with the square of the nodes.
_LOOKED_FOR = 64


class RedisOrphans:
    """A node is gone when somebody who knows says so, or when it gives no sign of life."""

    def __init__(self, link: RedisLink, keys: Keys, node: str, writes: Callable[[str], bool]) -> None:
        """`node`: our own; `writes` says whether it writes a stream."""
        self._writes = writes
        self._link = link
        self._keys = keys
        self._node = node.encode()
        self._buried: set[bytes] = set()  # nodes that are known to be gone
        self.unsure: set[str] = set()  # streams that we may have taken over: the reply was lost
        self._left_by: dict[str, str] = {}  # by whom each orphan was left, as seen last
        self._quiet_until: float | None = None

    def connected(self, lease: float) -> None:
        """Take nobody for dead who gave no sign of life while the server was away, for `lease` seconds."""
        self._quiet_until = 0.0 if self._quiet_until is None else asyncio.get_running_loop().time() + lease

    async def bury(self, node: str) -> None:
        """Record that a node is known to be gone. Raises `JournalUnavailableError`."""
        self._buried.add(node.encode())
        await self._link.ask(pack("DEL", self._keys.alive(node.encode())))

    def left_by(self, stream_id: str) -> str | None:
        """Return the node that left a stream, if it was found since this was asked last."""
        return self._left_by.pop(stream_id, None)

    async def by_age(self) -> list[tuple[float, str]]:
        """Return the open streams that were left, each with when it was made. Raises `JournalUnavailableError`."""
        quiet = asyncio.get_running_loop().time() < (self._quiet_until or 0.0)
        self._left_by = {}
        if quiet and not self._buried:
            return await self._our_own()
        some = () if quiet else (await self._link.ask(pack("SRANDMEMBER", self._keys.nodes, _LOOKED_FOR)))[0]
        nodes = [node for node in {*some, *self._buried} if node != self._node]
        alive = (
            await self._link.pipeline(*(pack("EXISTS", self._keys.alive(node)) for node in nodes))
            if nodes
            else []
        )
        found: list[tuple[float, str]] = []
        left_by = self._left_by
        for node, lives in zip(nodes, alive, strict=True):
            if lives != 0 and node not in self._buried:
                continue
            (members,) = await self._link.ask(
                pack("ZRANGE", self._keys.open(node.decode()), 0, -1, "WITHSCORES")
            )
            if not members:
                self._buried.discard(node)
                await self._link.ask(pack("SREM", self._keys.nodes, node))
            left_by.update(dict.fromkeys((name.decode() for name in members[::2]), node.decode()))
            found += [(float(score), name.decode()) for name, score in zip(*[iter(members)] * 2, strict=True)]
        return found + await self._our_own()

    async def _our_own(self) -> list[tuple[float, str]]:
        """Return those that we have taken over without knowing. Nobody else looks for them, as we live."""
        found = []
        for name in list(self.unsure):
            (score,) = await self._link.ask(pack("ZSCORE", self._keys.open(self._node.decode()), name))
            if score is None or self._writes(name):
                self.unsure.discard(name)
            else:
                found.append((float(score), name))
        return found
