"""Counts of tokens as any server reports them."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["count_in", "details_in"]

_LARGEST: Final = 2**53  # more tokens than that are somebody's joke


def count_in(usage: dict[str, Any], *names: str) -> int | None:
    """Return the first of the named counts that is there."""
    if not usage:
        return None
    for name in names:
        value = usage.get(name)
        if type(value) is int and 0 <= value <= _LARGEST:  # as nearly all of them are
            return value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST:
            return value
    return None


def details_in(usage: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object of counts inside a usage object, {} without one."""
    details = usage.get(name)
    return details if isinstance(details, dict) else {}
