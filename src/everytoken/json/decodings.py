"""A text as its decoders would see it: without the escapes of JSON, of URLs and of HTML, in any order.

Each view knows where each of its characters comes from.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MARKS", "View", "views"]

_MAX_VIEWS: Final = 32
_MAX_CHARACTERS: Final = 1024 * 1024  # of all views of one text

_JSON: Final = re.compile(
    r"\\(?:u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|[\"'\\/bfnrt])"
)
_URL: Final = re.compile(r"%[0-7][0-9a-fA-F]|(?:%[89a-fA-F][0-9a-fA-F])+")
_HTML: Final = re.compile(r"&(?:#[0-9]{1,16}|#[xX][0-9a-fA-F]{1,16}|[A-Za-z][A-Za-z0-9]{1,31});")
_CONTROL: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class View:
    """A text, decoded from `parent`; `origin` says where a part of it stands in the first one."""

    __slots__ = ("_ends", "_froms", "_parent", "_starts", "text")

    def __init__(
        self, text: str, parent: View | None, pieces: list[tuple[int, int, int]] | None = None
    ) -> None:
        """`pieces`: for each escape where it stands in this text, and from where to where in the parent's."""
        self.text = text
        self._parent = parent
        self._starts = [piece[0] for piece in pieces or ()]
        self._froms = [piece[1] for piece in pieces or ()]
        self._ends = [piece[2] for piece in pieces or ()]

    def origin(self, start: int, end: int) -> tuple[int, int]:
        """Return from where to where the part from `start` to `end` stands in the text that was decoded first."""
        view: View = self
        while view._parent is not None:
            start, end = view._above(start, last=False), view._above(end - 1, last=True)
            view = view._parent
        return start, end

    def _above(self, position: int, *, last: bool) -> int:
        """Return where the character at `position` begins in the parent's text, or ends with `last`."""
        found = bisect_right(self._starts, position) - 1
        if found < 0:
            return position + last
        behind = self._starts[found + 1] if found + 1 < len(self._starts) else len(self.text) + 1
        width = self._width(found, behind)
        if position < self._starts[found] + width:
            return self._ends[found] if last else self._froms[found]
        return self._ends[found] + position - self._starts[found] - width + last

    def _width(self, found: int, behind: int) -> int:
        """Return how many characters an escape has become: what is left of the text up to the next one came as it is."""
        assert self._parent is not None
        until = self._froms[found + 1] if found + 1 < len(self._froms) else len(self._parent.text) + 1
        return behind - self._starts[found] - (until - self._ends[found])


def views(text: str) -> Iterator[View]:
    """Yield `text` and everything it may be decoded to, each once."""
    first = View(text, None)
    seen = {text}
    waiting = [first]
    room = _MAX_CHARACTERS
    yield first
    for view in waiting:
        for mark, pattern, decode in _DECODERS:
            if mark not in view.text or len(seen) >= _MAX_VIEWS or room <= 0:
                continue
            decoded = _decode(view, pattern, decode)
            room -= len(view.text)
            if decoded is not None and decoded.text not in seen:
                seen.add(decoded.text)
                waiting.append(decoded)
                yield decoded


def _decode(view: View, pattern: re.Pattern[str], decode: Callable[[str], str]) -> View | None:
    parts: list[str] = []
    pieces: list[tuple[int, int, int]] = []
    done = length = 0
    for match in pattern.finditer(view.text):
        start, end = match.span()
        before, char = view.text[done:start], decode(match[0])
        length += len(before)
        pieces.append((length, start, end))
        length += len(char)
        parts += (before, char)
        done = end
    if not pieces:
        return None
    return View("".join([*parts, view.text[done:]]), view, pieces)


def _from_json(escape: str) -> str:
    kind = escape[1]
    if kind in "ux":
        if len(escape) == 12:
            high, low = int(escape[2:6], 16) - 0xD800, int(escape[8:], 16) - 0xDC00
            return chr(0x10000 + (high << 10) + low)
        return chr(int(escape[2:].zfill(4), 16))
    return _CONTROL.get(kind, kind)


def _from_url(escape: str) -> str:
    return bytes.fromhex(escape.replace("%", "")).decode("utf-8", "replace")


_DECODERS: Final = (("\\", _JSON, _from_json), ("%", _URL, _from_url), ("&", _HTML, html.unescape))

MARKS: Final = "".join(mark for mark, _, _ in _DECODERS)
"""A text without any of these characters has no escapes."""
