"""Tell which tool call a fragment belongs to, on servers that leave `index` out, repeat it or count from 1."""

from __future__ import annotations

from typing import Any

import msgspec

from everytoken.dialects.openai_chat.merge import Text, merge_field, plain

__all__ = ["ToolCalls"]


class ToolCalls:
    """The tool calls of one choice, in the order in which they began.

    With an `index`: the call at that index, unless the fragment brings another id together with a name, which only
    the start of a call does (servers that give all calls the same index). Without: the call with the fragment's id; a new
    id starts a call, and so does a second name without any id; everything else continues the last call.
    """

    __slots__ = ("_by_id", "_by_index", "_calls", "_last")

    def __init__(self) -> None:
        self._calls: list[dict[str, Any]] = []
        self._by_index: dict[int, int] = {}
        self._by_id: dict[str, int] = {}
        self._last: int | None = None

    def receive(self, fragment: dict[str, Any]) -> int:
        """Merge one item of a delta's `tool_calls`; return the position of its call, counted from 0."""
        position = self._find(fragment)
        if position is None:
            position = len(self._calls)
            self._calls.append({})
        call = self._calls[position]
        self._last = position
        if isinstance(index := fragment.get("index"), int):
            self._by_index[index] = position
        if identity := _identity(fragment):
            self._by_id.setdefault(identity, position)
        for name, value in fragment.items():
            if name == "function" and isinstance(value, dict):
                merge_function(call.setdefault("function", {}), value)
            elif name != "index":
                merge_field(call, name, value)
        return position

    def heading(self, position: int) -> tuple[str, str]:
        """Return the id and the function's name of a call as far as they have come, "" for what has not."""
        call = self._calls[position]
        name = plain(_name(call))
        return _identity(call) or "", name if isinstance(name, str) else ""

    def finished(self) -> list[dict[str, Any]]:
        """Return the calls as a non-streamed response holds them."""
        return [_finished_call(call) for call in self._calls]

    def _find(self, fragment: dict[str, Any]) -> int | None:
        """Return the position of the call that `fragment` continues, or None if it starts one."""
        identity = _identity(fragment)
        named = bool(_name(fragment))
        index = fragment.get("index")
        if isinstance(index, int):
            found = self._by_index.get(index)
            if found is not None and named and identity:
                return found if _identity(self._calls[found]) in {None, identity} else None
            return found
        if identity:
            return self._by_id.get(identity)
        if named and self._last is not None and _name(self._calls[self._last]):
            return None
        return self._last


def merge_function(into: dict[str, Any], fragment: dict[str, Any]) -> None:
    """Merge a fragment of a function; its name may be repeated whole or, rarely, come in pieces."""
    for name, value in fragment.items():
        if name != "name":
            merge_field(into, name, value)
        elif isinstance(value, str) and value:
            known = into.get("name")
            if known is None:
                into["name"] = Text([value])
            elif plain(known) != value:
                known.append(value)


def _finished_call(call: dict[str, Any]) -> dict[str, Any]:
    whole = {name: call[name] for name in ("id", "type") if call.get(name)}
    if "function" in call:
        # The format's own constant, which some servers leave out.
        whole.setdefault("type", "function")
        function = plain(call["function"])
        if isinstance(pieces := call["function"].get("arguments"), Text) and _is_cumulative(pieces):
            function["arguments"] = pieces[-1]
        whole["function"] = {"name": "", "arguments": ""} | function
    whole |= {name: plain(value) for name, value in call.items() if name not in {"id", "type", "function"}}
    return whole


def _is_cumulative(pieces: Text) -> bool:
    """Whether each piece has those before it in it, as some servers send arguments: only the last is then JSON."""
    if len(pieces) < 2 or not all(map(str.startswith, pieces[1:], pieces)):
        return False
    return _is_json(pieces[-1]) and not _is_json("".join(pieces))


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    return True


def _identity(item: dict[str, Any]) -> str | None:
    identity = item.get("id")
    return identity if isinstance(identity, str) and identity else None


def _name(item: dict[str, Any]) -> Any:
    function = item.get("function")
    return function.get("name") if isinstance(function, dict) else None
