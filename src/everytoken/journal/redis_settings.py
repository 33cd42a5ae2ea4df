"""What a Redis server is set to, as far as it tells (`CONFIG GET`), and what that means for a journal in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["how_durable", "is_power_safe", "what_is_dropped"]


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
