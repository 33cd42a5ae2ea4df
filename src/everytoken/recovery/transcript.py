"""What of a response has been delivered, and how a further attempt is laid against it, byte for byte."""

from __future__ import annotations

import io
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.chat import ToolCallDelta

if TYPE_CHECKING:
    from everytoken.chat import Choice, FunctionDelta

__all__ = ["Calls", "Transcript", "as_tool_call", "text_of"]

_RECENT = 24  # pieces remembered at their boundaries: enough for the overlap that proves a prefill


def text_of(content: str | list[Any] | None) -> str:
    """Return the text of a delta's content, which some servers send as a list of parts."""
    if isinstance(content, str):
        return content
    if not content:
        return ""
    return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))


class Calls:
    """Tool calls in the order they began; finds the call that a fragment belongs to.

    `index` is the key where it is sent; without it a new `id` begins a new call, and no `id` goes on with the last.
    """

    def __init__(self) -> None:
        self.names: list[io.StringIO] = []
        self.arguments: list[io.StringIO] = []
        self._by_index: dict[int, int] = {}
        self._by_id: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def position(self, fragment: ToolCallDelta) -> int:
        """Return the position of the call `fragment` belongs to, beginning a new one where it is due."""
        if fragment.index is not None:
            known = self._by_index.get(fragment.index)
            if known is None:
                known = self._begin()
                self._by_index[fragment.index] = known
            return known
        if fragment.id:
            known = self._by_id.get(fragment.id)
            if known is None:
                known = self._begin()
                self._by_id[fragment.id] = known
            return known
        return len(self.names) - 1 if self.names else self._begin()

    def _begin(self) -> int:
        self.names.append(io.StringIO())
        self.arguments.append(io.StringIO())
        return len(self.names) - 1

    def add(self, fragment: ToolCallDelta) -> None:
        """Add a delivered fragment."""
        position = self.position(fragment)
        if fragment.function is not None:
            self.names[position].write(fragment.function.name or "")
            self.arguments[position].write(fragment.function.arguments or "")


class Transcript:
    """Everything delivered of the first choice. Text is kept in growing buffers: adding costs the same at any length.

    `chunks` counts the records with content; `first` is the first record of all.
    """

    def __init__(self) -> None:
        self._content = io.StringIO()
        self._reasoning = io.StringIO()
        self._refusal = io.StringIO()
        self.calls = Calls()
        self.recent: deque[int] = deque(maxlen=_RECENT)
        self.chunks = 0
        self.several = False
        self.first: bytes | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """The `id`, `created` and `model` of the first record: those of the response."""
        value: dict[str, Any] = msgspec.json.decode(self.first) if self.first is not None else {}
        return {name: value[name] for name in ("id", "created", "model") if name in value}

    def add(self, choices: list[Choice]) -> bool:
        """Add the choices of a delivered chunk; return whether they carried content."""
        found = False
        for choice in choices:
            delta = choice.delta
            if delta is None:
                continue
            if choice.index:
                self.several = True
            content = delta.content
            if content:
                if content.__class__ is not str:
                    content = text_of(content)
                self._content.write(content)
                self.recent.append(len(content))
                found = True
            elif delta.has_content:
                found = True
            if delta.reasoning_content or delta.reasoning:
                self._reasoning.write(delta.reasoning_content or delta.reasoning or "")
                found = True
            if delta.refusal:
                self._refusal.write(delta.refusal)
            if delta.tool_calls:
                for fragment in delta.tool_calls:
                    self.calls.add(fragment)
                found = True
            if delta.function_call is not None:
                self.calls.add(as_tool_call(delta.function_call))
        if found:
            self.chunks += 1
        return found

    @property
    def text(self) -> str:
        """The text delivered so far."""
        return self._content.getvalue()

    @property
    def reasoning(self) -> str:
        """The reasoning delivered so far."""
        return self._reasoning.getvalue()

    @property
    def refusal(self) -> str:
        """The refusal delivered so far."""
        return self._refusal.getvalue()

    @property
    def text_only(self) -> bool:
        """Whether what was delivered is text of a single choice and nothing else."""
        return not (self.several or self.reasoning or self.refusal or len(self.calls))

    def overlap(self, least: int) -> int:
        """Return how many characters to hold back at the end so that a continuation can prove itself by them.

        At least `least` where the text is long enough, ending where a piece ended, never the whole text.
        """
        length = self._content.tell()
        held = 0
        for size in reversed(self.recent):
            if held >= least or held + size >= length:
                break
            held += size
        return held or length // 2


def as_tool_call(function: FunctionDelta) -> ToolCallDelta:
    """Return the old `function_call` form as the first tool call."""
    return ToolCallDelta(index=0, function=function)
