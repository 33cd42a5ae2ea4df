"""What the streams of each key take in Redis, counted there: all nodes share it.

A hash has the bytes of every stream of an owner (`everytoken:u:OWNER`), another one their sum and number
(`everytoken:t:OWNER`). Streams that Redis has removed by itself are noticed when the quota seems to be used up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from everytoken.journal.quota import OWN, Quota, Used
from everytoken.journal.redis_connection import pack
from everytoken.journal.redis_scripts import CHARGE, RELEASE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from everytoken.journal import StreamInfo
    from everytoken.journal.redis_entries import Keys
    from everytoken.journal.redis_link import RedisLink

__all__ = ["Quotas", "RedisQuota"]

_AT_ONCE = 500  # streams looked for in one pipeline


class Quotas(Protocol):
    """Checks and counts the streams of callers."""

    async def check(self, info: StreamInfo, added: int, *, new: bool) -> None:
        """Raise `StreamFullError` or `QuotaExceededError` if `added` bytes are too much."""

    async def charge(self, info: StreamInfo, added: int) -> None:
        """Count what has been added."""

    async def release(self, owner: str, *stream_ids: str) -> None:
        """Count streams no more: they are gone."""


class RedisQuota:
    """Checks and counts the streams of callers."""

    def __init__(
        self,
        link: RedisLink,
        keys: Keys,
        quota: Quota,
        gone: Callable[[list[str]], Awaitable[list[str]]],
    ) -> None:
        """`gone` returns which of some streams are there no more."""
        self._link = link
        self._keys = keys
        self._quota = quota
        self._gone = gone

    async def check(self, info: StreamInfo, added: int, *, new: bool) -> None:
        """Raise `StreamFullError` or `QuotaExceededError` if `added` bytes are too much."""
        if info.owner == OWN:
            return
        there, used = await self._used(info)
        if self._may_be_over(info, used, added, new=new):
            await self._forget_the_gone(info.owner)
            there, used = await self._used(info)
        self._quota.check(info, None if new else there, added, used)

    def _may_be_over(self, info: StreamInfo, used: Used, added: int, *, new: bool) -> bool:
        """Whether to look for streams that have expired: also now and then where they may be as many as they like."""
        quota = self._quota
        many = used.streams >= quota.key_streams
        if info.owner.startswith(OWN):
            many = many and used.streams % quota.key_streams == 0
        return used.bytes + added > quota.key_bytes or (new and many)

    async def _used(self, info: StreamInfo) -> tuple[int, Used]:
        each, total = self._keys.used(info.owner)
        there, sums = await self._link.ask(
            pack("HGET", each, info.id), pack("HMGET", total, "bytes", "streams")
        )
        return int(there or 0), Used(*(int(number or 0) for number in sums))

    async def charge(self, info: StreamInfo, added: int) -> None:
        """Count what has been added."""
        if info.owner == OWN:
            return
        await self._link.ask(pack("EVAL", CHARGE, 2, *self._keys.used(info.owner), info.id, added))

    async def release(self, owner: str, *stream_ids: str) -> None:
        """Count streams no more: they are gone."""
        await self._link.ask(pack("EVAL", RELEASE, 2, *self._keys.used(owner), *stream_ids))

    async def _forget_the_gone(self, owner: str) -> None:
        (names,) = await self._link.ask(pack("HKEYS", self._keys.used(owner)[0]))
        for at in range(0, len(names), _AT_ONCE):
            some = [name.decode() for name in names[at : at + _AT_ONCE]]
            gone = await self._gone(some)
            if gone:
                await self.release(owner, *gone)
