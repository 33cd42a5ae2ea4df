"""Which journal a setting means: one line for each kind."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import platformdirs

from everytoken.errors import ConfigurationError

if TYPE_CHECKING:
    from everytoken.journal import Journal
    from everytoken.journal.quota import Quota

__all__ = ["journal_at"]


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
    `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `rediss://…` with TLS, `unix:///PATH`. `retention` and `lease` are in
    seconds. Raises `ConfigurationError`.
    """
    parts = urlsplit(url)
    if url == "memory":
        from everytoken.journal.memory import MemoryJournal  # noqa: PLC0415  # each kind loads what it needs

        return MemoryJournal(retention=retention, max_bytes=max_bytes, quota=quota)
    if not url or parts.scheme == "sqlite":
        from everytoken.journal.sqlite import SqliteJournal  # noqa: PLC0415

        if not url:
            path = platformdirs.user_data_path("everytoken") / f"journal-{port}.sqlite"
            _clean_up(path.parent, time.time() - retention)
        elif parts.netloc or not parts.path.strip("/"):
            raise ConfigurationError(f"{url!r} names no file: write sqlite:///PATH")
        else:
            path = Path(parts.path[1:])
        return SqliteJournal(
            path, retention=retention, max_bytes=max_bytes, durability=durability, quota=quota
        )
    if parts.scheme in {"redis", "rediss", "unix"}:
        try:
            from everytoken.journal.redis import RedisJournal  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(
                "the journal in Redis needs a package: pip install 'everytoken[redis]'"
            ) from error
        return RedisJournal(url, retention=retention, lease=lease, durability=durability, quota=quota)
    raise ConfigurationError(f"{url!r} is no journal: use memory, sqlite:///PATH or redis://HOST")


def _clean_up(directory: Path, before: float) -> None:
    """Remove the files of ports that are used no more, when all in them is older than what would be kept."""
    from everytoken.journal.sqlite_file import remove_unused  # noqa: PLC0415

    for path in directory.glob("journal-*.sqlite"):
        files = [path, *directory.glob(f"{path.name}-*"), *directory.glob(f"{path.name}.*")]
        with contextlib.suppress(OSError):
            if max(file.stat().st_mtime for file in files) < before:
                remove_unused(path, files)
