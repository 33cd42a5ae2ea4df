"""The finished message: the chunks that were delivered, joined into one non-streamed `chat.completion`."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from everytoken.dialects.openai_chat.lenient import text_of
from everytoken.dialects.openai_chat.merge import MergedList, join_parts, merge_field, plain
from everytoken.dialects.openai_chat.toolcalls import ToolCalls, merge_function
from everytoken.errors import MalformedEventError
from everytoken.json import join_surrogates, loads

__all__ = ["Accumulator"]

_FIRST_COUNTS: Final = frozenset({"created", "id", "model"})
_decode = msgspec.json.Decoder().decode


class Accumulator:
    """Joins the chunks of one response, in linear time."""

    __slots__ = ("_choices", "_fields", "_split_pairs")

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}
        self._split_pairs = False

    def add(self, data: str | bytes) -> None:
        """Take one chunk, as JSON. Raises `MalformedEventError` if it is no JSON object."""
        try:
            chunk = _decode(data)
        except (msgspec.DecodeError, RecursionError):
            chunk = loads(data)
            self._split_pairs = True
        if not isinstance(chunk, dict):
            raise MalformedEventError("a chunk is not an object")
        for name, value in chunk.items():
            if name == "choices":
                for position, item in enumerate(value if isinstance(value, list) else ()):
                    self._add_choice(position, item)
            elif name in _FIRST_COUNTS:
                self._fields[name] = self._fields.get(name) or value
            elif name not in {"object", "obfuscation"}:
                _keep_last(self._fields, name, value)

    def message(self) -> dict[str, Any]:
        """Return the `chat.completion` object so far; a `finish_reason` that has not come is null."""
        fields = {name: value for name, value in self._fields.items() if name != "usage"}
        whole = {
            "id": fields.pop("id", ""),
            "object": "chat.completion",
            "created": fields.pop("created", 0),
            "model": fields.pop("model", ""),
            "choices": [self._choices[index].finished(index) for index in sorted(self._choices)],
            **fields,
        }
        if usage := self._fields.get("usage"):
            whole["usage"] = usage
        return _joined(whole) if self._split_pairs else whole

    def _add_choice(self, position: int, item: Any) -> None:
        if not isinstance(item, dict):
            return
        index = item.get("index")
        index = index if isinstance(index, int) else position
        if index not in self._choices:
            self._choices[index] = _Choice()
        self._choices[index].receive(item)


class _Choice:
    """One choice, growing."""

    __slots__ = ("_calls", "_content", "_fields", "_finish_reason", "_logprobs", "_message", "_role")

    def __init__(self) -> None:
        self._role: str | None = None
        self._content: list[Any] = []
        self._calls = ToolCalls()
        self._message: dict[str, Any] = {}
        self._finish_reason: str | None = None
        self._logprobs: dict[str, dict[str, Any] | None] = {}
        self._fields: dict[str, Any] = {}

    def receive(self, choice: dict[str, Any]) -> None:
        for name, value in choice.items():
            if name == "delta":
                self._receive_delta(value if isinstance(value, dict) else {})
            elif name == "finish_reason":
                if value and value != "null":
                    self._finish_reason = value
            elif name == "logprobs":
                self._receive_logprobs(value)
            elif name != "index":
                _keep_last(self._fields, name, value)

    def finished(self, index: int) -> dict[str, Any]:
        calls = self._calls.finished()
        content = join_parts(self._content) if self._content else None
        message: dict[str, Any] = {"role": self._role or "assistant", "content": content}
        for name, value in self._message.items():
            message[name] = plain(value)
        if calls:
            message["tool_calls"] = calls
        if not content and (calls or message.get("function_call") or message.get("refusal")):
            message["content"] = None
        whole = {"index": index, "message": message, "finish_reason": self._finish_reason}
        if self._logprobs:
            whole["logprobs"] = plain(self._logprobs["logprobs"])
        return whole | self._fields

    def _receive_delta(self, delta: dict[str, Any]) -> None:
        for name, value in delta.items():
            if name == "content":
                self._receive_content(value)
            elif name == "role":
                self._role = self._role or value
            elif name == "tool_calls":
                for fragment in value if isinstance(value, list) else ():
                    if isinstance(fragment, dict):
                        self._calls.receive(fragment)
            elif name == "function_call" and isinstance(value, dict):
                if not isinstance(self._message.get(name), dict):
                    self._message[name] = {}
                merge_function(self._message[name], value)
            else:
                merge_field(self._message, name, value)

    def _receive_content(self, content: Any) -> None:
        if isinstance(content, list):
            self._content.extend(content)
        elif isinstance(content, dict):
            self._content.append(content)
        elif content is not None:
            self._content.append(text_of(content))

    def _receive_logprobs(self, value: Any) -> None:
        if not isinstance(value, dict):
            self._logprobs.setdefault("logprobs", None)
            return
        logprobs = self._logprobs.get("logprobs")
        if logprobs is None:
            logprobs = self._logprobs["logprobs"] = {}
        for name, entries in value.items():
            if not isinstance(entries, list):
                _keep_last(logprobs, name, entries)
                continue
            if not isinstance(logprobs.get(name), MergedList):
                logprobs[name] = MergedList()
            logprobs[name].extend(entries)


def _keep_last(fields: dict[str, Any], name: str, value: Any) -> None:
    """Keep the last value that is not null."""
    if value is not None or name not in fields:
        fields[name] = value


def _joined(value: Any) -> Any:
    """Return `value` with the surrogate pairs joined that were split over two chunks.

    Without recursion: what an upstream may nest has more levels than are left of Python's stack.
    """
    whole = [value]
    places: list[tuple[Any, Any]] = [(whole, 0)]
    while places:
        holder, key = places.pop()
        item = holder[key]
        if isinstance(item, str):
            holder[key] = join_surrogates(item)
        elif isinstance(item, dict):
            holder[key] = copy = dict(item)
            places += [(copy, name) for name in copy]
        elif isinstance(item, list):
            holder[key] = items = list(item)
            places += [(items, number) for number in range(len(items))]
    return whole[0]
