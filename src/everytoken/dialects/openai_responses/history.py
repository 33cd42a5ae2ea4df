"""Where the events of a response belong: its items in order, their parts, their numbers.

Every event but those that tell of the response as a whole becomes a piece, so that a repetition is compared event by event:
text as text, everything else by a digest of what it says. Identity (ids, numbers) is no content: another attempt has other
ids for the same answer. Nor is what is encrypted, which nobody can compare.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from everytoken.dialects.pieces import MAIN, Chunk, Piece
from everytoken.errors import MalformedEventError
from everytoken.json import dumps, loads
from everytoken.json.bounds import MAX_UPSTREAM_DEPTH, storable

if TYPE_CHECKING:
    from everytoken.dialects.pieces import Kind, Place

__all__ = ["LIFECYCLE", "TERMINAL", "TEXT_DELTA", "Item", "ResponsesHistory", "Seen", "object_in"]

TEXT_DELTA: Final = "response.output_text.delta"
TERMINAL: Final = frozenset({"response.completed", "response.incomplete"})
LIFECYCLE: Final = frozenset({"response.created", "response.queued", "response.in_progress"}) | TERMINAL

_MAX_INDEX: Final = 100_000
_ADDED: Final = "response.output_item.added"
_DONE: Final = "response.output_item.done"

# The text that an event continues: its kind, and the fields that say where.
_TEXTS: Final[dict[str, tuple[Kind, tuple[str, ...]]]] = {
    TEXT_DELTA: ("text", ("output_index", "content_index")),
    "response.refusal.delta": ("refusal", ("output_index", "content_index")),
    "response.reasoning_text.delta": ("reasoning", ("output_index", "content_index")),
    "response.reasoning_summary_text.delta": ("reasoning", ("output_index", "summary_index")),
    "response.function_call_arguments.delta": ("tool_call", ("output_index",)),
    "response.custom_tool_call_input.delta": ("tool_call", ("output_index",)),
}

# Events of these kinds are about a part of an item; some servers leave its number out.
_OF_A_PART: Final = {
    **dict.fromkeys(
        (
            *(
                "response.content_part.added",
                "response.content_part.done",
                "response.output_text.annotation.added",
            ),
            *("response.output_text.done", "response.refusal.done", "response.reasoning_text.done"),
            *(TEXT_DELTA, "response.refusal.delta", "response.reasoning_text.delta"),
        ),
        "content_index",
    ),
    **dict.fromkeys(
        (
            *("response.reasoning_summary_part.added", "response.reasoning_summary_part.done"),
            *("response.reasoning_summary_text.delta", "response.reasoning_summary_text.done"),
        ),
        "summary_index",
    ),
}
_BEGINS_A_PART: Final = frozenset({"response.content_part.added", "response.reasoning_summary_part.added"})

# What only opens or closes a place. The answer itself comes in between.
_FRAMES: Final = frozenset(
    {
        *("response.content_part.added", "response.content_part.done", "response.output_text.done"),
        *("response.refusal.done", "response.reasoning_text.done", "response.reasoning_summary_text.done"),
        *("response.reasoning_summary_part.added", "response.reasoning_summary_part.done"),
        *("response.function_call_arguments.done", "response.custom_tool_call_input.done"),
    }
)
_FRAMED_ITEMS: Final = frozenset({"message", "reasoning"})

# What differs between two attempts at the same answer, or cannot be compared.
_NO_CONTENT: Final = frozenset(
    {
        *("id", "item_id", "call_id", "response_id", "sequence_number", "created_at"),
        *("encrypted_content", "obfuscation", "logprobs"),
    }
)
# Of an item that begins, what a reader can act on. The rest is filled in later, or is the server's habit.
_OF_A_BEGINNING: Final = ("type", "name", "arguments", "input")
_FAILED_TO_SAY_WHERE: Final = "an event says of which item it is in a way that cannot be read"


@dataclass(slots=True)
class Item:
    """An item of the output as far as it has come. `encrypted`: its encrypted content, None without any."""

    id: Any
    call_id: Any
    kind: str
    parts: int = 0
    done: bool = False
    encrypted: Any = None


class Seen(NamedTuple):
    """What an event brings. `frame`: it only opens or closes a place. `changed`: a field was added to it."""

    pieces: list[Piece]
    frame: bool = False
    changed: bool = False


class ResponsesHistory:
    """The items and parts that have come, the number of the next event, and the one text that most responses are.

    `number` is that of the next event. `main_item` and `main_part` say where the main text is: in the first text part that
    came, -1 before there is one. `usage` is known of the records that were `read`.
    """

    __slots__ = ("_by_id", "_counts", "complete", "items", "main_item", "main_part", "number", "usage")

    def __init__(self) -> None:
        self.items: dict[int, Item] = {}
        self.main_item = self.main_part = -1
        self.number = 0
        self.usage: dict[str, Any] | None = None
        self.complete = False
        self._by_id: dict[str, int] = {}
        self._counts: dict[Place, int] = {}

    def read(self, record: bytes) -> Chunk:
        """Return a delivered record as a chunk, and count it as delivered."""
        value = object_in(record)
        kind = str(value.get("type"))
        seen = self.take(kind, value)
        self.number += 1
        if kind in TERMINAL:
            self.complete = True
            self.usage = storable(value["response"].get("usage")) or self.usage
        # A frame that has been delivered has to come again, as content has.
        text = record.decode("utf-8", "surrogatepass")
        return Chunk(text, seen.pieces, ends=kind in TERMINAL, own=value)

    @property
    def is_closed(self) -> bool:
        """Whether nothing is missing behind the records: nothing follows the end."""
        return True

    def is_complete(self, _: Any) -> bool:
        """Whether the last event was the end of the response."""
        return self.complete

    def index_of(self, item_id: Any, default: int) -> int:
        """Return the index of the item with this id."""
        return self._by_id.get(item_id, default) if isinstance(item_id, str) else default

    def take(self, kind: str, value: dict[str, Any]) -> Seen:
        """Return what an event of type `kind` brings; what it leaves out of where that belongs is added to it.

        Raises `MalformedEventError`.
        """
        if kind in LIFECYCLE:
            if not isinstance(value.get("response"), dict):
                raise MalformedEventError(f"an event {kind!r} has no response")
            return Seen([])
        if not kind.startswith("response."):
            return Seen([])  # not of this API: it says nothing of the answer
        changed = self._locate(kind, value)
        if kind in {_ADDED, _DONE}:
            return self._take_item(kind, value, changed=changed)
        if kind in _TEXTS:
            return Seen(self._text(kind, value), changed=changed)
        place = (kind, *_indices(value))
        if kind.endswith(".delta") and value.get("delta") is not None:
            return Seen(
                [Piece("other", (*place, "delta"), value["delta"])] if value["delta"] else [], changed=changed
            )
        frame = kind in _FRAMES
        return Seen([self._whole(place, value)], frame=frame, changed=changed)

    def _text(self, kind: str, value: dict[str, Any]) -> list[Piece]:
        """Return the piece of a text that goes on."""
        delta = value.get("delta")
        if not delta:
            return []
        if not isinstance(delta, str):
            raise MalformedEventError(f"the 'delta' of an event {kind!r} is not a text")
        kind_of_piece, fields = _TEXTS[kind]
        place: Place = tuple(value[name] for name in fields)
        if kind == TEXT_DELTA:
            if self.main_item < 0:
                self.main_item, self.main_part = value["output_index"], value["content_index"]
            if place == (self.main_item, self.main_part):
                place = MAIN
        elif kind_of_piece == "reasoning":
            place = (*place, fields[-1])  # a summary is another text than the reasoning itself
        elif kind_of_piece == "tool_call":
            place = (*place, "arguments")
        return [Piece(kind_of_piece, place, delta)]

    def _take_item(self, kind: str, value: dict[str, Any], *, changed: bool) -> Seen:
        item = value.get("item")
        if not isinstance(item, dict):
            raise MalformedEventError(f"an event {kind!r} has no item")
        index = value["output_index"]
        known = self.items.get(index)
        name = str(item.get("type"))
        if known is None:
            known = self.items[index] = Item(item.get("id"), item.get("call_id"), name)
            if isinstance(known.id, str):
                self._by_id[known.id] = index
        if item.get("encrypted_content"):
            known.encrypted = item["encrypted_content"]
        known.done = kind == _DONE
        told = item if known.done else {field: item[field] for field in _OF_A_BEGINNING if field in item}
        piece = Piece("other", (kind, index), _digest(told))
        return Seen([piece], frame=name in _FRAMED_ITEMS, changed=changed)

    def _whole(self, place: Place, value: dict[str, Any]) -> Piece:
        """Return the piece of an event that comes whole: the n-th of its kind at its place."""
        count = self._counts[place] = self._counts.get(place, 0) + 1
        return Piece("other", (*place, count), _digest(value))

    def _locate(self, kind: str, value: dict[str, Any]) -> bool:
        """Add the numbers of item and part where a server leaves them out; return whether there was one to add."""
        changed = False
        if _index(value, "output_index") is None and (
            kind in {_ADDED, _DONE} or "item_id" in value or kind in _TEXTS
        ):
            value["output_index"] = self._item_of(kind, value)
            changed = True
        field = _OF_A_PART.get(kind)
        if field is None:
            return changed
        item = self.items.get(value.get("output_index", -1))
        part = _index(value, field)
        if part is None:
            parts = 0 if item is None else item.parts
            part = value[field] = parts if kind in _BEGINS_A_PART else max(0, parts - 1)
            changed = True
        if item is not None and kind in _BEGINS_A_PART:
            item.parts = max(item.parts, part + 1)
        if kind == TEXT_DELTA and "logprobs" not in value:
            value["logprobs"] = []  # which the official SDK looks into
            changed = True
        return changed

    def _item_of(self, kind: str, value: dict[str, Any]) -> int:
        last = max(self.items, default=-1)
        if kind == _ADDED:
            return last + 1
        item = value.get("item")
        told = item.get("id") if isinstance(item, dict) else value.get("item_id")
        if isinstance(told, str) and told in self._by_id:
            return self._by_id[told]
        return last + 1 if kind == _DONE else max(0, last)


def object_in(data: str | bytes) -> dict[str, Any]:
    """Return the JSON object in `data`. Raises `MalformedEventError` for anything else."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = loads(data)
    if not isinstance(value, dict):
        raise MalformedEventError("an event of the stream is not a JSON object")
    return value


def _index(value: dict[str, Any], name: str) -> int | None:
    index = value.get(name)
    if index is None:
        return None
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index <= _MAX_INDEX:
        raise MalformedEventError(_FAILED_TO_SAY_WHERE)
    return index


def _indices(value: dict[str, Any]) -> Place:
    """Return all numbers in an event that say where it belongs."""
    return tuple(
        f"{name} {index}"
        for name, index in sorted(value.items())
        if name.endswith("_index") and isinstance(index, int)
    )


def _digest(value: Any) -> str:
    """Return what stands for everything that a value says."""
    return hashlib.blake2b(dumps(_content(value, MAX_UPSTREAM_DEPTH + 2)), digest_size=16).hexdigest()


def _content(value: Any, depth: int) -> Any:
    """Return a value without identity, without what cannot be compared, and without what is empty; names in order."""
    if not depth:
        raise MalformedEventError("an event is nested too deep to be compared")
    if isinstance(value, dict):
        found = {name: _content(value[name], depth - 1) for name in sorted(value) if name not in _NO_CONTENT}
        return {name: item for name, item in found.items() if item not in (None, "", [], {})}
    if isinstance(value, list):
        return [_content(item, depth - 1) for item in value]
    return value
