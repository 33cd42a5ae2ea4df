"""The events of one attempt: nearly all are a piece of text and leave at once, the rest is read as chat completions are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from everytoken.dialects.openai_chat.decoder import SMALL, check_large
from everytoken.dialects.openai_chat.message import Accumulator
from everytoken.dialects.openai_chat.pieces import ChatHistory, ChatRewriter
from everytoken.dialects.openai_chat.reader import ChatReader
from everytoken.dialects.openai_completions.chunks import as_chat, as_completion, whole_as_completion
from everytoken.dialects.pieces import Chunk
from everytoken.sse import ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.dialects.pieces import New

__all__ = ["CompletionsAccumulator", "CompletionsHistory", "CompletionsReader", "CompletionsRewriter"]

_NONE = msgspec.Raw()


class _Choice(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    text: str
    index: Literal[0] = 0
    logprobs: None = None
    finish_reason: None = None
    stop_reason: None = None
    token_ids: None = None
    prompt_token_ids: None = None
    prompt_logprobs: None = None
    content_filter_results: msgspec.Raw = _NONE


class _Piece(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A chunk that is a piece of the text and nothing else."""

    object: Literal["text_completion"]
    choices: tuple[_Choice]
    id: msgspec.Raw = _NONE
    created: msgspec.Raw = _NONE
    model: msgspec.Raw = _NONE
    system_fingerprint: msgspec.Raw = _NONE
    service_tier: msgspec.Raw = _NONE
    provider: msgspec.Raw = _NONE
    obfuscation: msgspec.Raw = _NONE
    timings: msgspec.Raw = _NONE
    usage: None = None


_decode = msgspec.json.Decoder(_Piece).decode


class CompletionsReader(ChatReader):
    """Reads one attempt; see `everytoken.dialects.dialect.Decoder`. `[DONE]` is an end, also without a finish reason."""

    __slots__ = ()

    def __init__(self, request: Any, history: CompletionsHistory, *, first: bool, usage: bool) -> None:
        super().__init__(request, history, first=first, usage=usage, omits_finish_reason=True)

    def read(self, event: ServerSentEvent) -> str | Chunk | None:
        """Return what an event brings. Raises `ErrorEventError`, `MalformedEventError`."""
        data = event.data
        if len(data) > SMALL:
            check_large(data)
        if self._first and not self._special and event.event == "message":
            try:
                text = _decode(data).choices[0].text
            except (msgspec.DecodeError, RecursionError):
                text = ""
            if text:
                return text
        chat = as_chat(data)
        found = super().read(ServerSentEvent(event.event, chat))
        if isinstance(found, Chunk):
            found.record = data if found.record == chat else as_completion(found.record).decode()
        return found


class CompletionsHistory(ChatHistory):
    """What has finished of the records that were `read`."""

    __slots__ = ()

    def read(self, record: bytes) -> Chunk:
        """Return a delivered record as a chunk, and count it as delivered."""
        raw = record.decode("utf-8", "surrogatepass")
        chunk = super().read(as_chat(raw).encode("utf-8", "surrogatepass"))
        chunk.record = raw
        return chunk


class CompletionsRewriter:
    """Gives a later attempt's chunks the identity of the response."""

    def __init__(self, history: CompletionsHistory, first: bytes | None) -> None:
        self._chat = ChatRewriter(history, first)

    def join(self, chunk: Chunk) -> bytes:
        """Return the chunk with the response's identity."""
        chat = as_chat(chunk.record)
        return _as_it_came(self._chat.join(replace(chunk, record=chat)), chat, chunk)

    def cut(self, chunk: Chunk, news: Sequence[New]) -> bytes:
        """Return the chunk with nothing but `news`."""
        chat = as_chat(chunk.record)
        return _as_it_came(self._chat.cut(replace(chunk, record=chat), news), chat, chunk)


def _as_it_came(told: bytes, chat: str, chunk: Chunk) -> bytes:
    """Return a chunk of a chat completion as a completion's, unless the server sends those, as Mistral's FIM does."""
    return told if chat == chunk.record else as_completion(told)


class CompletionsAccumulator:
    """Joins the records of a response into a completion in one piece."""

    def __init__(self) -> None:
        self._chat = Accumulator()

    def add(self, record: bytes) -> None:
        """Add the next record."""
        self._chat.add(as_chat(record.decode("utf-8", "surrogatepass")))

    def message(self) -> dict[str, Any]:
        """Return the response as far as it has come."""
        return whole_as_completion(self._chat.message())
