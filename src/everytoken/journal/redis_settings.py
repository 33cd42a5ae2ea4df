"""What a Redis server is set to, as far as it tells (`CONFIG GET`), and what that means for a journal in it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from everytoken.errors import ConfigurationError
from everytoken.journal.redis_connection import ReplyError, pack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everytoken.journal.redis_link import RedisLink
    from everytoken.journal.redis_places import Place

__all__ = ["how_durable", "is_power_safe", "look_at_server", "settings_of", "what_is_dropped"]

logger = logging.getLogger("everytoken.journal")


async def look_at_server(link: RedisLink, address: Place, durability: str, *, is_part: bool) -> None:
    """Say in the log how safe a server keeps what it is given. Raises `ConfigurationError` for one of a cluster, unless `is_part`."""
    told = (await link.pipeline(pack("INFO", "cluster")))[0]
    if isinstance(told, bytes) and is_part is not (b"cluster_enabled:1" in told):
        raise ConfigurationError(
            f"Redis at {address} is no cluster: write redis://"
            if is_part
            else f"Redis at {address} is a cluster: write redis-cluster://"
        )
    known = await settings_of(link)
    how = how_durable(known)
    logger.info("journal in Redis at %s%s", address, how)
    if durability == "power" and not is_power_safe(known):
        logger.warning(
            "durability is power, but Redis decides that for itself: journal in Redis at %s%s; "
            "set appendonly yes and appendfsync always there",
            address,
            how,
        )
    if dropped := what_is_dropped(known):
        logger.warning(
            "Redis at %s drops %s responses when its memory is full (maxmemory-policy %s): set noeviction",
            address,
            dropped,
            known["maxmemory-policy"],
        )


async def settings_of(link: RedisLink) -> dict[str, str]:
    """Return the settings that matter here, as far as the server tells them. Raises `JournalUnavailableError`."""
    known: dict[str, str] = {}
    for reply in await link.pipeline(
        *(pack("CONFIG", "GET", name) for name in ("append*", "save", "maxmemory*"))
    ):
        if not isinstance(reply, ReplyError):  # many a managed server keeps its settings to itself
            known.update(
                (name.decode(), value.decode()) for name, value in zip(*[iter(reply)] * 2, strict=True)
            )
    return known


def how_durable(settings: Mapping[str, str]) -> str:
    """Return how safe what is stored is, as the end of a line in the log."""
    if "appendonly" not in settings or "save" not in settings:
        return ", which does not say how durable it is"
    if settings["appendonly"] == "yes":
        return f": appended to a file, synced {settings.get('appendfsync', '')}"
    if settings["save"]:
        return f": saved now and then ({settings['save']})"
    return ": kept in its memory only"


def is_power_safe(settings: Mapping[str, str]) -> bool:
    """Return whether what is acknowledged survives a loss of power."""
    return settings.get("appendonly") == "yes" and settings.get("appendfsync") == "always"


def what_is_dropped(settings: Mapping[str, str]) -> str:
    """Return which responses go when the server's memory is full: "open and ended", "ended", or none ("")."""
    policy = settings.get("maxmemory-policy", "noeviction")
    if policy == "noeviction" or settings.get("maxmemory") == "0":
        return ""
    return "open and ended" if policy.startswith("allkeys") else "ended"
