"""What of a response has been delivered. Adding a chunk costs the same at any length."""

from __future__ import annotations

import io
from collections import deque
from typing import TYPE_CHECKING, Any

from everytoken.dialects.openai_chat.decoder import MAX_CHOICES
from everytoken.dialects.openai_chat.rewrite import loads
from everytoken.errors import MalformedEventError
from everytoken.recovery.calls import Calls, as_tool_call
from everytoken.recovery.fields import Fields

if TYPE_CHECKING:
    from everytoken.dialects.openai_chat import Choice, Chunk, Delta

__all__ = ["Transcript"]

_LIMIT = 8 * 1024 * 1024  # bytes of all that is kept for comparison; a long answer has less than one MiB
_RECENT = 24  # pieces whose lengths are remembered: enough for the overlap that proves a prefill


class Transcript:
    """Everything delivered of the first choice; texts stand in growing buffers.

    `chunks` counts the records with content. `several`: there were choices besides the first. `parts`: there was
    content in another form than text. `halved`: a record ended inside a surrogate pair, and nothing followed it.
    `first` is the first record of all. `long`: there was more than can be kept for comparison, and some is gone.
    """

    def __init__(self) -> None:
        # UTF-8, with half surrogates where an upstream sends them: a StringIO keeps every piece as an object of its own.
        self._content = bytearray()
        self._reasoning: io.StringIO | None = None  # rare, like the next: many responses are open at a time
        self._refusal: io.StringIO | None = None
        self._recent: deque[int] = deque(maxlen=_RECENT)
        self._identity: dict[str, Any] | None = None
        self.calls = Calls()
        self.fields: Fields | None = None  # whatever else a reader could see
        self._others = 0  # bytes of everything but text
        self.long = False
        self.chunks = 0
        self.several = False
        self.parts = False
        self.halved = False
        self.first: bytes | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """The `id`, `created` and `model` of the first record: those of the response."""
        if self._identity is None:
            if self.first is None:
                return {}
            value = loads(self.first)
            self._identity = {name: value[name] for name in ("id", "created", "model") if name in value}
        return self._identity

    def add(self, choices: list[Choice]) -> bool:
        """Add the choices of a delivered chunk; return whether they carried content."""
        found = False
        for choice in choices:
            delta = choice.delta
            if delta is None:
                continue
            if choice.index:
                if not 0 < choice.index <= MAX_CHOICES:
                    raise MalformedEventError(f"a choice has an index that is not from 0 to {MAX_CHOICES}")
                self.several = True
            content = delta.content
            if content:
                if content.__class__ is not str:
                    content = self._text_of(delta)
                self._content += content.encode("utf-8", "surrogatepass")
                self._recent.append(len(content))
                if len(self._content) > _LIMIT:
                    self._drop()
                found = True
            # The rest is rare; one look tells.
            if (
                delta.reasoning_content
                or delta.reasoning
                or delta.tool_calls
                or delta.refusal
                or delta.function_call
                or delta.others
            ):
                self._add_others(delta)
                found = True
        if found:
            self.chunks += 1
        return found

    def _text_of(self, delta: Delta) -> str:
        self.parts = self.parts or not is_text(delta)
        return delta.text

    def _add_others(self, delta: Delta) -> None:
        reasoning = reasoning_of(delta)
        if reasoning:
            self._reasoning = self._reasoning or io.StringIO()
            self._reasoning.write(reasoning)
        if delta.refusal:
            self._refusal = self._refusal or io.StringIO()
            self._refusal.write(delta.refusal)
        for fragment in delta.tool_calls or ():
            self.calls.add(fragment)
            if fragment.others:
                self._add_fields(fragment.others, ("tool_calls", self.calls.last))
        if delta.function_call is not None:
            self.calls.add(as_tool_call(delta.function_call))
        if delta.others:
            self._add_fields(delta.others, ())
        self._others += len(reasoning) + len(delta.refusal or "") + _size_of_calls(delta)
        if self._others > _LIMIT:
            self._drop()

    def add_chunk(self, chunk: Chunk) -> bool:
        """Add a delivered chunk, also what stands in it beside the deltas; return whether it carried content."""
        found = self.add(chunk.choices or [])
        if not chunk.others:
            return found
        self.fields = self.fields or Fields()
        before = self.fields.size
        for name, value in chunk.others.items():
            self.fields.add_whole(name, value)
        self._others += self.fields.size - before
        self.chunks += not found
        return True

    def _add_fields(self, others: dict[str, Any], place: tuple[str | int, ...]) -> None:
        self.fields = self.fields or Fields()
        before = self.fields.size
        for name, value in others.items():
            self.fields.add(name, value, place=place)
        self._others += self.fields.size - before

    def _drop(self) -> None:
        """Forget what has been delivered: it is too long to be compared, and must not fill the memory."""
        self.long = True
        self._content = bytearray()
        self._reasoning = self._refusal = None
        self.calls = Calls()
        self.fields = None
        self._others = 0

    @property
    def text(self) -> str:
        """The text delivered so far."""
        return self._content.decode("utf-8", "surrogatepass")

    @property
    def reasoning(self) -> str:
        """The reasoning delivered so far."""
        return self._reasoning.getvalue() if self._reasoning else ""

    @property
    def refusal(self) -> str:
        """The refusal delivered so far."""
        return self._refusal.getvalue() if self._refusal else ""

    @property
    def text_only(self) -> bool:
        """Whether what was delivered is text and nothing else."""
        return not (self.reasoning or self.refusal or len(self.calls) or self.fields)

    def overlap(self, wanted: int, least: int) -> tuple[int, int]:
        """Return how many characters to hold back at the end, so that a continuation can prove itself by them.

        And how many pieces these were. About `wanted` characters, cut where a piece ended, never the whole text; none
        where not even `least` can be had.
        """
        length = len(self.text)
        held = pieces = 0
        for size in reversed(self._recent):
            if held >= wanted or held + size >= length:
                break
            held += size
            pieces += 1
        held = held or length // 2
        return (held, pieces) if held >= least else (0, 0)


_CALL = 512  # bytes that a fragment of a tool call may cost beside its text


def _size_of_calls(delta: Delta) -> int:
    size = 0
    for fragment in delta.tool_calls or ():
        size += _CALL if fragment.id or fragment.name else 0
        size += len(fragment.arguments) + len(fragment.name)
    if delta.function_call is not None:
        size += len(delta.function_call.arguments or "") + len(delta.function_call.name or "")
    return size


def reasoning_of(delta: Delta) -> str:
    """Return the reasoning in a delta; servers that send both names send the same text twice."""
    return delta.reasoning_content or delta.reasoning or ""


def is_text(delta: Delta) -> bool:
    """Whether all content of a delta is text, also where it comes as a list of parts."""
    content = delta.content
    if not isinstance(content, list):
        return True
    return all(
        isinstance(part, str) or (isinstance(part, dict) and part.get("type") == "text") for part in content
    )
