"""The content blocks of a message, in the order in which they began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.dialects.pieces import MAIN
from everytoken.errors import MalformedEventError

if TYPE_CHECKING:
    from everytoken.dialects.pieces import Place

__all__ = ["Block", "Blocks", "is_tool"]

_MAX_BLOCKS = 4096  # far more than any answer has
_MAX_WORD = 1024  # characters of a type, a name or an id


def is_tool(kind: str) -> bool:
    """Whether blocks of a type call a tool: `tool_use`, `server_tool_use`, `mcp_tool_use`."""
    return kind.endswith("tool_use")


class Block:
    """One block: what its `content_block_start` says it is. `index` as its events carry it; `place` that of its text."""

    __slots__ = ("id", "index", "kind", "name", "place", "position", "stopped")

    def __init__(self, position: int, index: int, start: dict[str, Any], place: Place) -> None:
        self.position = position
        self.index = index
        self.kind = _word(start, "type")
        self.name = _word(start, "name") if is_tool(self.kind) else ""
        self.id = _word(start, "id")
        self.place = place
        self.stopped = False


class Blocks:
    """The blocks that have begun. Raises `MalformedEventError` for events in an order that no client can read."""

    __slots__ = ("_by_index", "all")

    def __init__(self) -> None:
        self.all: list[Block] = []
        self._by_index: dict[int, Block] = {}

    def begin(self, index: Any, start: Any) -> Block:
        """Add the block that a `content_block_start` begins."""
        if not isinstance(start, dict):
            raise MalformedEventError("a content_block_start has no content_block")
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise MalformedEventError("a content block has no index")
        if index in self._by_index:
            raise MalformedEventError(f"content block {index} begins twice")
        if len(self.all) >= _MAX_BLOCKS:
            raise MalformedEventError(f"the message has more than {_MAX_BLOCKS} content blocks")
        position = len(self.all)
        # The first text is what nearly all messages consist of.
        is_main = start.get("type") == "text" and not any(block.kind == "text" for block in self.all)
        block = Block(position, index, start, MAIN if is_main else (position,))
        self.all.append(block)
        self._by_index[index] = block
        return block

    def at(self, index: Any) -> Block:
        """Return the block under way at an index."""
        block = self._by_index.get(index) if isinstance(index, int) else None
        if block is None or block.stopped:
            raise MalformedEventError("an event belongs to a content block that is not under way")
        return block

    def is_inside_tool(self) -> bool:
        """Whether a tool call has begun and not ended."""
        return any(is_tool(block.kind) and not block.stopped for block in self.all)


def _word(start: dict[str, Any], name: str) -> str:
    value = start.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _MAX_WORD:
        raise MalformedEventError(f"the {name} of a content block is no short text")
    return value
