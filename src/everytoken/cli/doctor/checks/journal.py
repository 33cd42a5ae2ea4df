"""Settings of the journal's store that lose data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.cli.doctor.advice import setting
from everytoken.cli.doctor.findings import Change, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from everytoken.cli.doctor.measured import Measured

__all__ = ["journal"]


def journal(measured: Measured) -> Iterator[Finding]:
    """Say what is lost when a process or a machine dies."""
    if measured.health is None:
        return
    told: dict[str, Any] = measured.health.get("journal") or {}
    if told.get("problem"):
        yield Finding(
            "journal-silent",
            "error",
            f"The journal has a problem: {told['problem']}.",
            "Responses cannot be stored, so new ones are refused.",
            setting('journal = "…"  # and see to its server or disk'),
        )
    elif told.get("kind") == "memory":
        yield Finding(
            "journal-in-memory",
            "note",
            "The journal is in the gateway's memory.",
            "Responses end when the process does, and cannot be resumed after a restart.",
            setting('journal = "sqlite:////var/lib/everytoken/journal.sqlite"'),
        )
    elif str(told.get("kind")).startswith("redis"):
        yield from _redis(told.get("settings") or {}, told.get("durability", "process"))
    elif told.get("kind") == "postgres" and (told.get("settings") or {}).get("fsync") == "off":
        yield Finding(
            "postgres-forgets",
            "warning",
            "PostgreSQL does not wait for its disk (fsync off).",
            "A crash of its machine can damage the database, and all responses and keys with it.",
            (Change("postgresql.conf", "fsync = on"),),
        )


def _redis(settings: Mapping[str, str], durability: str) -> Iterator[Finding]:
    if "appendonly" not in settings:
        yield Finding(
            "redis-settings-unknown",
            "note",
            "Redis does not tell its settings.",
            "Whether it keeps what it is given cannot be said; managed services have a page for it.",
            (Change("Redis (ACL)", "ACL SETUSER everytoken +config|get"),),
        )
        return
    from everytoken.journal.redis_settings import (  # noqa: PLC0415  # its library is optional
        how_durable,
        is_power_safe,
        what_is_dropped,
    )

    how = how_durable(settings).lstrip(":, ")
    if settings["appendonly"] != "yes":
        yield Finding(
            "redis-forgets",
            "warning",
            "Redis does not write what it is given to a file at once (appendonly no).",
            "When it restarts, ended responses and keys made since its last save are lost.",
            (Change("redis.conf", "appendonly yes"), Change("redis.conf", "appendfsync everysec")),
            how,
        )
    elif durability == "power" and not is_power_safe(settings):
        yield Finding(
            "redis-not-power-safe",
            "warning",
            f"The gateway is to survive a loss of power, and Redis syncs its file {settings.get('appendfsync', 'now and then')}.",
            "A loss of power loses up to a second of every response.",
            (Change("redis.conf", "appendfsync always"),),
            how,
        )
    if dropped := what_is_dropped(settings):
        yield Finding(
            "redis-evicts",
            "error" if dropped.startswith("open") else "warning",
            f"Redis drops {dropped} responses when its memory is full (maxmemory-policy {settings['maxmemory-policy']}).",
            "Responses and keys vanish without an error.",
            (Change("redis.conf", "maxmemory-policy noeviction"),),
            f"maxmemory {settings.get('maxmemory', '')}",
        )
