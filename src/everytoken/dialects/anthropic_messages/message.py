"""The finished message: the events that were delivered, joined into what a caller gets who does not stream."""

from __future__ import annotations

from typing import Any, Final

from everytoken.dialects.anthropic_messages.usage import merged
from everytoken.errors import MalformedEventError
from everytoken.json import join_surrogates, loads

__all__ = ["Accumulator"]

_TEXTS: Final = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "input"}
_PARTS: Final = ("delta", "usage", "type")

_INVALID: Final = "INVALID_JSON"
"""The key under which input that is no JSON is kept, as Anthropic's "Fine-grained tool streaming" advises."""


class Accumulator:
    """Joins the events of one message, in linear time, by the rules of Anthropic's own SDKs."""

    __slots__ = ("_blocks", "_message")

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._blocks: dict[int, _Block] = {}

    def add(self, record: bytes) -> None:
        """Add the next event. Raises `MalformedEventError` if it is no JSON object."""
        value = loads(record)
        if not isinstance(value, dict):
            raise MalformedEventError("an event is not an object")
        match value.get("type"):
            case "message_start":
                self._message = dict(value.get("message") or {})
                for start in self._message.pop("content", None) or ():
                    self._blocks[len(self._blocks)] = _Block(start)
            case "content_block_start":
                self._blocks[value["index"]] = _Block(value["content_block"])
            case "content_block_delta":
                self._blocks[value["index"]].add(value["delta"])
            case "message_delta":
                self._message |= value.get("delta") or {}
                self._message |= {name: item for name, item in value.items() if name not in _PARTS}
                self._message["usage"] = merged(self._message.get("usage"), value.get("usage"))

    def message(self) -> dict[str, Any]:
        """Return the message so far; a `stop_reason` that has not come is null."""
        rest = dict(self._message)
        return {
            "id": rest.pop("id", ""),
            "type": rest.pop("type", "message"),
            "role": rest.pop("role", "assistant"),
            "model": rest.pop("model", ""),
            "content": [self._blocks[index].finished() for index in sorted(self._blocks)],
            "stop_reason": rest.pop("stop_reason", None),
            "stop_sequence": rest.pop("stop_sequence", None),
            **rest,
        }


class _Block:
    """One content block, growing."""

    __slots__ = ("_citations", "_start", "_texts")

    def __init__(self, start: dict[str, Any]) -> None:
        self._start = dict(start)
        self._texts: dict[str, list[str]] = {}
        self._citations: list[Any] = []

    def add(self, delta: dict[str, Any]) -> None:
        kind = delta["type"]
        if (name := _TEXTS.get(kind)) is not None:
            self._texts.setdefault(name, []).append(delta["partial_json" if name == "input" else name])
        elif kind == "citations_delta":
            self._citations.append(delta["citation"])
        elif kind == "signature_delta":
            self._start["signature"] = delta["signature"]
        else:
            self._grow(delta)

    def _grow(self, delta: dict[str, Any]) -> None:
        """Add a delta that we do not know: text grows, everything else is replaced."""
        for name, value in delta.items():
            known = self._start.get(name)
            if name != "type":
                self._start[name] = (
                    known + value if isinstance(known, str) and isinstance(value, str) else value
                )

    def finished(self) -> dict[str, Any]:
        whole = dict(self._start)
        for name, parts in self._texts.items():
            text = "".join(parts)
            if name == "input":
                if text:
                    whole[name] = _input(text)
            else:
                whole[name] = join_surrogates((whole.get(name) or "") + text)
        if self._citations:
            whole["citations"] = [*(whole.get("citations") or ()), *self._citations]
        return whole


def _input(text: str) -> Any:
    try:
        return loads(text)
    except MalformedEventError:
        return {_INVALID: join_surrogates(text)}
