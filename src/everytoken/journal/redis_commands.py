"""The commands that change a stream as a whole, packed: they carry out `redis_scripts`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from everytoken.journal.redis_connection import pack
from everytoken.journal.redis_entries import encode
from everytoken.journal.redis_scripts import CHANGE, CREATE, DELETE, READ, SEAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.journal import Producer, StreamInfo
    from everytoken.journal.redis_entries import Keys, Position, State

__all__ = ["LONGEST", "Commands", "life_of"]

LONGEST = 2**53  # milliseconds; Redis adds the time of day to it, in 64 bits
_TOMBSTONE = 600_000  # milliseconds that a deleted stream's writer can know of it


def life_of(info: StreamInfo, retention: int | None) -> str:
    """Return for how many milliseconds a stream is kept if it is not used; "" for no limit. `retention`: of an ended one."""
    lives = [] if retention is None else [retention]
    if info.ttl is not None:
        lives = [info.ttl * 1000]
    if info.expires is not None:
        lives.append(int((info.expires - time.time()) * 1000))
    return str(max(1, min(*lives, LONGEST))) if lives else ""


class Commands:
    """Commands on the streams that have these keys."""

    __slots__ = ("keys",)

    def __init__(self, keys: Keys) -> None:
        self.keys = keys

    def create(self, state: State, position: Position, life: str, fields: Sequence[bytes]) -> bytes:
        """Make a stream that has its first entry and is then at `position`. Replies `OK` or `EXISTS`."""
        info, of = state.info, self.keys
        keys = (of.stream(info.id), of.info(info.id), of.open(state.node), of.producers(info.id))
        score = str(info.created) if state.node and not position.closed else ""
        arguments = (position.entry_id, encode(state), life, info.id, score)
        return pack("EVAL", CREATE, 4, *keys, *arguments, *fields)

    def change(
        self,
        state: State,
        before: Position,
        after: Position,
        life: str,
        fields: Sequence[bytes],
        *,
        left: str | None = None,
        producer: Producer | None = None,
    ) -> bytes:
        """Add an entry to a stream that is at `before`, and store its state. Replies `OK`, `GONE` or `OTHER`.

        `left`: the node that has written it, if that is another one than now. `producer`: whose append it is.
        """
        info, of = state.info, self.keys
        joined = of.open(state.node)
        leaves = joined if left is None else of.open(left)
        keys = (of.stream(info.id), of.info(info.id), leaves, joined, of.producers(info.id))
        score = str(info.created) if state.node and not after.closed else ""
        mark = ("", "") if producer is None else (producer.id, encode((producer.epoch, producer.seq)))
        arguments = (before.entry_id, after.entry_id, encode(state), life, info.id, score, *mark)
        return pack("EVAL", CHANGE, 5, *keys, *arguments, *fields)

    def seal(self, stream_id: str, position: Position, fields: Sequence[bytes]) -> bytes:
        """Put one entry in the place of all."""
        return pack("EVAL", SEAL, 1, self.keys.stream(stream_id), position.entry_id, *fields)

    def delete(self, stream_id: str, node: str) -> bytes:
        """Forget a stream that `node` writes, if it is open. Replies `OK` or `GONE`."""
        of = self.keys
        keys = (of.stream(stream_id), of.info(stream_id), of.open(node), of.producers(stream_id))
        return pack("EVAL", DELETE, 4, *keys, stream_id, _TOMBSTONE)

    def read(self, stream_id: str, start: bytes, size: int) -> bytes:
        """Read entries from id `start` on, until they have `size` bytes: at least one, if there is one."""
        return pack("EVAL", READ, 1, self.keys.stream(stream_id), start, size)

    def last_entry(self, stream_id: str) -> bytes:
        """Read the last entry of a stream."""
        return pack("XREVRANGE", self.keys.stream(stream_id), "+", "-", "COUNT", 1)
