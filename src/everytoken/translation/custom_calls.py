"""Calls of custom tools, which take text, out of calls of the functions that stand for them at servers with functions only."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from everytoken.translation.events import Arguments, CallBegan, CallEnded
from everytoken.translation.text import Halves
from everytoken.translation.wrapping import ARGUMENT

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from everytoken.translation.events import NeutralEvent

__all__ = ["CustomCalls"]

_BEGIN: Final = re.compile(rf'\s*\{{\s*"{ARGUMENT}"\s*:\s*"')
_WHOLE: Final = re.compile(r'(?:[^"\\]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
_PART: Final = re.compile(r"(\\(u[0-9a-fA-F]{0,3})?)?")
_MAX_BEGIN: Final = 256  # characters, in which the text has begun if it does


class CustomCalls:
    """Has the caller see its own custom tools called, with the text that the function's argument is.

    `names` are those of its custom tools, as the upstream calls them.
    """

    __slots__ = ("_inputs", "_names")

    def __init__(self, names: Container[str]) -> None:
        self._names = names
        self._inputs: dict[int, _Input] = {}

    def unwrapped(self, event: CallBegan | Arguments | CallEnded) -> Iterable[NeutralEvent]:
        """Return what the caller sees of an event of a call."""
        if isinstance(event, CallBegan):
            if event.custom or event.name not in self._names:
                return (event,)
            self._inputs[event.index] = _Input()
            return (CallBegan(event.index, event.id, event.name, custom=True),)
        text = self._inputs.get(event.index)
        if text is None:
            return (event,)
        if isinstance(event, Arguments):
            more = text.add(event.text)
            return (Arguments(event.index, more),) if more else ()
        del self._inputs[event.index]
        rest = text.rest()
        return (Arguments(event.index, rest), event) if rest else (event,)


class _Input:
    """The string in `{"input": "…"}` while it comes. Arguments of another form are taken for the text itself, at the end."""

    __slots__ = ("_begun", "_ended", "_halves", "_others", "_raw")

    def __init__(self) -> None:
        self._raw = ""  # what is not decoded yet: a beginning, or a part of an escape
        self._begun = False
        self._ended = False
        self._others: list[str] = []  # arguments of another form
        self._halves = Halves()

    def add(self, text: str) -> str:
        """Return what a piece of the arguments adds to the text."""
        if self._ended:
            return ""
        if self._others:
            self._others.append(text)
            return ""
        raw = self._raw + text
        if not self._begun:
            begin = _BEGIN.match(raw)
            if begin is None:
                if len(raw) > _MAX_BEGIN:
                    self._others, raw = [raw], ""
                self._raw = raw
                return ""
            self._begun = True
            raw = raw[begin.end() :]
        return self._halves.join(0, "".join(self._decoded(raw)))

    def rest(self) -> str:
        """Return what is to be added at the end of the call."""
        return "" if self._begun else "".join(self._others) or self._raw

    def _decoded(self, raw: str) -> Iterator[str]:
        at = 0
        while True:
            whole = _WHOLE.match(raw, at)
            end = whole.end() if whole is not None else at
            if end > at:
                # As models write it: with line breaks that JSON does not allow.
                yield json.loads(f'"{raw[at:end]}"', strict=False)
            self._ended = raw[end : end + 1] == '"'
            if self._ended or _PART.fullmatch(raw, end):
                self._raw = "" if self._ended else raw[end:]
                return
            yield "\\"  # it begins no escape, so it is meant as it stands
            at = end + 1
