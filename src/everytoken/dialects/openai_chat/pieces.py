"""A chunk as the pieces it brings, and the later attempt's chunk with only what is new of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.dialects.openai_chat.calls import Calls, as_tool_call
from everytoken.dialects.openai_chat.decoder import MAX_CHOICES, NO_CHOICES, Progress, decode_chunk
from everytoken.dialects.openai_chat.rewrite import cut, loads, rejoin
from everytoken.dialects.pieces import MAIN, Chunk, Piece
from everytoken.errors import MalformedEventError
from everytoken.json.bounds import storable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.dialects.openai_chat import chunk as typed
    from everytoken.dialects.openai_chat.request import ChatRequest
    from everytoken.dialects.pieces import New

__all__ = ["ChatHistory", "ChatRewriter", "chunk_from", "identity_of"]

_SEVERAL = "several choices cannot be continued faithfully"
_PARTS = "content that is not all text cannot be continued faithfully"
_CALLS = "tool_calls"


class ChatHistory(Progress):
    """The tool calls delivered so far. `usage` and what has finished are known of the records that were `read`."""

    __slots__ = ("_finished", "calls", "usage")

    def __init__(self) -> None:
        super().__init__()
        self.calls = Calls()
        self.usage: dict[str, Any] | None = None
        self._finished: frozenset[int] = NO_CHOICES

    @property
    def is_closed(self) -> bool:
        """Whether the usage has been delivered."""
        return bool(self.usage)

    def read(self, record: bytes) -> Chunk:
        """Return a delivered record as a chunk, and count it as delivered."""
        chunk = decode_chunk(record)
        self.usage = storable(chunk.usage) or self.usage
        for choice in chunk.choices or ():
            index = choice.index or 0
            if index in self._finished and choice.delta is not None and choice.delta.has_content:
                self.continued = True
            if choice.finish_reason and choice.finish_reason != "null":
                self._finished |= {index}
        return chunk_from(chunk, record.decode("utf-8", "surrogatepass"), self.calls)

    def is_complete(self, request: ChatRequest) -> bool:
        """Whether what was read is all that `request` asked for."""
        return len(self._finished) >= request.choices and not self.continued


def chunk_from(chunk: typed.Chunk, record: str, calls: Calls, *, several: bool = True) -> Chunk:
    """Return what a chunk brings; `calls` places its tool calls. Without `several` only the first choice is read."""
    result = Chunk(record, [], alive=chunk.alive, own=chunk)
    found = several
    for choice in chunk.choices or ():
        if choice.index:
            if not 0 < choice.index <= MAX_CHOICES:
                raise MalformedEventError(f"a choice has an index that is not from 0 to {MAX_CHOICES}")
            if not several:
                continue
            result.obstacle = _SEVERAL
        if choice.finish_reason:
            result.ends = result.finishes = True
        if choice.delta is not None:
            _add_delta(choice.delta, MAIN if not choice.index else (choice.index,), result, calls)
        if not several:
            found = True
            break
    for name, value in (chunk.others or {}).items() if found else ():
        result.pieces.append(Piece("other", (name,), value, whole=True))
    return result


def _add_delta(delta: typed.Delta, place: tuple[str | int, ...], chunk: Chunk, calls: Calls) -> None:
    pieces = chunk.pieces
    if delta.content:
        pieces.append(Piece("text", place, delta.text))
        if not _is_text(delta):
            chunk.obstacle = chunk.obstacle or _PARTS
    # Servers that send both names send the same text twice.
    if reasoning := delta.reasoning_content or delta.reasoning:
        pieces.append(Piece("reasoning", place, reasoning))
    if delta.refusal:
        pieces.append(Piece("refusal", place, delta.refusal))
    for fragment in _fragments(delta):
        position = calls.add(fragment)
        pieces.append(Piece("tool_call", (position,), ""))
        if fragment.name:
            pieces.append(Piece("tool_call", (position, "name"), fragment.name))
        if fragment.arguments:
            pieces.append(Piece("tool_call", (position, "arguments"), fragment.arguments))
        for name, value in (fragment.others or {}).items():
            pieces.append(Piece("other", (_CALLS, position, name), value))
    for name, value in (delta.others or {}).items():
        pieces.append(Piece("other", (name,), value))


def _fragments(delta: typed.Delta) -> list[typed.ToolCallDelta]:
    fragments = list(delta.tool_calls or ())
    if delta.function_call is not None:
        fragments.append(as_tool_call(delta.function_call))
    return fragments


def _is_text(delta: typed.Delta) -> bool:
    """Whether all content of a delta is text, also where it comes as a list of parts."""
    content = delta.content
    if not isinstance(content, list):
        return True
    return all(
        isinstance(part, str) or (isinstance(part, dict) and part.get("type") == "text") for part in content
    )


def identity_of(first: bytes | None) -> dict[str, Any]:
    """Return the `id`, `created` and `model` of the first record: those of the response."""
    if first is None:
        return {}
    value = loads(first)
    return {name: value[name] for name in ("id", "created", "model") if name in value}


class ChatRewriter:
    """Gives a later attempt's chunks the identity of the response, and its calls their places."""

    def __init__(self, history: ChatHistory, first: bytes | None) -> None:
        self._delivered = list(history.calls.all)  # which grow meanwhile
        self._first = first
        self._identity: dict[str, Any] | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """The identity of the response."""
        if self._identity is None:
            self._identity = identity_of(self._first)
        return self._identity

    def join(self, chunk: Chunk) -> bytes:
        """Return the chunk with the response's identity, and without a second role."""
        return rejoin(chunk.record, self.identity)

    def cut(self, chunk: Chunk, news: Sequence[New]) -> bytes:
        """Return the first choice of the chunk with nothing but `news`."""
        position, choice = next(
            (number, choice) for number, choice in enumerate(chunk.own.choices) if not choice.index
        )
        texts: dict[str, str] = {}
        others: dict[str, Any] = {}
        beside: dict[str, Any] = {}
        for piece, (value, _) in zip(chunk.pieces, news, strict=True):
            if piece.kind == "text":
                texts["content"] = value
            elif piece.kind == "reasoning":
                names = ("reasoning_content", "reasoning")
                texts |= {name: value for name in names if getattr(choice.delta, name)}
            elif piece.kind == "refusal":
                texts["refusal"] = value
            elif piece.kind == "other" and len(piece.place) == 1 and value is not None:
                (beside if piece.whole else others)[str(piece.place[0])] = value
        return cut(
            chunk.record,
            self.identity,
            position=position,
            texts=texts,
            calls=self._new_calls(chunk, _fragments(choice.delta), news),
            others=others,
            beside=beside,
        )

    def _new_calls(
        self, chunk: Chunk, fragments: list[typed.ToolCallDelta], news: Sequence[New]
    ) -> list[dict[str, Any]]:
        """Return what is new of the fragments: the pieces of each stand together, its beginning first."""
        found: list[list[tuple[Piece, New]]] = []
        for piece, new in zip(chunk.pieces, news, strict=True):
            if piece.kind == "tool_call" and len(piece.place) == 1:
                found.append([])
            if piece.kind == "tool_call" or piece.place[:1] == (_CALLS,):
                found[-1].append((piece, new))
        return [
            self._new_call(fragment, pieces)
            for fragment, pieces in zip(fragments, found, strict=True)
            if any(is_new for _, (_, is_new) in pieces)
        ]

    def _new_call(self, fragment: typed.ToolCallDelta, pieces: list[tuple[Piece, New]]) -> dict[str, Any]:
        position = int(pieces[0][0].place[0])
        texts = {"name": "", "arguments": ""}
        others: dict[str, Any] = {}
        for piece, (value, _) in pieces[1:]:
            if piece.kind == "tool_call":
                texts[str(piece.place[1])] = value
            elif value is not None:
                others[str(piece.place[2])] = value
        # The id delivered with a call's first fragment stands; what the repeated one calls it is never shown.
        identity: dict[str, Any] = {}
        if position >= len(self._delivered) and fragment.id:
            identity = {"id": fragment.id, "type": "function" if fragment.custom is None else "custom"}
        index = self._index(position, fragment)
        return {
            **({} if index is None else {"index": index}),
            **identity,
            **self._called(position, fragment, texts["name"], texts["arguments"]),
            **others,
        }

    def _called(
        self, position: int, fragment: typed.ToolCallDelta, name: str, arguments: str
    ) -> dict[str, Any]:
        delivered = self._delivered[position] if position < len(self._delivered) else None
        named = {"name": name} if name else {}
        if fragment.custom is not None or (delivered is not None and delivered.custom):
            return {"custom": {**named, "input": arguments}}
        return {"function": {**named, "arguments": arguments}}

    def _index(self, position: int, fragment: typed.ToolCallDelta) -> int | None:
        """Return the index to send: numbered on from the delivered calls, none where they had none."""
        if not self._delivered:
            return fragment.index
        if position < len(self._delivered):
            return self._delivered[position].index
        last = self._delivered[-1].index
        return None if last is None else last + position - len(self._delivered) + 1
