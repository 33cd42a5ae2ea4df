"""An event of a message as the pieces it brings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from everytoken.dialects.anthropic_messages.blocks import Block, Blocks, is_tool
from everytoken.dialects.pieces import Chunk, Piece
from everytoken.errors import MalformedEventError

if TYPE_CHECKING:
    from everytoken.dialects.pieces import Kind

__all__ = ["DELTA", "START", "STOP", "TEXTS", "Own", "chunk_of", "text_piece"]

START: Final = "content_block_start"
DELTA: Final = "content_block_delta"
STOP: Final = "content_block_stop"

_FRAME: Final = frozenset({START, DELTA, STOP, "message_start", "message_delta", "message_stop"})
_IDENTITY: Final = frozenset({"type", "id", "tool_use_id"})
"""Of a block: what is compared by itself, or differs from attempt to attempt."""

TEXTS: Final = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
"""The deltas that add text, and the field it is in."""

_KINDS: Final[dict[str, Kind]] = {"text_delta": "text", "thinking_delta": "reasoning"}


@dataclass(slots=True)
class Own:
    """What the rewriter has to know of an event: what it says (None: not decoded yet), and of which block."""

    value: dict[str, Any] | None
    block: Block | None


def chunk_of(value: dict[str, Any], record: str, blocks: Blocks) -> Chunk:
    """Return what an event brings, and count its block in `blocks`. Raises `MalformedEventError`.

    No chunk `ends` anything here: what ends the message is not among those that are delivered one by one.
    """
    kind = value["type"]
    chunk = Chunk(record, [])
    block: Block | None = None
    if kind == START:
        start = value.get("content_block")
        block = blocks.begin(value.get("index"), start)
        chunk.pieces = _start_pieces(block, start or {})
    elif kind == DELTA:
        block = blocks.at(value.get("index"))
        chunk.pieces = _delta_pieces(block, value.get("delta"))
    elif kind == STOP:
        block = blocks.at(value.get("index"))
        block.stopped = True
    elif kind == "message_start":
        message = value.get("message")
        if not isinstance(message, dict):
            raise MalformedEventError("a message_start has no message")
        if message.get("content"):
            chunk.obstacle = "a message that begins with content cannot be continued faithfully"
    elif kind not in _FRAME:
        rest = {name: item for name, item in value.items() if name not in {"type", "index"}}
        chunk.pieces = [Piece("other", (f"event {kind}",), rest)]
    chunk.own = Own(value, block)
    return chunk


def text_piece(block: Block, kind: str, text: str) -> Piece:
    """Return the piece of a delta that adds text."""
    if kind == "input_json_delta":
        return Piece("tool_call", (block.position, "input"), text)
    return Piece(_KINDS[kind], block.place if kind == "text_delta" else (block.position,), text)


def _start_pieces(block: Block, start: dict[str, Any]) -> list[Piece]:
    pieces: list[Piece] = []
    if is_tool(block.kind):
        pieces += [
            Piece("tool_call", (block.position,), ""),
            Piece("tool_call", (block.position, "name"), block.name),
        ]
    for name, value in start.items():
        if name in _IDENTITY or value is None or value in ("", [], {}):
            continue
        if name == block.kind == "text" or name == block.kind == "thinking":
            pieces.append(text_piece(block, f"{name}_delta", _text(value)))
        elif not (name == "name" and is_tool(block.kind)):
            pieces.append(_other(block, name, value))
    return pieces


def _delta_pieces(block: Block, delta: Any) -> list[Piece]:
    kind = delta.get("type") if isinstance(delta, dict) else None
    if not isinstance(kind, str):
        raise MalformedEventError("a content_block_delta has no delta")
    pieces: list[Piece] = []
    adds = TEXTS.get(kind)
    for name, value in delta.items():
        if name == adds:
            if text := _text(value):
                pieces.append(text_piece(block, kind, text))
        elif name != "type" and value is not None and value not in ("", [], {}):
            known = kind in {"signature_delta", "citations_delta"}
            # A citation is one more of a list, and has to come again as a whole.
            item = [value] if kind == "citations_delta" else value
            pieces.append(_other(block, name if known else f"{kind} {name}", item))
    return pieces


def _other(block: Block, name: str, value: Any) -> Piece:
    return Piece("other", (f"{block.kind} block", block.position, name), value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedEventError("a text of a content block is not a string")
    return value
