"""Where the Redis to write to is now: a fixed address, the master that Sentinels name, or the master of a slot of a cluster.

It is looked up anew for each connection, so a connection that is lost, or learns that its server is a master no more, is
made again to whichever has become one.
"""

from __future__ import annotations

import asyncio
import binascii
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from everytoken.errors import ConfigurationError, EverytokenError, JournalUnavailableError
from everytoken.journal.redis_connection import Address, RedisConnection, ReplyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["SLOTS", "ClusterMap", "ClusterPart", "Place", "Sentinels", "hosts_of", "place_at"]
__all__ += ["ask_once", "slot_of", "tags"]

SLOTS: Final = 16_384
"""Slots of a Redis Cluster."""

_PATIENCE: Final = 1.0  # seconds for one server to say where masters are
_FRESH: Final = 0.1  # seconds for which many connections that are lost at once ask only once


class Place(Protocol):
    """Where a server is. `moves`: it may be another one next time."""

    @property
    def moves(self) -> bool:
        """Whether a server can stop to be the one."""

    async def find(self) -> Address:
        """Return where it is now. Raises `JournalUnavailableError`, `ConfigurationError`."""


def place_at(url: str) -> Place:
    """Return the place that a URL means. Raises `ConfigurationError`.

    `redis-sentinel://HOST[:PORT],HOST[:PORT]/MASTER[/DB]` names Sentinels; user and password are those of the Redis servers,
    `?sentinel_user=` and `?sentinel_password=` those of the Sentinels. Everything else is one server.
    """
    if not url.lower().startswith(("redis-sentinel:", "rediss-sentinel:")):
        return Address.parse(url)
    hosts, given, path = hosts_of(url, 26_379)
    query = dict(parse_qsl(urlsplit(url).query))
    name, _, database = path.strip("/").partition("/")
    if not name:
        raise ConfigurationError("not a valid journal URL: write redis-sentinel://HOST:PORT,HOST:PORT/MASTER")
    try:
        master = msgspec.structs.replace(given, database=int(database or 0))
    except ValueError as error:
        raise ConfigurationError(
            f"not a valid journal URL: the database is a number, not {database!r}"
        ) from error
    asked = [
        msgspec.structs.replace(
            one, user=query.get("sentinel_user"), password=query.get("sentinel_password"), database=0
        )
        for one in hosts
    ]
    return Sentinels(asked, name, master)


def hosts_of(url: str, port: int) -> tuple[list[Address], Address, str]:
    """Return the servers that a URL with several of them names, how to get in, and its path. Raises `ConfigurationError`."""
    scheme, _, rest = url.partition("://")
    authority, slash, tail = rest.partition("/")
    authority, mark, query = authority.partition("?")
    access, at, hosts = authority.rpartition("@")
    secure = scheme.lower().startswith("rediss")
    base = f"{'rediss' if secure else 'redis'}://{access}{at}"
    query = query if mark else tail.partition("?")[2]
    found = [
        Address.parse(f"{base}{host if ':' in host.rpartition(']')[2] else f'{host}:{port}'}/?{query}")
        for host in hosts.split(",")
        if host
    ]
    if not found:
        raise ConfigurationError(f"not a valid journal URL: {scheme}:// names no host")
    return found, found[0], unquote(tail.partition("?")[0]) if slash else ""


