"""Lay a further attempt against what was delivered: drop what repeats, pass what is new, refuse what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from everytoken.dialects.openai_chat.rewrite import cut, rejoin
from everytoken.errors import DivergedError
from everytoken.recovery.calls import Calls, as_tool_call
from everytoken.recovery.cursor import Cursor
from everytoken.recovery.fields import RepeatedFields
from everytoken.recovery.transcript import is_text, reasoning_of

if TYPE_CHECKING:
    from everytoken.dialects.openai_chat import Choice, Chunk, Delta, ToolCallDelta
    from everytoken.recovery.transcript import Transcript

__all__ = ["Aligner", "ContinueAligner", "PrefillAligner", "ReplayAligner"]


class Aligner(Protocol):
    """Takes the chunks of a further attempt; returns the records to deliver."""

    def feed(self, chunk: Chunk, raw: str) -> list[bytes]:
        """Take a presentable chunk, read and as it was sent; return the records that are new in it.

        Raises `DivergedError`.
        """

    @property
    def caught_up(self) -> bool:
        """Whether everything expected has come again, so that an end may be believed."""


class ContinueAligner:
    """An attempt that goes on where the delivered text ended: everything in it is new."""

    caught_up = True

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript

    def feed(self, chunk: Chunk, raw: str) -> list[bytes]:
        """Pass everything but a chunk that only names the role again."""
        return [rejoin(raw, self._transcript.identity)] if _says_something(chunk) else []


class ReplayAligner:
    """An attempt that gives once more what was delivered, then goes on.

    With `text` that is expected in place of everything: the end of the delivered text, which a prefill held back.
    """

    def __init__(self, transcript: Transcript, *, text: str | None = None) -> None:
        whole = text is None
        self._transcript = transcript
        self._content = Cursor("text", transcript.text if text is None else text)
        self._reasoning = Cursor("reasoning", transcript.reasoning if whole else "")
        self._refusal = Cursor("refusal", transcript.refusal if whole else "")
        self._fields = RepeatedFields(transcript.fields if whole else None)
        self._calls = _RepeatedCalls(transcript.calls if whole else Calls(), self._fields)
        self._has_fields = whole and bool(transcript.fields)

    @property
    def caught_up(self) -> bool:
        """Whether everything expected has come again."""
        cursors = (self._content, self._reasoning, self._refusal)
        return (
            all(cursor.caught_up for cursor in cursors) and self._calls.caught_up and self._fields.caught_up
        )

    def feed(self, chunk: Chunk, raw: str) -> list[bytes]:
        """Drop what repeats, byte for byte; pass what is new."""
        if self.caught_up and not self._calls and not self._has_fields:
            return [rejoin(raw, self._transcript.identity)] if _says_something(chunk) else []
        position, choice = _first_choice(chunk)
        if choice is None or choice.delta is None:
            return []
        texts = self._new_texts(choice.delta)
        calls = self._new_calls(choice.delta)
        others, any_new = self._fields.new_of(choice.delta.others)
        beside = self._new_beside(chunk)
        if not any(texts.values()) and not (calls or any_new or beside or choice.finish_reason):
            return []
        if not self.caught_up:
            raise DivergedError(
                "the repeated answer goes on, or ends, before all that was delivered has come"
            )
        return [
            cut(
                raw,
                self._transcript.identity,
                position=position,
                texts=texts,
                calls=calls,
                others=others,
                beside=beside,
            )
        ]

    def _new_texts(self, delta: Delta) -> dict[str, str]:
        texts: dict[str, str] = {}
        if delta.content:
            if not is_text(delta):
                raise DivergedError("the repeated answer has content that is no text")
            texts["content"] = self._content.advance(delta.text)
        reasoning = reasoning_of(delta)
        if reasoning:
            new = self._reasoning.advance(reasoning)
            texts |= {name: new for name in ("reasoning_content", "reasoning") if getattr(delta, name)}
        if delta.refusal:
            texts["refusal"] = self._refusal.advance(delta.refusal)
        return texts

    def _new_beside(self, chunk: Chunk) -> dict[str, Any]:
        found = {name: self._fields.new_whole(name, value) for name, value in (chunk.others or {}).items()}
        return {name: value for name, value in found.items() if value is not None}

    def _new_calls(self, delta: Delta) -> list[dict[str, Any]]:
        fragments = list(delta.tool_calls or ())
        if delta.function_call is not None:
            fragments.append(as_tool_call(delta.function_call))
        found = (self._calls.advance(fragment) for fragment in fragments)
        return [call for call in found if call is not None]


class _RepeatedCalls:
    """The delivered calls coming again, under other ids; new fragments get the place and form of the first ones."""

    def __init__(self, delivered: Calls, fields: RepeatedFields) -> None:
        self._fields = fields
        self._delivered = list(delivered.all)  # of the transcript, which grows meanwhile
        self._names = [Cursor("tool name", call.name) for call in self._delivered]
        self._arguments = [Cursor("tool arguments", call.arguments) for call in self._delivered]
        self._repeated = Calls()

    def __len__(self) -> int:
        return len(self._delivered)

    @property
    def caught_up(self) -> bool:
        return all(cursor.caught_up for cursor in (*self._names, *self._arguments))

    def advance(self, fragment: ToolCallDelta) -> dict[str, Any] | None:
        """Take a fragment; return what is new of it, or None."""
        position = self._repeated.position(fragment)
        self._repeated.all[position].add_name(fragment.name)
        name, arguments = fragment.name, fragment.arguments
        place = ("tool_calls", position)
        others, any_new = self._fields.new_of(fragment.others, place=place)
        # The id delivered with a call's first fragment stands; what the repeated one calls it is never shown.
        identity: dict[str, Any] = {}
        if position < len(self._delivered):
            name = self._names[position].advance(name)
            arguments = self._arguments[position].advance(arguments)
            if not (name or arguments or any_new):
                return None
        elif fragment.id:
            identity = {"id": fragment.id, "type": "function" if fragment.custom is None else "custom"}
        index = self._index(position, fragment)
        return {
            **({} if index is None else {"index": index}),
            **identity,
            **self._called(position, fragment, name, arguments),
            **others,
        }

    def _called(self, position: int, fragment: ToolCallDelta, name: str, arguments: str) -> dict[str, Any]:
        delivered = self._delivered[position] if position < len(self._delivered) else None
        named = {"name": name} if name else {}
        if fragment.custom is not None or (delivered is not None and delivered.custom):
            return {"custom": {**named, "input": arguments}}
        return {"function": {**named, "arguments": arguments}}

    def _index(self, position: int, fragment: ToolCallDelta) -> int | None:
        """Return the index to send: numbered on from the delivered calls, none where they had none."""
        if not self._delivered:
            return fragment.index
        if position < len(self._delivered):
            return self._delivered[position].index
        last = self._delivered[-1].index
        return None if last is None else last + position - len(self._delivered) + 1


class PrefillAligner:
    """A prefill at an upstream that has not shown yet what it does with one.

    It was asked to go on from before the last `overlap` characters. It continues if it gives these back and then goes
    on; it restarts if it gives the whole text from its beginning. Nothing is delivered until one of the two is proved:
    `verdict` is then `continues` or `restarts`. An answer that is neither, or that could be both, diverges.
    """

    def __init__(self, transcript: Transcript, *, overlap: int) -> None:
        text = transcript.text
        self._transcript = transcript
        self._tail = text[len(text) - overlap :]
        self._tail_cursor: Cursor | None = Cursor("text", self._tail)
        self._whole_cursor: Cursor | None = Cursor("text", text)
        self._held: list[tuple[Chunk, str]] = []
        self._decided: ReplayAligner | None = None
        self.verdict: Literal["continues", "restarts"] | None = None

    @property
    def caught_up(self) -> bool:
        """Whether the proof has been given."""
        return self._decided is not None and self._decided.caught_up

    def feed(self, chunk: Chunk, raw: str) -> list[bytes]:
        """Hold chunks until they prove one thing or the other."""
        if self._decided is not None:
            return self._decided.feed(chunk, raw)
        self._held.append((chunk, raw))
        _, choice = _first_choice(chunk)
        piece = choice.delta.text if choice is not None and choice.delta is not None else ""
        self._tail_cursor = _still(self._tail_cursor, piece)
        self._whole_cursor = _still(self._whole_cursor, piece)
        decided = self._decide(ended=choice is not None and bool(choice.finish_reason))
        if decided is None:
            return []
        self._decided = decided
        records = [record for held in self._held for record in decided.feed(*held)]
        self._held.clear()
        return records

    def _decide(self, *, ended: bool) -> ReplayAligner | None:
        tail, whole = self._tail_cursor, self._whole_cursor
        if tail is None and whole is None:
            raise DivergedError("the continuation neither goes on from the delivered text nor repeats it")
        if tail is not None and tail.caught_up and (whole is None or (ended and not whole.caught_up)):
            self.verdict = "continues"
            return ReplayAligner(self._transcript, text=self._tail)
        if whole is not None and whole.caught_up:
            if tail is not None:
                raise DivergedError("the continuation could be a repetition as well")
            self.verdict = "restarts"
            return ReplayAligner(self._transcript)
        if ended:
            raise DivergedError("the continuation ended before it could be compared with the delivered text")
        return None


def _still(cursor: Cursor | None, piece: str) -> Cursor | None:
    """Return `cursor` behind `piece`, None if the piece does not fit it."""
    if cursor is None:
        return None
    try:
        cursor.advance(piece)
    except DivergedError:
        return None
    return cursor


def _first_choice(chunk: Chunk) -> tuple[int, Choice | None]:
    for position, choice in enumerate(chunk.choices or ()):
        if not choice.index:
            return position, choice
    return 0, None


def _says_something(chunk: Chunk) -> bool:
    return chunk.has_content or chunk.alive or any(choice.finish_reason for choice in chunk.choices or ())
