"""TOML: where each key of a file is, which `tomllib` does not say, and values as they are written."""

from __future__ import annotations

import contextlib
import json
import math
import re
import tomllib
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["Path", "Place", "key", "places", "written"]

Path = tuple[str | int, ...]
Place = tuple[int, int]
"""Line and column, both from 1."""

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_SPACE: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK: Final = re.compile(r"[ \t]*")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' r"'''.*?'{3,5}|" r'"(?:[^"\\\n]|\\.)*"|' r"'[^'\n]*'", re.DOTALL
)
_SCALAR: Final = re.compile(r"[^,\]}#\r\n]+")


def places(text: str) -> dict[Path, Place]:
    """Return where each key of a file is, and each element of an array, by its path.

    The text must be TOML that `tomllib` reads: what is not, is looked at no further.
    """
    scan = _Scan(text)
    # A place is a help, and there are those that were found.
    with contextlib.suppress(AttributeError, IndexError, ValueError):
        scan.document()
    return scan.found


class _Scan:
    """A reader that keeps places and no values."""

    def __init__(self, text: str) -> None:
        self.found: dict[Path, Place] = {}
        self._text = text
        self._at = 0
        self._counts: dict[Path, int] = {}  # of `[[tables]]`
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self._line = 0

    def document(self) -> None:
        table: Path = ()
        while True:
            self._take(_SPACE)
            if self._at >= len(self._text):
                return
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> Path:
        start = self._at
        many = self._text.startswith("[[", start)
        self._at += 2 if many else 1
        keys = self._keys()
        self._at = self._text.index("]]" if many else "]", self._at) + (2 if many else 1)
        path: Path = ()
        for name in keys[:-1]:
            path = self._last((*path, name))
        path = (*path, keys[-1])
        if many:
            self._mark(path, start)
            self._counts[path] = self._counts.get(path, 0) + 1
        path = self._last(path)
        self._mark(path, start)
        return path

    def _last(self, path: Path) -> Path:
        count = self._counts.get(path, 0)
        return (*path, count - 1) if count else path

    def _pair(self, table: Path) -> None:
        start = self._at
        keys = self._keys()
        path = table
        for name in keys:
            path = (*path, name)
            self._mark(path, start)
        self._at = self._text.index("=", self._at) + 1
        self._take(_BLANK)
        self._value(path)

    def _value(self, path: Path) -> None:
        begins = self._text[self._at]
        if begins == "[":
            self._at += 1
            number = 0
            while self._next("]"):
                self._mark((*path, number), self._at)
                self._value((*path, number))
                number += 1
        elif begins == "{":
            self._at += 1
            while self._next("}"):
                self._pair(path)
        elif begins in "\"'":
            self._take(_STRING)
        else:
            self._take(_SCALAR)

    def _next(self, end: str) -> bool:
        """Go to the next element; at the end, behind it."""
        self._take(_SPACE)
        if self._text[self._at] == ",":
            self._at += 1
            self._take(_SPACE)
        if self._text[self._at] == end:
            self._at += 1
            return False
        return True

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._take(_BLANK)
            if self._text[self._at] in "\"'":
                keys.append(tomllib.loads(f"k = {self._take(_STRING)}")["k"])
            else:
                keys.append(self._take(_BARE))
            self._take(_BLANK)
            if self._text[self._at] != ".":
                return keys
            self._at += 1

    def _take(self, what: re.Pattern[str]) -> str:
        match = what.match(self._text, self._at)
        taken = match.group()  # type: ignore[union-attr]  # None ends the reading, see `places`
        self._at += len(taken)
        return taken

    def _mark(self, path: Path, at: int) -> None:
        while self._line + 1 < len(self._lines) and self._lines[self._line + 1] <= at:
            self._line += 1
        self.found.setdefault(path, (self._line + 1, at - self._lines[self._line] + 1))


def key(name: str) -> str:
    """Return a key as it is written."""
    return name if _BARE.fullmatch(name) else _text(name)


def written(value: Any) -> str:
    """Return a value as it is written on one line; a table is an inline one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        pairs = [f"{key(name)} = {written(one)}" for name, one in value.items() if one is not None]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    parts = sorted(value) if isinstance(value, set | frozenset) else value
    return f"[{', '.join(map(written, parts))}]"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
