"""The items of a response as they are written: what is under way, and the whole of what is done."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

__all__ = ["KINDS", "Call", "TextKind"]


class TextKind(NamedTuple):
    """A text that grows inside an item: how its events are called, which list it is in, what it is when it begins.

    `frame`: the name of the events that begin and end a part.
    """

    event: str
    item: str
    holder: str
    number: str
    frame: str
    field: str
    part: dict[str, Any]


KINDS: Final = {
    "text": TextKind(
        *("response.output_text", "message", "content", "content_index", "response.content_part", "text"),
        {"type": "output_text", "annotations": [], "logprobs": [], "text": ""},
    ),
    "refusal": TextKind(
        *("response.refusal", "message", "content", "content_index", "response.content_part", "refusal"),
        {"type": "refusal", "refusal": ""},
    ),
    "reasoning": TextKind(
        *(
            "response.reasoning_text",
            "reasoning",
            "content",
            "content_index",
            "response.content_part",
            "text",
        ),
        {"type": "reasoning_text", "text": ""},
    ),
    "summary": TextKind(
        *("response.reasoning_summary_text", "reasoning", "summary", "summary_index"),
        *("response.reasoning_summary_part", "text"),
        {"type": "summary_text", "text": ""},
    ),
}
"""The texts there are. The names are those of the events and fields of the API."""


class Call:
    """A call under way. `event` is how its events begin, `field` where its arguments are."""

    __slots__ = ("event", "field", "item", "pieces", "position")

    def __init__(self, item: dict[str, Any], position: int) -> None:
        custom = item["type"] == "custom_tool_call"
        self.event = "response.custom_tool_call_input" if custom else "response.function_call_arguments"
        self.field = "input" if custom else "arguments"
        self.item = item
        self.position = position
        self.pieces: list[str] = []
