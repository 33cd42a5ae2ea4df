"""Neutral events, written as the stream of a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everytoken.json import dumps
from everytoken.sse import ServerSentEvent
from everytoken.translation.anthropic_messages.usage import usage_object
from everytoken.translation.events import (
    Arguments,
    Began,
    CallBegan,
    CallEnded,
    Citation,
    Closed,
    Ended,
    Reasoned,
    Refused,
    Sealed,
    Wrote,
)
from everytoken.translation.refusing import untranslatable
from everytoken.translation.text import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.translation.events import NeutralEvent, Reason

__all__ = ["MessagesEventWriter"]

_NAME: Final = "anthropic-messages"
_START: Final = "content_block_start"
_DELTA: Final = "content_block_delta"
_STOP: Final = "content_block_stop"

_REASONS: Final[dict[Reason, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "stop_sequence": "stop_sequence",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
}

_EMPTY: Final[dict[str, dict[str, Any]]] = {
    "text": {"type": "text", "text": ""},
    # A signature that no provider has given stays empty: made up it would be refused in the next request.
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


class MessagesEventWriter:
    """Writes one attempt; see `everytoken.translation.api.EventWriter`.

    One block is written at a time, as Anthropic does, save where pieces of several calls come in turns: then those are
    under way together, each with its index.
    """

    __slots__ = (
        "_calls",
        "_count",
        "_head",
        "_index",
        "_kind",
        "_next",
        "_open",
        "_refused",
        "_sealed",
        "_stops",
    )

    def __init__(self, request: Mapping[str, Any], *, created: int = 0) -> None:  # noqa: ARG002  # messages have no time
        stops = request.get("stop_sequences")
        self._stops: list[Any] = stops if isinstance(stops, list) else []
        self._calls: dict[int, int] = {}  # which call -> the index of its block
        self._open: set[int] = set()  # calls under way
        self._kind = ""  # of the text or thinking block under way, at `_index`
        self._index = -1
        self._next = 0
        self._head = ""  # of a piece of text, "" where no text block is under way
        self._sealed = False
        self._refused = False
        self._count = 0

    def write(self, events: Sequence[NeutralEvent]) -> list[ServerSentEvent]:
        """Return the events. Raises `UntranslatableError` for what they cannot say."""
        # Nearly always it is one more piece of the text under way.
        if len(events) == 1 and self._head and (event := events[0]).__class__ is Wrote:
            self._count += 1
            return [ServerSentEvent(_DELTA, f"{self._head}{quoted(event.text)}}}}}")]
        written: list[ServerSentEvent] = []
        for event in events:
            self._write(event, written)
        return written

    def _write(self, event: NeutralEvent, written: list[ServerSentEvent]) -> None:
        match event:
            case Wrote(text=text):
                self._add("text", text, written)
            case Reasoned(text=text):
                self._add("thinking", text, written)
            case Refused(text=text):
                # There is no other place for it; the `stop_reason` says what it is.
                self._refused = True
                self._add("text", text, written)
            case Arguments(index=index, text=text):
                if index not in self._open:
                    raise untranslatable("arguments behind the end of a call", _NAME)
                self._count += 1
                written.append(_delta(self._calls[index], type="input_json_delta", partial_json=text))
            case CallBegan():
                self._begin_call(event, written)
            case CallEnded(index=index):
                if index in self._open:
                    self._open.remove(index)
                    written.append(_event(_STOP, index=self._calls[index]))
            case Closed():
                self._close(written)
            case Sealed():
                self._seal(event, written)
            case Citation() if not self._head:
                pass  # an empty text would be refused in the next request
            case Citation():
                written.append(_delta(self._index, type="citations_delta", citation=_citation(event)))
            case Began():
                written.append(_event("message_start", message=_message(event)))
            case Ended():
                self._end(event, written)
            case _:
                raise untranslatable(event.field, _NAME)

    def _add(self, kind: str, text: str, written: list[ServerSentEvent]) -> None:
        self._block(kind, written)
        self._count += 1
        written.append(_delta(self._index, type=f"{kind}_delta", **{kind: text}))

    def _block(self, kind: str, written: list[ServerSentEvent]) -> None:
        """Begin a block, unless one of this kind is under way that may grow."""
        if self._kind == kind and not self._sealed:
            return
        self._close(written)
        self._kind = kind
        self._index = self._start(_EMPTY[kind], written)
        if kind == "text":
            self._head = f'{{"type":"{_DELTA}","index":{self._index},"delta":{{"type":"text_delta","text":'

    def _start(self, block: dict[str, Any], written: list[ServerSentEvent]) -> int:
        index = self._next
        self._next += 1
        written.append(_event(_START, index=index, content_block=block))
        return index

    def _close(self, written: list[ServerSentEvent]) -> None:
        if self._kind:
            written.append(_event(_STOP, index=self._index))
        self._kind = self._head = ""
        self._sealed = False

    def _begin_call(self, call: CallBegan, written: list[ServerSentEvent]) -> None:
        if call.custom:
            raise untranslatable("custom tool call", _NAME)
        self._close(written)
        start = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        self._calls[call.index] = self._start(start, written)
        self._open.add(call.index)

    def _seal(self, seal: Sealed, written: list[ServerSentEvent]) -> None:
        self._block("thinking", written)
        self._sealed = True
        written.append(_delta(self._index, type="signature_delta", signature=seal.signature))

    def _end(self, ended: Ended, written: list[ServerSentEvent]) -> None:
        self._close(written)
        written += [_event(_STOP, index=index) for index in sorted(self._calls[call] for call in self._open)]
        reason, sequence = _REASONS[ended.reason], ended.sequence
        if ended.reason == "stop":
            if self._refused:
                reason = "refusal"
            elif self._calls:
                reason = (
                    "tool_use"  # servers of chat say `stop` here; clients of this API run tools by its word
                )
            elif sequence is not None and sequence in self._stops:
                reason = "stop_sequence"
        told = {"stop_reason": reason, "stop_sequence": sequence if reason == "stop_sequence" else None}
        usage = usage_object(ended.usage, written=self._count)
        written += [_event("message_delta", delta=told, usage=usage), _event("message_stop")]


def _message(began: Began) -> dict[str, Any]:
    return {
        "id": began.id if began.id.startswith("msg_") else f"msg_{began.id}",
        "type": "message",
        "role": "assistant",
        "model": began.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},  # what it is comes with the end
    }


def _citation(citation: Citation) -> dict[str, Any]:
    """Return a source as one that was found in the web. What the API's own search would add is empty, not made up."""
    return {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title or None,
        "cited_text": "",
        "encrypted_index": "",
    }


def _delta(index: int, **delta: Any) -> ServerSentEvent:
    return _event(_DELTA, index=index, delta=delta)


def _event(kind: str, **fields: Any) -> ServerSentEvent:
    return ServerSentEvent(kind, dumps({"type": kind, **fields}).decode())
