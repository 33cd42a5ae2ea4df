"""Read the events of one attempt, and know a true end from a cut.

Source: Anthropic, "Streaming Messages". An event is known by the `type` in its data; its name only says the same again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.dialects.anthropic_messages.blocks import Blocks, is_tool
from everytoken.dialects.anthropic_messages.events import (
    InputDelta,
    TextDelta,
    check_large,
    decode_delta,
    value_of,
)
from everytoken.dialects.anthropic_messages.halves import Halves
from everytoken.dialects.anthropic_messages.pieces import START, STOP, Own, chunk_of, text_piece
from everytoken.dialects.anthropic_messages.usage import merged
from everytoken.dialects.pieces import Chunk
from everytoken.errors import DivergedError, MalformedEventError, TruncatedError
from everytoken.json import dumps

if TYPE_CHECKING:
    from everytoken.dialects.anthropic_messages.events import TypedDelta
    from everytoken.dialects.anthropic_messages.history import MessagesHistory
    from everytoken.dialects.dialect import Around, Usage
    from everytoken.sse import ServerSentEvent

__all__ = ["MessagesDecoder"]

_SMALL = 512  # characters: not enough for more than 256 levels, which do no harm
_TEXT = re.compile(rb'"text": ?"((?:[^"\\]|\\.)*)"')
_OTHER = "another text"  # tried in the place of an event's own


class MessagesDecoder:
    """Reads one attempt; see `everytoken.dialects.dialect.Decoder`.

    With `first` nothing has been delivered before it. `omits_end`: this upstream is known to send no `stop_reason`, and
    its `message_stop` is believed without.

    `message_delta` and `message_stop` are no chunks: they are kept in the history once both have come, and delivered
    together, so that nobody sees a `stop_reason` of a message that was cut behind it.
    """

    __slots__ = (
        "_blocks",
        "_ending",
        "_first",
        "_halves",
        "_history",
        "_omits_end",
        "_reason",
        "_started",
        "_text_at",
        "done",
        "model",
        "shown_usage",
        "terminal",
        "usage",
    )

    def __init__(self, history: MessagesHistory, *, first: bool, omits_end: bool) -> None:
        self._history = history
        self._first = first
        self._blocks = history.blocks if first else Blocks()
        self._omits_end = omits_end
        self._ending: list[str] = []
        self._reason = False
        self._started: dict[str, Any] | None = None
        self._halves = Halves()
        self._text_at = -1  # the index of the main text while it is read by a first attempt
        self.terminal = False
        self.done = False
        self.shown_usage = False
        self.usage: Usage | None = None
        self.model = ""

    @property
    def holds_half(self) -> bool:
        """Whether half a character is held back."""
        return bool(self._halves)

    def read(self, event: ServerSentEvent) -> str | Chunk | None:
        """Return what an event brings. Raises `ErrorEventError`, `MalformedEventError`, `DivergedError`."""
        data = event.data
        if len(data) > _SMALL:
            check_large(data)
        try:
            typed = decode_delta(data)
        except (msgspec.DecodeError, RecursionError):
            return self._read_other(event)
        delta = typed.delta
        # Nearly every event leaves here: a piece of the main text.
        if typed.index == self._text_at and delta.__class__ is TextDelta and delta.text:
            return delta.text
        return self._read_typed(typed, data)

    def around(self, record: bytes, name: str) -> Around | None:  # noqa: ARG002  # names say nothing
        """Return what stands around the text of a record that `read` took for text alone.

        With any other text there, as the inside of a JSON string, `read` does the same. None if that is not sure.
        """
        found = _TEXT.search(record)
        if found is None:
            return None
        before, after = record[: found.start(1)], record[found.end(1) :]
        try:
            typed, other = decode_delta(record), decode_delta(before + _OTHER.encode() + after)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if typed.index != self._text_at or not isinstance(typed.delta, TextDelta) or not typed.delta.text:
            return None
        if not isinstance(other.delta, TextDelta) or other.delta.text != _OTHER:
            return None
        other.delta.text = typed.delta.text
        return (before, b"", after) if other == typed else None

    def receive_eof(self) -> None:
        """Record that the bytes have ended. Raises `TruncatedError` when that is not a true end."""
        if not self.terminal:
            raise TruncatedError("the stream ended without a message_stop")

    def _read_typed(self, typed: TypedDelta, data: str) -> Chunk | None:
        if self.done:
            return None
        self._check_started()
        block = self._blocks.at(typed.index)
        delta = typed.delta
        if isinstance(delta, TextDelta):
            kind, text = "text_delta", delta.text
        elif isinstance(delta, InputDelta):
            kind, text = "input_json_delta", delta.partial_json
        else:
            kind, text = "thinking_delta", delta.thinking
        pieces = [text_piece(block, kind, text)] if text else []
        return self._joined(Chunk(data, pieces, own=Own(None, block)))

    def _read_other(self, event: ServerSentEvent) -> Chunk | None:
        if self.done:
            return None
        found = value_of(event)
        if found is None:
            return None
        value, record = found
        match value["type"]:
            case "message_start":
                self._start(value)
            case "message_delta":
                self._end(value, record)
                return None
            case "message_stop":
                self._stop(record)
                return None
            case str(kind) if kind.startswith("content_block_"):
                self._check_started()
        chunk = self._joined(chunk_of(value, record, self._blocks))
        return self._placed(chunk, value["type"])

    def _check_started(self) -> None:
        if self._started is None:
            raise MalformedEventError("content came before the message_start")

    def _start(self, value: dict[str, Any]) -> None:
        if self._started is not None:
            raise MalformedEventError("the message starts a second time")
        message = value.get("message")
        self._started = message if isinstance(message, dict) else {}
        model = self._started.get("model")
        self.model = model if isinstance(model, str) else ""

    def _end(self, value: dict[str, Any], data: str) -> None:
        self._check_started()
        self._ending.append(data)
        delta = value.get("delta")
        self._reason = self._reason or bool(isinstance(delta, dict) and delta.get("stop_reason"))
        self.usage = merged(self.usage or (self._started or {}).get("usage"), value.get("usage")) or None

    def _stop(self, data: str) -> None:
        self._check_started()
        self.done = True
        self._text_at = -1
        if not (self._reason or self._omits_end):
            raise TruncatedError("message_stop came without a stop_reason")
        if self._blocks.is_inside_tool():
            raise TruncatedError("message_stop came inside a tool call")
        self._history.ending = [*self._ending, data]
        self.terminal = True

    def _joined(self, chunk: Chunk) -> Chunk:
        """Return the chunk with the halves of surrogate pairs joined that were split over two events."""
        self._halves.join(chunk)
        return chunk

    def _placed(self, chunk: Chunk, kind: str) -> Chunk | None:
        """Follow the main text of a first attempt; of a later one pass over what only begins or ends a block again."""
        own: Own = chunk.own
        block = own.block
        if block is None:
            return chunk
        if self._first:
            if not block.place:
                self._text_at = -1 if block.stopped or self._halves else block.index
            return chunk
        delivered = self._history.blocks.all
        # What begins or ends a block that readers do not have so must not be dropped.
        chunk.ends = kind == STOP
        if block.position >= len(delivered):
            if kind == START:
                chunk.ends = True
                self._map_id(chunk)
            return chunk
        known = delivered[block.position]
        if (block.kind, block.name) != (known.kind, known.name):
            raise DivergedError(
                f"the repeated content block {block.position} is {block.kind!r}, not {known.kind!r}"
            )
        if (kind == START and not chunk.pieces) or (kind == STOP and known.stopped):
            return None
        return chunk

    def _map_id(self, chunk: Chunk) -> None:
        """Have a tool's result name the call by the id that was delivered."""
        own: Own = chunk.own
        assert own.value is not None
        start = own.value["content_block"]
        named = start.get("tool_use_id")
        for block, known in zip(self._blocks.all, self._history.blocks.all, strict=False):
            if named and block.id == named and is_tool(block.kind) and known.id != named:
                own.value = {**own.value, "content_block": {**start, "tool_use_id": known.id}}
                chunk.record = dumps(own.value).decode()
                return
