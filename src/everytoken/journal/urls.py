"""Which journal a URL means: one line for each scheme."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
import platformdirs

from everytoken.errors import ConfigurationError
from everytoken.journal.quota import Quota
from everytoken.plugins import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.journal import Journal

__all__ = ["JournalSettings", "check_url", "journal_at", "register_journal"]


class JournalSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal is told besides its URL.

    `retention`: seconds an ended stream is kept; `max_bytes` that all may take; `durability`: `process` or `power`;
    `lease`: seconds without a sign of life after which a node has lost its streams; `port`: the server's.
    """

    port: int
    retention: float
    max_bytes: int
    durability: str
    lease: float
    quota: Quota = Quota()


def _memory(url: str, settings: JournalSettings) -> Journal:
    from everytoken.journal.memory import MemoryJournal  # noqa: PLC0415  # each kind loads what it needs

    if url != "memory":
        raise _unknown(url)
    return MemoryJournal(retention=settings.retention, max_bytes=settings.max_bytes, quota=settings.quota)


def _sqlite(url: str, settings: JournalSettings) -> Journal:
    from everytoken.journal.sqlite import SqliteJournal  # noqa: PLC0415

    if not url:
        path = platformdirs.user_data_path("everytoken") / f"journal-{settings.port}.sqlite"
        _clean_up(path.parent, time.time() - settings.retention)
    else:
        path = _path_in(url)
    if settings.durability == "replicated":
        raise ConfigurationError(
            "durability is 'replicated', which needs a journal in Redis or PostgreSQL: use process or power"
        )
    return SqliteJournal(
        path,
        retention=settings.retention,
        max_bytes=settings.max_bytes,
        durability=settings.durability,
        quota=settings.quota,
    )


def _redis(url: str, settings: JournalSettings) -> Journal:
    try:
        from everytoken.journal.redis import RedisJournal  # noqa: PLC0415
        from everytoken.journal.redis_cluster import RedisClusterJournal  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "the journal in Redis needs a package: pip install 'everytoken[redis]'"
        ) from error
    make = (
        RedisClusterJournal if url.lower().startswith(("redis-cluster:", "rediss-cluster:")) else RedisJournal
    )
    return make(
        url,
        retention=settings.retention,
        lease=settings.lease,
        durability=settings.durability,
        quota=settings.quota,
    )


def _postgres(url: str, settings: JournalSettings) -> Journal:
    try:
        from everytoken.journal.postgres import PostgresJournal  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "the journal in PostgreSQL needs a package: pip install 'everytoken[postgres]'"
        ) from error
    return PostgresJournal(
        url,
        retention=settings.retention,
        lease=settings.lease,
        durability=settings.durability,
        quota=settings.quota,
    )


_SCHEMES: dict[str, Callable[[str, JournalSettings], Journal]] = {
    "": _sqlite,
    "memory": _memory,
    "sqlite": _sqlite,
    "redis": _redis,
    "rediss": _redis,
    "unix": _redis,
    "redis-sentinel": _redis,
    "rediss-sentinel": _redis,
    "redis-cluster": _redis,
    "rediss-cluster": _redis,
    "postgresql": _postgres,
    "postgres": _postgres,
}


def _unknown(url: str) -> ConfigurationError:
    return ConfigurationError(
        f"{url!r} is no journal: use memory, sqlite:///PATH, redis://HOST or postgresql://HOST"
    )


def register_journal(scheme: str, factory: Callable[[str, JournalSettings], Journal]) -> None:
    """Have `factory` make the journals whose URLs begin with `scheme` and a colon; it may raise `ConfigurationError`."""
    _SCHEMES[scheme] = factory


def journal_at(
    url: str,
    *,
    port: int,
    retention: float,
    max_bytes: int,
    durability: str,
    lease: float,
    quota: Quota | None = None,
) -> Journal:
    """Return the journal that `url` means; "" is a SQLite file in the user's data directory, one for each `port`.

    So two servers do not get in each other's way, and one that is started again finds what it has written.

    `memory`, `sqlite:///PATH` (three slashes: relative to where the process runs; four: absolute),
    `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `rediss://…` with TLS, `unix:///PATH`,
    `redis-sentinel://HOST,HOST/MASTER`, `redis-cluster://HOST,HOST`, `postgresql://HOST/DB`; any other scheme is looked for
    among the entry points `everytoken.journals`. `retention` and `lease` are in seconds. Raises `ConfigurationError`.
    """
    factory = _factory_of(url)
    if factory is None:
        raise _unknown(url)
    settings = JournalSettings(
        port=port,
        retention=retention,
        max_bytes=max_bytes,
        durability=durability,
        lease=lease,
        quota=quota or Quota(),
    )
    return factory(url, settings)


def check_url(url: str) -> None:
    """Raise `ConfigurationError` for a URL that is no journal's; nothing is made or opened."""
    factory = _factory_of(url)
    if factory is None or (factory is _memory and url != "memory"):
        raise _unknown(url)
    if factory is _sqlite and url:
        _path_in(url)
    if factory in (_redis, _postgres):  # which connect when they are started
        factory(url, JournalSettings(port=0, retention=1.0, max_bytes=1, durability="process", lease=1.0))


def _path_in(url: str) -> Path:
    parts = urlsplit(url)
    if not url.partition(":")[2].startswith("///") or not parts.path.strip("/"):
        # `sqlite:/var/j` would otherwise be read as a relative path, and `sqlite:name` without its first letter.
        raise ConfigurationError(f"{url!r} names no file: write sqlite:///PATH")
    return Path(parts.path[1:])


def _factory_of(url: str) -> Callable[[str, JournalSettings], Journal] | None:
    if url in {"", "memory"}:
        return _SCHEMES[url]
    scheme, colon, _ = url.lower().partition(":")
    if not (scheme and colon):
        return None
    return _SCHEMES.get(scheme) or load("everytoken.journals", scheme)


def _clean_up(directory: Path, before: float) -> None:
    """Remove the files of ports that are used no more, when all in them is older than what would be kept."""
    from everytoken.journal.sqlite_file import remove_unused  # noqa: PLC0415

    for path in directory.glob("journal-*.sqlite"):
        files = [path, *directory.glob(f"{path.name}-*"), *directory.glob(f"{path.name}.*")]
        with contextlib.suppress(OSError):
            if max(file.stat().st_mtime for file in files) < before:
                remove_unused(path, files)
