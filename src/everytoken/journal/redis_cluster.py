"""A journal in a Redis Cluster: streams are spread over partitions, each of which is a journal in one slot.

Whatever must be one step (an append, a takeover) concerns one stream, and all keys of a partition have its hash tag, so
that they are on one server. A partition has connections of its own to the master of its slot, wherever that is.
"""

from __future__ import annotations

import asyncio
import secrets
import zlib
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from everytoken.errors import ConfigurationError, JournalUnavailableError
from everytoken.journal.redis import RedisJournal
from everytoken.journal.redis_entries import Keys
from everytoken.journal.redis_node import Part
from everytoken.journal.redis_places import ClusterMap, ClusterPart, ask_once, hosts_of, slot_of, tags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.errors import StreamNotFoundError
    from everytoken.journal import Append, Appended, Log, StreamInfo, Writer
    from everytoken.journal.commit import GroupCommit
    from everytoken.journal.redis_ledger import RedisLedger
    from everytoken.journal.redis_quota import Quotas

__all__ = ["RedisClusterJournal"]

_PARTITIONS: Final = 12  # as many for each of 1, 2, 3, 4, 6 or 12 masters
_MOST: Final = 1024


class RedisClusterJournal:
    """Streams in the cluster of which `url` names some servers: `redis-cluster://HOST[:PORT],HOST[:PORT]`.

    `?partitions=` says over how many partitions they are spread, 12 by default; it is fixed with the first use. The rest
    is as for `RedisJournal`. Raises `ConfigurationError` for a URL that is none.
    """

    durable = True

    def __init__(self, url: str, **settings: Any) -> None:
        hosts, access, path = hosts_of(url, 6379)
        if path.strip("/") not in {"", "0"} or access.path:
            raise ConfigurationError(
                "not a valid journal URL: a cluster has one database only, so none is named"
            )
        self.node: str = secrets.token_hex(8)
        self._count = _count_in(url)
        cluster = self._cluster = ClusterMap(hosts)
        self._parts = [
            RedisJournal(
                url,
                part=Part(ClusterPart(cluster, slot_of(tag.encode())), tag, self.node, looks=not number),
                **settings,
            )
            for number, tag in enumerate(tags(self._count))
        ]
        self.commits = Commits([part.commits for part in self._parts])
        quotas = _QuotasByOwner([part.quotas_of(self.gone) for part in self._parts], self.part_of)
        for part in self._parts:
            part.quotas = quotas

    def part_of(self, name: str) -> int:
        """Return the number of the partition that a name belongs to. It is a part of how streams are stored."""
        return zlib.crc32(name.encode()) % self._count

    def _of(self, stream_id: str) -> RedisJournal:
        return self._parts[self.part_of(stream_id)]

    async def start(self) -> None:
        """Connect. Raises `JournalUnavailableError`, `ConfigurationError`."""
        async with AsyncExitStack() as stack:
            first, *others = self._parts
            await first.start()
            stack.push_async_callback(first.stop)
            await self._check_count()
            for part in others:
                await part.start()
                stack.push_async_callback(part.stop)
            stack.pop_all()

    async def _check_count(self) -> None:
        """Raise `ConfigurationError` if the streams are spread over another number of partitions already."""
        made = Keys(tags(1)[0]).made
        server = await self._cluster.master_of(slot_of(made))
        await ask_once(server, "SET", made, self._count, "NX")
        stored = await ask_once(server, "GET", made)
        if int(stored) != self._count:
            raise ConfigurationError(
                f"the journal is spread over {int(stored)} partitions: add ?partitions={int(stored)} to its URL"
            )

    async def stop(self) -> None:
        """Store what is on its way, and leave one's streams to the others."""
        await asyncio.gather(*(part.stop() for part in self._parts))

    async def create(
        self, info: StreamInfo, records: Sequence[bytes] = (), *, closed: bool = False
    ) -> Writer:
        """Begin a stream; see `Journal`."""
        return await self._of(info.id).create(info, records, closed=closed)

    async def open(self, stream_id: str, *, touch: bool = True) -> Log:
        """Return a stream to read; see `Journal`."""
        return await self._of(stream_id).open(stream_id, touch=touch)

    async def submit(self, stream_id: str, append: Append) -> Appended:
        """Check an append and store it; see `Journal`."""
        return await self._of(stream_id).submit(stream_id, append)

    async def claim(self, stream_id: str) -> Writer:
        """Become the writer at the next epoch; see `Journal`."""
        return await self._of(stream_id).claim(stream_id)

    async def orphans(self) -> list[str]:
        """Return the open streams of nodes that are gone, oldest first.

        A partition that cannot be reached has none now. Raises `JournalUnavailableError` if that is so of all.
        """
        found = await asyncio.gather(*(part.orphans_by_age() for part in self._parts), return_exceptions=True)
        failures = [one for one in found if isinstance(one, BaseException)]
        for failure in failures:
            if len(failures) == len(found) or not isinstance(failure, JournalUnavailableError):
                raise failure
        return [name for _, name in sorted(one for some in found if isinstance(some, list) for one in some)]

    async def bury(self, node: str) -> None:
        """Record that a node is known to be gone. Raises `JournalUnavailableError`."""
        await asyncio.gather(*(part.bury(node) for part in self._parts))

    async def is_read_elsewhere(self, stream_id: str) -> bool:
        """Whether a stream has readers on other nodes. Raises `JournalUnavailableError`."""
        return await self._of(stream_id).is_read_elsewhere(stream_id)

    async def delete(self, stream_id: str) -> None:
        """Forget a stream. Raises `StreamNotFoundError`, `JournalUnavailableError`."""
        await self._of(stream_id).delete(stream_id)

    async def probe(self) -> None:
        """Have something stored in every partition. Raises `JournalUnavailableError`."""
        await asyncio.gather(*(part.probe() for part in self._parts))

    def missing(self, stream_id: str) -> StreamNotFoundError:
        """Return what is to be said of a stream that is not there."""
        return self._of(stream_id).missing(stream_id)

    def ledger(self) -> RedisLedger:
        """Return counters that all nodes share: all in one partition, for one reservation concerns many of them."""
        return self._parts[0].ledger()

    async def settings(self) -> dict[str, str]:
        """Return what one of the servers is set to, as far as it tells. Raises `JournalUnavailableError`."""
        return await self._parts[0].settings()

    async def gone(self, names: list[str]) -> list[str]:
        """Return which of some streams are there no more. Raises `JournalUnavailableError`."""
        by_part: dict[int, list[str]] = {}
        for name in names:
            by_part.setdefault(self.part_of(name), []).append(name)
        found = await asyncio.gather(*(self._parts[part].gone(some) for part, some in by_part.items()))
        return [name for some in found for name in some]


