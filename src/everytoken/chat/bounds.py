"""What JSON from outside may hold: numbers that every part of the gateway can store, and no deep nesting.

Checked where bytes enter, so that nothing behind it meets a value that cannot be encoded again.
"""

from __future__ import annotations

import math
from typing import Any, Final

__all__ = ["MAX_DEPTH", "MAX_INTEGER", "MIN_INTEGER", "problem_in", "storable"]

MAX_DEPTH: Final = 512
"""Levels of nesting: far above any request, and half of what encoding can take, wherever in the program it is done."""

MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**64 - 1
"""The integers that msgpack, and with it the journal, can hold."""

_SCALARS = frozenset({str, bool, type(None)})


def problem_in(value: Any) -> tuple[str, str] | None:
    """Return the path of the first value that is out of bounds and what is wrong with it, or None.

    Iterative: the nesting it looks for must not be able to end it.
    """
    stack: list[tuple[Any, str, int]] = [(value, "", 0)]
    while stack:
        item, path, depth = stack.pop()
        kind = item.__class__
        if kind in _SCALARS:
            continue
        if kind is int:
            if not MIN_INTEGER <= item <= MAX_INTEGER:
                return path, "is a number beyond 64 bits"
        elif kind is float:
            if not math.isfinite(item):
                return path, "is not a finite number"
        elif depth >= MAX_DEPTH:
            return _shown(path), f"is nested more than {MAX_DEPTH} levels deep"
        elif kind is dict:
            for name, inner in item.items():
                if inner.__class__ not in _SCALARS:
                    stack.append((inner, f"{path}.{name}" if path else str(name), depth + 1))
        elif kind is list:
            for number, inner in enumerate(item):
                if inner.__class__ not in _SCALARS:
                    stack.append((inner, f"{path}[{number}]", depth + 1))
    return None


def storable(value: Any, depth: int = 32) -> Any:
    """Return somebody else's JSON as it can be stored: what is out of bounds becomes text, or is left out."""
    kind = value.__class__
    if kind is dict:
        return {str(name): storable(inner, depth - 1) for name, inner in value.items()} if depth else None
    if kind is list:
        return [storable(inner, depth - 1) for inner in value] if depth else None
    if kind is int and not MIN_INTEGER <= value <= MAX_INTEGER:
        return f"{value:.17g}" if abs(value) < 10**300 else "a number of more than 300 digits"
    if kind is float and not math.isfinite(value):
        return str(value)
    if kind is str:
        return value.encode("utf-8", "replace").decode("utf-8") if not value.isascii() else value
    return value


def _shown(path: str) -> str:
    return path if len(path) <= 200 else f"{path[:200]}..."
