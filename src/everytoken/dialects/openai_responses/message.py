"""The response object: the events that were delivered, joined into what a caller gets who does not stream."""

from __future__ import annotations

from typing import Any, Final

from everytoken.dialects.openai_responses.history import LIFECYCLE, TERMINAL, object_in

__all__ = ["Accumulator"]

_ARGUMENTS: Final = {
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "input",
}
_PARTS: Final = {
    "response.output_text.delta": ("content", "content_index", "text", "output_text"),
    "response.refusal.delta": ("content", "content_index", "refusal", "refusal"),
    "response.reasoning_text.delta": ("content", "content_index", "text", "reasoning_text"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index", "text", "summary_text"),
}


class Accumulator:
    """Joins the events of one response, in linear time.

    The last event has the whole response. Before it has come the items are put together from what there is of them.
    """

    __slots__ = ("_complete", "_items", "_response", "_texts")

    def __init__(self) -> None:
        self._response: dict[str, Any] = {}
        self._items: dict[int, dict[str, Any]] = {}
        # Pieces of texts that are not finished: joined when they are asked for.
        self._texts: dict[tuple[int, str, int], tuple[str, str, list[str]]] = {}
        self._complete = False

    def add(self, data: str | bytes) -> None:
        """Take one event, as JSON. Raises `MalformedEventError` if it is no JSON object."""
        event = object_in(data)
        kind = event.get("type")
        if kind in LIFECYCLE:
            self._response = event["response"]
            self._complete = kind in TERMINAL
            return
        index = event.get("output_index")
        if not isinstance(index, int):
            return
        if kind == "response.output_item.added":
            self._items[index] = event["item"]
        elif kind == "response.output_item.done":
            self._items[index] = event["item"]
            for key in [key for key in self._texts if key[0] == index]:
                del self._texts[key]
        elif kind in _ARGUMENTS:
            self._grow((index, "", 0), _ARGUMENTS[kind], "", event)
        elif kind in _PARTS:
            holder, name, field, type_ = _PARTS[kind]
            self._grow((index, holder, event[name]), field, type_, event)

    def _grow(self, key: tuple[int, str, int], field: str, kind: str, event: dict[str, Any]) -> None:
        if isinstance(event.get("delta"), str):
            self._texts.setdefault(key, (field, kind, []))[2].append(event["delta"])

    def message(self) -> dict[str, Any]:
        """Return the response as far as it has come."""
        if self._complete and isinstance(self._response.get("output"), list):
            return self._response
        items = {index: dict(item) for index, item in self._items.items()}
        for (index, holder, _), (field, kind, pieces) in sorted(self._texts.items()):
            item = items.setdefault(index, {"type": "message", "role": "assistant"})
            text = "".join(pieces)
            if holder:
                part = {"type": kind, field: text, **({"annotations": []} if kind == "output_text" else {})}
                before = item.get(holder)
                item[holder] = [*(before if isinstance(before, list) else ()), part]
            else:
                item[field] = text
        return {**self._response, "output": [items[index] for index in sorted(items)]}