class Commits:
    """The group commits of all partitions, as the watchdog and observers see them."""

    def __init__(self, commits: Sequence[GroupCommit]) -> None:
        self._commits = commits

    @property
    def busy(self) -> bool:
        """Whether a commit is under way."""
        return any(commit.busy for commit in self._commits)

    @property
    def number(self) -> tuple[int, ...]:
        """How many commits there have been, of each."""
        return tuple(commit.number for commit in self._commits)

    @property
    def failing(self) -> bool:
        """Whether those who wait are turned away in any."""
        return any(commit.failing for commit in self._commits)

    def observe(self, told: Callable[[int, int, float], None]) -> None:
        """Have `told` called after each commit; see `GroupCommit`."""
        for commit in self._commits:
            commit.observe(told)

    def count(self, counted: Callable[[Sequence[float], int], None]) -> None:
        """Have `counted` called with some commits of one partition; see `GroupCommit`."""
        for commit in self._commits:
            commit.count(counted)

    def fold(self) -> None:
        """Have counted what has not been yet."""
        for commit in self._commits:
            commit.fold()


class _QuotasByOwner:
    """What the streams of an owner take is counted in the owner's partition, wherever they are."""

    def __init__(self, parts: Sequence[Quotas], part_of: Callable[[str], int]) -> None:
        self._parts = parts
        self._part_of = part_of

    def _of(self, owner: str) -> Quotas:
        return self._parts[self._part_of(owner)]

    async def check(self, info: StreamInfo, added: int, *, new: bool) -> None:
        await self._of(info.owner).check(info, added, new=new)

    async def charge(self, info: StreamInfo, added: int) -> None:
        await self._of(info.owner).charge(info, added)

    async def release(self, owner: str, *stream_ids: str) -> None:
        await self._of(owner).release(owner, *stream_ids)


def _count_in(url: str) -> int:
    text = dict(parse_qsl(urlsplit(url).query)).get("partitions", str(_PARTITIONS))
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST):
        raise ConfigurationError(
            f"not a valid journal URL: partitions is a number from 1 to {_MOST}, not {text[:20]!r}"
        )
    return int(text)
