"""Merge the fragments of a stream in linear time: what they hold is kept apart until the end, then joined once."""

from __future__ import annotations

from itertools import groupby
from typing import Any, Final

__all__ = ["MergedList", "Text", "join_parts", "merge", "merge_field", "plain"]

_CONSTANT: Final = frozenset({"format", "id", "index", "name", "object", "role", "type"})
"""Fields which a server repeats rather than continues: the first value counts."""

_NESTED: Final = frozenset({"audio", "custom", "function", "function_call"})
"""Objects which grow field by field; of any other object the last one counts."""


class Text(list[str]):
    """The pieces of one text."""


class MergedList(list[Any]):
    """A list whose items are continued by later items with the same `index`."""

    def __init__(self) -> None:
        super().__init__()
        self._by_index: dict[int, dict[str, Any]] = {}

    def receive(self, items: list[Any]) -> None:
        """Append `items`, or merge those into what has come that carry a known `index`."""
        for item in items:
            index = item.get("index") if isinstance(item, dict) else None
            if not isinstance(index, int):
                self.append(item)
                continue
            if index not in self._by_index:
                self._by_index[index] = {}
                self.append(self._by_index[index])
            merge(self._by_index[index], item)


def merge(into: dict[str, Any], fragment: dict[str, Any]) -> None:
    """Merge all fields of `fragment`."""
    for name, value in fragment.items():
        merge_field(into, name, value)


def merge_field(into: dict[str, Any], name: str, value: Any) -> None:
    """Merge one field: texts grow, lists grow or merge by index, of anything else the last value counts."""
    current = into.get(name)
    if value is None:
        into.setdefault(name, None)
    elif name in _CONSTANT:
        into[name] = current or value
    elif isinstance(value, str):
        if not isinstance(current, Text):
            current = into[name] = Text()
        current.append(value)
    elif isinstance(value, list):
        if not isinstance(current, MergedList):
            current = into[name] = MergedList()
        current.receive(value)
    elif isinstance(value, dict) and name in _NESTED:
        if not isinstance(current, dict):
            current = into[name] = {}
        merge(current, value)
    else:
        into[name] = value


def plain(value: Any) -> Any:
    """Return `value` as plain JSON data, its texts joined."""
    if isinstance(value, Text):
        return "".join(value)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def join_parts(fragments: list[Any]) -> str | list[Any]:
    """Return streamed content whole: a string if it is nothing but text, else a list of parts.

    Mistral streams its thinking as parts and the response as strings or parts; neighbours of one kind become one.
    """
    parts = [{"type": "text", "text": item} if isinstance(item, str) else item for item in fragments]
    joined: list[Any] = []
    for kind, group in groupby(parts, key=_kind):
        if kind in {"text", "thinking"}:
            members = list(group)
            whole = {name: value for member in members for name, value in member.items()}
            pieces = [member.get(kind) for member in members]
            if kind == "text":
                whole["text"] = "".join(piece for piece in pieces if isinstance(piece, str))
            else:
                whole["thinking"] = _join_thinking(pieces)
            joined.append(whole)
        else:
            joined.extend(group)
    if len(joined) == 1 and _kind(joined[0]) == "text" and joined[0].keys() <= {"type", "text"}:
        return str(joined[0]["text"])
    return joined


def _join_thinking(pieces: list[Any]) -> list[Any]:
    flat = [item for piece in pieces for item in (piece if isinstance(piece, list) else [piece])]
    whole = join_parts([item for item in flat if item is not None])
    return [{"type": "text", "text": whole}] if isinstance(whole, str) else whole


def _kind(part: Any) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else None
    return kind if isinstance(kind, str) else None
