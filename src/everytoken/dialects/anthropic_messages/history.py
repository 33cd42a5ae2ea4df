"""What was delivered of a message, and how a later attempt's events are made to continue it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.dialects.anthropic_messages.blocks import Blocks
from everytoken.dialects.anthropic_messages.pieces import DELTA, TEXTS, chunk_of
from everytoken.dialects.anthropic_messages.usage import merged
from everytoken.errors import DivergedError
from everytoken.json import dumps, loads
from everytoken.json.bounds import storable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.dialects.anthropic_messages.blocks import Block
    from everytoken.dialects.anthropic_messages.pieces import Own
    from everytoken.dialects.anthropic_messages.request import MessagesRequest
    from everytoken.dialects.pieces import Chunk, New

__all__ = ["MessagesHistory", "MessagesRewriter"]


class MessagesHistory:
    """The blocks delivered so far.

    `ending`: the events that ended the attempt that completed, from its `message_delta` on; they are delivered last, and
    together. `ended`, `stopped`: whether `message_delta` and `message_stop` are among the records that were `read`, and
    `usage` is what they tell.
    """

    __slots__ = ("_started", "blocks", "ended", "ending", "stopped", "usage")

    def __init__(self) -> None:
        self.blocks = Blocks()
        self.ending: list[str] = []
        self.ended = False
        self.stopped = False
        self.usage: dict[str, Any] | None = None
        self._started: Any = None

    @property
    def is_closed(self) -> bool:
        """Whether nothing is missing behind the records that were read."""
        return self.stopped

    def read(self, record: bytes) -> Chunk:
        """Return a delivered record as a chunk, and count it as delivered."""
        value = loads(record)
        chunk = chunk_of(value, record.decode("utf-8", "surrogatepass"), self.blocks)
        match value["type"]:
            case "message_start":
                self._started = value["message"].get("usage")
            case "message_delta":
                self.ended = True
                self.usage = storable(merged(self._started, value.get("usage"))) or None
            case "message_stop":
                self.stopped = True
        return chunk

    def is_complete(self, request: MessagesRequest) -> bool:  # noqa: ARG002  # `History` has it
        """Whether what was read is a whole message: its `message_delta` is stored once its `message_stop` has come."""
        return self.ended


class MessagesRewriter:
    """Gives a later attempt's events the indices of the message, and lets nothing into a block that has ended."""

    def __init__(self, history: MessagesHistory) -> None:
        self._blocks = history.blocks

    def join(self, chunk: Chunk) -> bytes:
        """Return the event with the index of its block. Raises `DivergedError`."""
        own: Own = chunk.own
        if own.block is None:
            return chunk.record.encode("utf-8", "surrogatepass")
        index = self._index(own.block)
        if index == own.block.index:
            return chunk.record.encode("utf-8", "surrogatepass")
        return dumps({**_value(chunk), "index": index})

    def cut(self, chunk: Chunk, news: Sequence[New]) -> bytes:
        """Return the event with nothing but `news`. Raises `DivergedError` where only a part of a value is new."""
        own: Own = chunk.own
        whole = True
        for piece, (value, is_new) in zip(chunk.pieces, news, strict=True):
            same = value == piece.value if piece.kind != "other" else _said(value) == _said(piece.value)
            whole = whole and same
            if is_new and not same and piece.kind == "other":
                raise DivergedError(f"the repeated {piece.place[0]} differs in a part")
        is_new_block = own.block is not None and own.block.position >= len(self._blocks.all)
        if whole or is_new_block:
            return self.join(chunk)
        value = _value(chunk)
        if own.block is None or value["type"] != DELTA:
            raise DivergedError("a part of the repeated message differs")
        delta = dict(value["delta"])
        for piece, (new, _) in zip(chunk.pieces, news, strict=True):
            if piece.kind != "other":
                delta[TEXTS[delta["type"]]] = new
            elif new is None:
                delta.pop(str(piece.place[-1]).rpartition(" ")[2], None)
        return dumps({**value, "delta": delta, "index": self._index(own.block)})

    def _index(self, block: Block) -> int:
        """Return the index to send: that of the delivered block, or the next ones behind them."""
        delivered = self._blocks.all
        if block.position >= len(delivered):
            return delivered[-1].index + block.position - len(delivered) + 1 if delivered else block.index
        if delivered[block.position].stopped:
            raise DivergedError(f"the repeated content block {block.position} is longer")
        return delivered[block.position].index


def _value(chunk: Chunk) -> dict[str, Any]:
    own: Own = chunk.own
    if own.value is None:
        own.value = loads(chunk.record)
    assert own.value is not None
    return own.value


def _said(value: Any) -> Any:
    """Return a value without what says nothing."""
    if isinstance(value, dict):
        said = {name: _said(item) for name, item in value.items()}
        return {name: item for name, item in said.items() if item is not None} or None
    if isinstance(value, list):
        return [_said(item) for item in value] or None
    return None if value == "" else value
