"""Which tool call a fragment belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.dialects.openai_chat.chunk import ToolCallDelta
from everytoken.errors import MalformedEventError

if TYPE_CHECKING:
    from everytoken.dialects.openai_chat.chunk import FunctionDelta

__all__ = ["Call", "Calls", "as_tool_call"]


_MAX_CALLS = 1024  # far more than any answer has
_MAX_NAME = 1024  # characters of a tool's name that comes in pieces


class Call:
    """What tells one tool call from another; `index` as its fragments carry it, None where they carry none.

    `custom`: it calls a custom tool, with text in place of JSON. `named`: its name has begun.
    """

    __slots__ = ("_first", "_pieces", "custom", "id", "index", "named")

    def __init__(self, fragment: ToolCallDelta) -> None:
        self.index = fragment.index
        self.id = fragment.id or None
        self.custom = False
        self.named = False
        self._first = ""
        self._pieces = 0

    def add(self, fragment: ToolCallDelta) -> None:
        """Record a fragment."""
        self.custom = self.custom or fragment.custom is not None
        name = fragment.name
        if not name:
            return
        self.named = True
        self._first = self._first or name
        # Some servers repeat the whole name with every fragment; pieces are compared with all that has come.
        if self._pieces or name != self._first:
            self._pieces += len(name)
            if self._pieces > _MAX_NAME:
                raise MalformedEventError(f"a tool's name has more than {_MAX_NAME} characters")


class Calls:
    """The tool calls of one choice in the order in which they began.

    The rules are those by which `Accumulator` joins them. With an `index`: the call at that index, unless the fragment
    brings another id together with a name. Without: the call with its id; a new id, or a second name without any id,
    begins a call; everything else continues the last one.
    """

    def __init__(self) -> None:
        self.all: list[Call] = []
        self._by_index: dict[int, int] = {}
        self._by_id: dict[str, int] = {}
        self._last = -1

    def __len__(self) -> int:
        return len(self.all)

    def add(self, fragment: ToolCallDelta) -> int:
        """Add a fragment; return the position of the call that it belongs to, which it may begin."""
        found = self._find(fragment)
        if found is None:
            found = len(self.all)
            if found >= _MAX_CALLS:
                raise MalformedEventError(f"the answer has more than {_MAX_CALLS} tool calls")
            self.all.append(Call(fragment))
        if fragment.index is not None:
            self._by_index[fragment.index] = found
        if fragment.id:
            self._by_id.setdefault(fragment.id, found)
        self._last = found
        self.all[found].add(fragment)
        return found

    def _find(self, fragment: ToolCallDelta) -> int | None:
        named = bool(fragment.name)
        if fragment.index is not None:
            found = self._by_index.get(fragment.index)
            if found is not None and named and fragment.id and self.all[found].id not in {None, fragment.id}:
                return None
            return found
        if fragment.id:
            return self._by_id.get(fragment.id)
        if self._last < 0 or (named and self.all[self._last].named):
            return None
        return self._last


def as_tool_call(function: FunctionDelta) -> ToolCallDelta:
    """Return the old `function_call` form as the first tool call."""
    return ToolCallDelta(index=0, function=function)
