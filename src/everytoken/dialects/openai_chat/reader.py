"""The events of one attempt as the core sees them: most add a little text, and leave at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from everytoken.dialects.openai_chat.calls import Calls
from everytoken.dialects.openai_chat.chunk import Chunk as TypedChunk
from everytoken.dialects.openai_chat.chunk import Delta
from everytoken.dialects.openai_chat.decoder import (
    CHUNK_OBJECT,
    SMALL,
    ChatDecoder,
    check_large,
    decode_chunk,
    decode_typed,
)
from everytoken.dialects.openai_chat.pieces import chunk_from
from everytoken.dialects.openai_chat.rewrite import loads, says_more, with_choice, with_deltas
from everytoken.dialects.pieces import Chunk

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Around
    from everytoken.dialects.openai_chat.pieces import ChatHistory
    from everytoken.dialects.openai_chat.request import ChatRequest
    from everytoken.sse import ServerSentEvent

__all__ = ["ChatReader"]

_EMPTY = (b"", b"null", b"[]")
_CONTENT = re.compile(rb'"content": ?"((?:[^"\\]|\\.)*)"')
_PADDING = re.compile(
    rb'"obfuscation": ?"([^"\\]*)"'
)  # what hides how long a text is, in OpenAI's own streams
_OTHER = "another text"  # tried in the place of a chunk's own


class ChatReader(ChatDecoder):
    """Reads one attempt; see `everytoken.dialects.dialect.Decoder`.

    With `first` nothing has been delivered before it. `usage`: whether readers see chunks without choices, which is
    where usage comes.
    """

    __slots__ = ("_calls", "_first", "_usage", "shown_usage")

    def __init__(
        self,
        request: ChatRequest,
        history: ChatHistory,
        *,
        first: bool,
        usage: bool,
        omits_finish_reason: bool,
    ) -> None:
        super().__init__(choices=request.choices, omits_finish_reason=omits_finish_reason, progress=history)
        self._first = first
        self._calls = history.calls if first else Calls()
        self._usage = usage
        self.shown_usage = False

    def read(self, event: ServerSentEvent) -> str | Chunk | None:
        """Return what an event brings. Raises `ErrorEventError`, `MalformedEventError`."""
        data = event.data
        if len(data) > SMALL:
            check_large(data)
        try:
            chunk = decode_typed(data)
        except (msgspec.DecodeError, RecursionError):
            return self._present(self.receive_odd(event), data)
        # Nearly every chunk leaves here: nothing about it but a piece of text.
        if self._first and not self._special and event.event == "message" and (text := _text_alone(chunk)):
            return text
        return self._present(self.receive_typed(event, chunk), data)

    def around(self, record: bytes, name: str) -> Around | None:
        """Return what stands around the text of a record that `read` took for text alone; `name` is that of its event.

        With any other text there, as the inside of a JSON string, and any padding, `read` does the same. None if that is not
        sure.
        """
        found = _CONTENT.search(record)
        if found is None or not self._first or self._special or name != "message":
            return None
        before, between, after = record[: found.start(1)], b"", record[found.end(1) :]
        padding = _PADDING.search(record, found.end(1))
        if padding is not None:
            between, after = record[found.end(1) : padding.start(1)], record[padding.end(1) :]
        try:
            chunk = decode_typed(record)
            other = decode_typed(before + _OTHER.encode() + between + b"x" * bool(between) + after)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        text = _text_alone(chunk)
        if text is None or _text_alone(other) != _OTHER:
            return None
        assert other.choices
        assert other.choices[0].delta
        other.choices[0].delta.content = text
        if padding is not None and bytes(other.obfuscation) == b'"x"':
            other.obfuscation = chunk.obfuscation
        return (before, between, after) if other == chunk else None

    def _present(self, chunk: TypedChunk | None, raw: str) -> Chunk | None:
        """Return a chunk in a form that a client's `chunk.choices[0].delta.content` works on; None for nothing."""
        if chunk is None:
            return None
        if not chunk.choices:
            return self._without_choices(chunk, raw)
        if not chunk.presentable:
            ends = any(choice.finish_reason for choice in chunk.choices)
            if not (chunk.has_content or chunk.alive or ends or (self._first and says_more(raw))):
                return None
            raw = with_deltas(raw)
            for choice in chunk.choices:
                choice.delta = choice.delta or Delta()
        return chunk_from(chunk, raw, self._calls, several=self._first)

    def _without_choices(self, chunk: TypedChunk, raw: str) -> Chunk | None:
        """Take a chunk without choices, which only those see who asked for usage.

        What else it has is for everybody, so a choice is put into it.
        """
        # Elsewhere than at its top nobody would find it.
        shown = self._usage and chunk.usage is not None and bool(loads(raw).get("usage"))
        self.shown_usage = self.shown_usage or shown
        if chunk.others or chunk.alive or bytes(chunk.prompt_filter_results) not in _EMPTY:
            raw = with_choice(raw, usage=shown)
            return self._present(decode_chunk(raw), raw)
        return Chunk(raw, [], own=chunk) if self._usage else None


def _text_alone(chunk: TypedChunk) -> str | None:
    """Return the text of a chunk that has nothing else for anybody; None of any other."""
    choices = chunk.choices
    if (
        not choices
        or len(choices) != 1
        or chunk.object != CHUNK_OBJECT
        or chunk.usage is not None
        or chunk.error is not None
        or chunk.odd
    ):
        return None
    choice = choices[0]
    delta = choice.delta
    if delta is None or choice.finish_reason or choice.error is not None or choice.index:
        return None
    content = delta.content
    if (
        not content
        or content.__class__ is not str
        or delta.reasoning_content
        or delta.reasoning
        or delta.tool_calls
        or delta.refusal
        or delta.function_call
        or delta.others
    ):
        return None
    return content
