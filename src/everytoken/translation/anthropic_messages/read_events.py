"""The stream of a message, read into neutral events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everytoken.dialects.anthropic_messages.dialect import ANTHROPIC_MESSAGES
from everytoken.dialects.anthropic_messages.pieces import DELTA, START, STOP
from everytoken.json import dumps, loads
from everytoken.translation.anthropic_messages.usage import usage_in
from everytoken.translation.events import (
    CLOSED,
    Arguments,
    Began,
    CallBegan,
    CallEnded,
    Citation,
    Ended,
    Other,
    Reasoned,
    Sealed,
    Wrote,
)
from everytoken.translation.refusing import untranslatable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.dialects.anthropic_messages.blocks import Block
    from everytoken.dialects.anthropic_messages.pieces import Own
    from everytoken.dialects.pieces import Chunk
    from everytoken.sse import ServerSentEvent
    from everytoken.translation.events import NeutralEvent, Reason

__all__ = ["REASONS", "MessagesEventReader"]

REASONS: Final[dict[str, Reason]] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}

_TEXTS: Final = ("text", "thinking")
_CALL: Final = "tool_use"


class MessagesEventReader:
    """Reads one attempt; see `everytoken.translation.api.EventReader`."""

    __slots__ = (
        "_arguments",
        "_begun",
        "_calls",
        "_current",
        "_decoder",
        "_ended",
        "_history",
        "_notes",
        "_plain",
    )

    def __init__(self, *, omits_end: bool = False) -> None:
        self._history: Any = ANTHROPIC_MESSAGES.history()
        self._decoder = ANTHROPIC_MESSAGES.decoder(None, self._history, first=True, omits_end=omits_end)
        self._calls: dict[int, int] = {}  # position of a block -> which call it is
        self._arguments: dict[int, str | None] = {}  # of calls under way: None once some have come
        self._current: Block | None = None  # whose text or thinking is told
        self._plain = False  # that is the main text
        self._notes: list[Citation] = []
        self._begun = False
        self._ended = False

    @property
    def terminal(self) -> bool:
        """Whether it has said that it is complete."""
        return self._decoder.terminal

    @property
    def over(self) -> bool:
        """Whether it is complete, so that nothing that goes wrong now makes it less so."""
        return self._decoder.terminal

    @property
    def done(self) -> bool:
        """Whether nothing more is to be read."""
        return self._decoder.done

    def read(self, event: ServerSentEvent) -> Sequence[NeutralEvent]:
        """Return what an event brings. Raises what the decoder raises."""
        found = self._decoder.read(event)
        if isinstance(found, str):
            if self._plain:
                return [Wrote(found)]
            events: list[NeutralEvent] = []
            self._turn_to(next(block for block in self._history.blocks.all if block.kind == "text"), events)
            events.append(Wrote(found))
            return events
        if found is None:
            return self._finish() if self._decoder.done and not self._ended else ()
        return self._read(found)

    def receive_eof(self) -> Sequence[NeutralEvent]:
        """Record that the bytes have ended. Raises `TruncatedError`."""
        return () if self._ended else self._finish()

    def _read(self, chunk: Chunk) -> Sequence[NeutralEvent]:
        own: Own = chunk.own
        value, block = own.value, own.block
        events: list[NeutralEvent] = []
        kind = DELTA if value is None else value["type"]
        if block is None:
            if kind == "message_start":
                self._begin(value or {}, events)
            else:
                events += [Other(kind, piece.value) for piece in chunk.pieces]
        elif kind == START:
            self._start(block, chunk, (value or {})["content_block"], events)
        elif kind == STOP:
            self._stop(block, events)
        else:
            self._add(block, chunk, None if value is None else value["delta"], events)
        return events

    def _begin(self, value: dict[str, Any], events: list[NeutralEvent]) -> None:
        message = value["message"]
        identity, model = message.get("id"), message.get("model")
        self._begun = True
        events.append(
            Began(identity if isinstance(identity, str) else "", model if isinstance(model, str) else "")
        )
        if message.get("content"):
            events.append(Other("content", message["content"]))

    def _start(self, block: Block, chunk: Chunk, start: dict[str, Any], events: list[NeutralEvent]) -> None:
        if block.kind in _TEXTS:
            self._turn_to(block, events)
            told = Wrote if block.kind == "text" else Reasoned
            # The halves of surrogate pairs are joined in pieces, as in deltas.
            events += [told(piece.value) for piece in chunk.pieces if piece.kind != "other" and piece.value]
            citations = start.get("citations")
            for citation in citations if isinstance(citations, list) else ():
                self._cite(citation, events)
            self._sign(start.get("signature"), events)
        elif block.kind == "redacted_thinking":
            self._turn_to(None, events)  # see the table of dispositions
        elif block.kind == _CALL:
            self._turn_to(None, events)
            number = self._calls[block.position] = len(self._calls)
            given = start.get("input")
            self._arguments[block.position] = dumps(given).decode() if given else "{}"
            events.append(CallBegan(number, block.id, block.name))
        else:
            events.append(Other(block.kind, start))

    def _add(self, block: Block, chunk: Chunk, delta: Any, events: list[NeutralEvent]) -> None:
        kind = None if delta is None else delta["type"]
        if kind == "citations_delta":
            self._turn_to(block, events)
            self._cite(delta.get("citation"), events)
            return
        if kind == "signature_delta":
            self._turn_to(block, events)
            self._sign(delta.get("signature"), events)
            return
        for piece in chunk.pieces:
            if piece.kind == "other":
                events.append(Other(str(kind), delta))
            elif not piece.value:
                continue
            elif piece.kind == "tool_call":
                if block.position not in self._calls:
                    events.append(Other(block.kind, piece.value))
                    continue
                self._arguments[block.position] = None
                events.append(Arguments(self._calls[block.position], piece.value))
            else:
                self._turn_to(block, events)
                events.append(Wrote(piece.value) if piece.kind == "text" else Reasoned(piece.value))

    def _stop(self, block: Block, events: list[NeutralEvent]) -> None:
        if block.position in self._calls:
            given = self._arguments.pop(block.position)
            number = self._calls[block.position]
            if given is not None:
                events.append(Arguments(number, given))
            events.append(CallEnded(number))
        elif block is self._current:
            self._turn_to(None, events)

    def _turn_to(self, block: Block | None, events: list[NeutralEvent]) -> None:
        """Close the text or the thinking before the one of `block`."""
        if self._current is block and block is not None:
            return
        if self._current is not None:
            events += self._notes
            self._notes.clear()
            events.append(CLOSED)
        self._current = block
        self._plain = block is not None and block.kind == "text" and not block.place

    def _sign(self, signature: Any, events: list[NeutralEvent]) -> None:
        if signature and isinstance(signature, str):
            events.append(Sealed(signature))

    def _cite(self, citation: Any, events: list[NeutralEvent]) -> None:
        """Keep a source until its text is whole: it is one of all of it."""
        url = citation.get("url") if isinstance(citation, dict) else None
        if isinstance(url, str):
            title = citation.get("title")
            self._notes.append(Citation(url, title if isinstance(title, str) else ""))
        else:
            kind = citation.get("type") if isinstance(citation, dict) else None
            events.append(Other(f"citations.{kind}", citation))

    def _finish(self) -> Sequence[NeutralEvent]:
        self._decoder.receive_eof()
        self._ended = True
        events: list[NeutralEvent] = [] if self._begun else [Began("", "")]
        self._turn_to(None, events)
        reason: Any = None
        sequence: Any = None
        for event in self._history.ending:
            delta = loads(event).get("delta")
            if isinstance(delta, dict) and delta.get("stop_reason"):
                reason, sequence = delta["stop_reason"], delta.get("stop_sequence")
        # Without a reason is only an upstream that is known to give none.
        said = REASONS.get(str(reason)) if reason else ("tool_calls" if self._calls else "stop")
        if said is None:
            raise untranslatable(f"stop_reason {str(reason)[:64]}")
        sequence = sequence if isinstance(sequence, str) else None
        events.append(Ended(said, usage_in(self._decoder.usage), sequence))
        return events
