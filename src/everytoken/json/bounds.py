"""What JSON from outside may hold: numbers that every part of the gateway can store, no deep nesting, not too much.

Checked where bytes enter, so that nothing behind it meets a value that cannot be encoded again. All of it is linear and
none of it recursive.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "MAX_DEPTH",
    "MAX_INTEGER",
    "MAX_UPSTREAM_DEPTH",
    "MAX_VALUES",
    "MIN_INTEGER",
    "excess_in",
    "has_too_many_values",
    "is_too_deep",
    "is_within",
    "problem_in",
    "problem_in_text",
    "storable",
]

MAX_DEPTH: Final = 512
"""Levels of nesting: far above any request, and half of what encoding can take."""

MAX_UPSTREAM_DEPTH: Final = 128
"""Levels of nesting in what an upstream sends: joining chunks takes two levels of the stack for each of them."""

MAX_VALUES: Final = 1_000_000
"""Values in one text: an empty list takes 3 bytes of it and 60 of the memory."""

MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**64 - 1
"""The integers that msgpack, and with it the journal, can hold."""

_SCALARS: Final = frozenset({str, bool, type(None)})
_STRING: Final = re.compile(rb'"[^"]*"?')
_NO_BRACKET: Final = re.compile(rb"[^\[\]{}]+")
_TOKEN: Final = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"?|[\[\]{},:]|[-+.0-9eE]+', re.DOTALL)
_GLANCED: Final = 8 * 1024  # bytes
_LONG_NUMBER: Final = re.compile(rb"[0-9]{18}|[0-9][eE]")
_SCANNED: Final = 256 * 1024  # bytes that are searched for where a text goes wrong
_MAX_STEP: Final = 64  # characters of one field's name in a path
_MAX_STEPS: Final = 8
_MAX_STEPS_DEEP: Final = 4  # steps of the path to what is nested too deep: the others say nothing

_BEYOND_64_BITS: Final = "is a number beyond 64 bits: whole numbers go from -2**63 to 2**64-1"
_NOT_FINITE: Final = "is not a finite number: a double goes to 1.8e308"
_TOO_DEEP: Final = f"is nested more than {MAX_DEPTH} levels deep"

_Step = str | int


def is_within(data: bytes) -> bool:
    """Whether a glance at a text shows that nothing in it is out of bounds; False where one has to look closer.

    That costs less than looking at each value, as long as the text is short.
    """
    return (
        len(data) < _GLANCED
        and data.count(b"[") + data.count(b"{") < MAX_DEPTH
        and _LONG_NUMBER.search(data) is None
    )


def problem_in(value: Any) -> tuple[str, str] | None:
    """Return the path of the first value that is out of bounds and what is wrong with it, or None."""
    steps: list[_Step] = []
    open_ones = [_inner(value)]
    while open_ones:
        for step, item in open_ones[-1]:
            kind = item.__class__
            if kind in _SCALARS:
                continue
            if kind is int:
                if not MIN_INTEGER <= item <= MAX_INTEGER:
                    return _path([*steps, step]), _BEYOND_64_BITS
            elif kind is float:
                if not math.isfinite(item):
                    return _path([*steps, step]), _NOT_FINITE
            else:
                if len(open_ones) >= MAX_DEPTH:
                    return _path_of_deep(steps), _TOO_DEEP
                steps.append(step)
                open_ones.append(_inner(item))
                break
        else:
            open_ones.pop()
            if steps:
                steps.pop()
    return None


def problem_in_text(data: bytes) -> tuple[str, str] | None:
    """Return what `problem_in` would, for a text that could not be decoded; None where nothing is found early in it."""
    steps: list[_Step] = []
    objects: list[bool] = []
    name: bytes | None = None
    for match in _TOKEN.finditer(data, 0, _SCANNED):
        token = match[0]
        first = token[:1]
        if first in b"[{":
            if len(objects) >= MAX_DEPTH:
                return _path_of_deep(steps[:-1]), _TOO_DEEP
            objects.append(first == b"{")
            steps.append("" if first == b"{" else 0)
        elif first in b"]}":
            if objects:
                objects.pop()
                steps.pop()
        elif first == b'"':
            name = match[1]
        elif first == b":":
            if objects and objects[-1] and name is not None:
                steps[-1] = name[:_MAX_STEP].decode("utf-8", "replace")
        elif first == b",":
            if objects and not objects[-1]:
                steps[-1] = int(steps[-1]) + 1
        elif (what := _problem_in_number(token)) is not None:
            return _path(steps), what
    return None


def has_too_many_values(data: bytes, limit: int = MAX_VALUES) -> bool:
    """Whether a text has more than `limit` values; nearly every one is told by counting its bytes."""
    if _values_in(data) <= limit:
        return False
    data = _without_escapes(data)
    found = start = 0
    for string in _STRING.finditer(data):
        found += _values_in(data[start : string.start()])
        if found > limit:
            return True
        start = string.end()
    return found + _values_in(data[start:]) > limit


def is_too_deep(data: bytes, limit: int = MAX_UPSTREAM_DEPTH) -> bool:
    """Whether a text of few values is nested deeper than `limit`, without decoding it."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    brackets = _NO_BRACKET.sub(b"", _STRING.sub(b"", _without_escapes(data)))
    for _ in range(limit):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return False
    return True


def excess_in(data: bytes) -> str | None:
    """Return what makes JSON of an upstream more than can be handled, in words, or None."""
    if has_too_many_values(data):
        return f"it has more than {MAX_VALUES:,} values"
    return f"it is nested more than {MAX_UPSTREAM_DEPTH} levels deep" if is_too_deep(data) else None


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


def _without_escapes(data: bytes) -> bytes:
    """Return JSON without escaped quotes, so that a string is simple: the expression for it needs no stack."""
    return data.replace(b"\\\\", b"").replace(b'\\"', b"")


def _values_in(data: bytes) -> int:
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _problem_in_number(token: bytes) -> str | None:
    if len(token) < 3:
        return None
    if token.removeprefix(b"-").isdigit():
        digits = token.lstrip(b"-0")
        if len(digits) > 20 or not MIN_INTEGER <= int(token[:32]) <= MAX_INTEGER:
            return _BEYOND_64_BITS
        return None
    try:
        return None if math.isfinite(float(token)) else _NOT_FINITE
    except ValueError:
        return None


def _inner(value: Any) -> Iterator[tuple[_Step, Any]]:
    if value.__class__ is dict:
        return iter(value.items())
    return enumerate(value if value.__class__ is list else (value,))


def _path_of_deep(steps: list[_Step]) -> str:
    """Return the path of the field that is nested too deep: its beginning, without the places in a list at its end."""
    shown = steps[:_MAX_STEPS_DEEP]
    while len(shown) > 1 and shown[-1].__class__ is int:
        shown.pop()
    return _path(shown)


def _path(steps: Iterable[_Step]) -> str:
    shown = list(steps)
    path = "".join(
        f"[{step}]" if isinstance(step, int) else f".{step[:_MAX_STEP]}" for step in shown[:_MAX_STEPS]
    )
    return path.removeprefix(".") + ("..." if len(shown) > _MAX_STEPS else "")
