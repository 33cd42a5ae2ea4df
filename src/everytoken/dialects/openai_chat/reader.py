"""The events of one attempt as the core sees them: most add a little text, and leave at once."""

from __future__ import annotations

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
    from everytoken.dialects.openai_chat.pieces import ChatHistory
    from everytoken.dialects.openai_chat.request import ChatRequest
    from everytoken.sse import ServerSentEvent

__all__ = ["ChatReader"]

_EMPTY = (b"", b"null", b"[]")


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
        choices = chunk.choices
        # Nearly every chunk leaves here: nothing about it but a piece of text.
        if (
            choices
            and self._first
            and not self._special
            and len(choices) == 1
            and chunk.object == CHUNK_OBJECT
            and chunk.usage is None
            and chunk.error is None
            and event.event == "message"
            and not chunk.odd
        ):
            choice = choices[0]
            delta = choice.delta
            if delta is not None and not choice.finish_reason and choice.error is None and not choice.index:
                content = delta.content
                if (
                    content
                    and content.__class__ is str
                    and not (
                        delta.reasoning_content
                        or delta.reasoning
                        or delta.tool_calls
                        or delta.refusal
                        or delta.function_call
                        or delta.others
                    )
                ):
                    return content
        return self._present(self.receive_typed(event, chunk), data)

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