class Sentinels:
    """The master called `name`, as the first Sentinel says that answers; `master`: how to get in there."""

    moves = True

    def __init__(self, sentinels: Sequence[Address], name: str, master: Address) -> None:
        self._sentinels = list(sentinels)
        self._name = name
        self._master = master

    async def find(self) -> Address:
        """Ask the Sentinels one after the other, the one that answered last time first."""
        problem = "no Sentinel answers"
        for sentinel in list(self._sentinels):
            try:
                told = await ask_once(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
            except JournalUnavailableError as error:
                problem = error.message
                continue
            if told is None:
                problem = f"the Sentinel at {sentinel} knows no master called {self._name!r}"
                continue
            self._sentinels.remove(sentinel)
            self._sentinels.insert(0, sentinel)
            host, port = told
            return msgspec.structs.replace(self._master, host=host.decode(), port=int(port))
        raise JournalUnavailableError(f"where Redis is cannot be found out: {problem}")

    def __str__(self) -> str:
        return f"{self._name} (by {len(self._sentinels)} Sentinels)"


class ClusterMap:
    """Which master has which slots of a cluster, as any of its servers tells; `seeds`: those that are known."""

    def __init__(self, seeds: Sequence[Address], clock: Callable[[], float] | None = None) -> None:
        self._seeds = list(seeds)
        self._access = self._seeds[0]
        self._clock = clock
        self._masters: list[tuple[int, int, Address]] = []
        self._at = -1.0
        self._lock = asyncio.Lock()

    def __str__(self) -> str:
        return f"the cluster at {self._seeds[0]}"

    async def master_of(self, slot: int) -> Address:
        """Return the master that has a slot now. Raises `JournalUnavailableError`, `ConfigurationError`."""
        now = self._clock or asyncio.get_running_loop().time
        async with self._lock:
            if not self._masters or now() - self._at >= _FRESH:
                self._masters = await self._look()
                self._at = now()
        for first, last, address in self._masters:
            if first <= slot <= last:
                return address
        raise JournalUnavailableError(f"{self} has no master for slot {slot}")

    async def _look(self) -> list[tuple[int, int, Address]]:
        known = dict.fromkeys([*(address for _, _, address in self._masters), *self._seeds])
        problem = ""
        for server in known:
            try:
                ranges = await ask_once(server, "CLUSTER", "SLOTS")
            except JournalUnavailableError as error:
                if "cluster support disabled" in error.message:
                    raise ConfigurationError(f"Redis at {server} is no cluster: write redis://") from error
                problem = error.message
                continue
            if ranges:
                return [(first, last, self._address(master, server)) for first, last, master, *_ in ranges]
            problem = f"Redis at {server} knows no slots"
        raise JournalUnavailableError(f"{self} cannot be reached: {problem}")

    def _address(self, told: list[Any], asked: Address) -> Address:
        # Without a host of its own it is the one that was asked.
        host = (told[0] or b"").decode()
        return msgspec.structs.replace(
            self._access, host=asked.host if host in {"", "?"} else host, port=int(told[1])
        )


class ClusterPart:
    """The master of one slot."""

    moves = True

    def __init__(self, cluster: ClusterMap, slot: int) -> None:
        self._cluster = cluster
        self._slot = slot

    async def find(self) -> Address:
        """Ask the cluster."""
        return await self._cluster.master_of(self._slot)

    def __str__(self) -> str:
        return f"slot {self._slot} of {self._cluster}"


async def ask_once(server: Address, *command: str | bytes | int) -> Any:
    """Return a server's answer, over a connection of its own. Raises `JournalUnavailableError`, also for one that refuses: another may answer."""
    try:
        async with asyncio.timeout(_PATIENCE):
            connection = await RedisConnection.connect(server, _PATIENCE)
            try:
                return await connection.call(*command)
            finally:
                connection.close()
                await connection.lost.wait()
    except TimeoutError as error:
        raise JournalUnavailableError(f"Redis at {server} does not answer in time") from error
    except ReplyError as error:
        raise JournalUnavailableError(f"Redis at {server}: {error}") from error
    except EverytokenError as error:
        raise JournalUnavailableError(error.message) from error


def slot_of(key: bytes) -> int:
    """Return the slot of a key (Redis Cluster specification, "Key distribution model"): of its hash tag, if it has one."""
    first = key.find(b"{")
    if first >= 0:
        last = key.find(b"}", first + 1)
        if last > first + 1:
            key = key[first + 1 : last]
    return binascii.crc_hqx(key, 0) % SLOTS


def tags(count: int) -> list[str]:
    """Return a hash tag for each of `count` partitions, whose slots are spread evenly: one in each part of equal size.

    So masters that have ranges of slots of about the same size have about the same number of partitions.
    """
    found: dict[int, str] = {}
    number = 0
    while len(found) < count:
        tag = f"{{{number}}}"
        found.setdefault(slot_of(tag.encode()) * count // SLOTS, tag)
        number += 1
    return [found[part] for part in range(count)]
