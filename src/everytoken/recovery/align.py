"""Lay a further attempt against what was delivered: drop what repeats, pass what is new, refuse what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from everytoken.errors import DivergedError
from everytoken.recovery.transcript import Calls, as_tool_call, text_of

if TYPE_CHECKING:
    from everytoken.chat import Choice, Chunk, ToolCallDelta
    from everytoken.recovery.transcript import Transcript

__all__ = ["Aligner", "Continuing", "Proving", "Repeating", "rejoin"]


class Aligner(Protocol):
    """Takes the chunks of a further attempt; returns the records to deliver. Raises `DivergedError`."""

    def feed(self, chunk: Chunk, raw: str) -> list[bytes]:
        """Take one chunk, read and as it was sent; return the records that are new in it."""

    @property
    def through(self) -> bool:
        """Whether everything expected has come again, so that an end may be believed."""


class Cursor:
    """How much of one expected string a repeated answer has given back."""

    __slots__ = ("expected", "position", "what")

    def __init__(self, what: str, expected: str) -> None:
        self.what = what
        self.expected = expected
        self.position = 0

    @property
    def through(self) -> bool:
        """Whether all of it has come again."""
        return self.position >= len(self.expected)

    def advance(self, piece: str) -> str:
        """Take a piece of the repeated answer; return what of it is new. Raises `DivergedError`."""
        start = self.position
        left = len(self.expected) - start
        if left <= 0:
            return piece
        if len(piece) <= left:
            same = self.expected.startswith(piece, start)
        else:
            same = piece.startswith(self.expected[start:])
        if not same:
            raise DivergedError(f"the repeated {self.what} differs after {start} characters")
        self.position = start + min(len(piece), left)
        return piece[left:]


class Continuing:
    """An attempt that goes on where the delivered text ended: everything in it is new."""

    through = True

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript

    def feed(self, chunk: Chunk, raw: str) -> list[bytes]:
        """Pass everything but a chunk that only names the role again."""
        if not chunk.has_content and not _finish_reason(chunk):
            return []
        return [rejoin(raw, self._transcript)]


class Repeating:
    """An attempt that gives `text` (and the reasoning, refusal and calls of the transcript) once more, then goes on."""

    def __init__(self, transcript: Transcript, *, text: str | None = None) -> None:
        self._transcript = transcript
        self._content = Cursor("text", transcript.text if text is None else text)
        whole = text is None
        self._reasoning = Cursor("reasoning", transcript.reasoning if whole else "")
        self._refusal = Cursor("refusal", transcript.refusal if whole else "")
        calls = transcript.calls if whole else Calls()
        self._names = [Cursor("tool name", buffer.getvalue()) for buffer in calls.names]
        self._arguments = [Cursor("tool arguments", buffer.getvalue()) for buffer in calls.arguments]
        self._calls = Calls()
        self._delivered_calls = len(transcript.calls)

    @property
    def through(self) -> bool:
        """Whether everything expected has come again."""
        return (
            self._content.through
            and self._reasoning.through
            and self._refusal.through
            and all(cursor.through for cursor in self._names)
            and all(cursor.through for cursor in self._arguments)
        )

    def feed(self, chunk: Chunk, raw: str) -> list[bytes]:
        """Drop what repeats, byte for byte; pass what is new."""
        choice = _first_choice(chunk)
        if choice is None or choice.delta is None:
            return []
        delta = choice.delta
        changes: dict[str, Any] = {}
        if delta.content:
            changes["content"] = self._content.advance(text_of(delta.content))
        if delta.reasoning_content or delta.reasoning:
            new_reasoning = self._reasoning.advance(delta.reasoning_content or delta.reasoning or "")
            # Some servers send both names with the same text.
            for name in ("reasoning_content", "reasoning"):
                if getattr(delta, name):
                    changes[name] = new_reasoning
        if delta.refusal:
            changes["refusal"] = self._refusal.advance(delta.refusal)
        calls = [self._advance(fragment) for fragment in delta.tool_calls or ()]
        if delta.function_call is not None:
            calls.append(self._advance(as_tool_call(delta.function_call)))
        new_calls = [call for call in calls if call is not None]
        new = any(changes.values()) or bool(new_calls)
        finish = _finish_reason(chunk)
        if (new or finish) and not self.through:
            raise DivergedError(
                "the repeated answer goes on, or ends, before all that was delivered has come"
            )
        if not new and not finish:
            return []
        if not any(changes.values()) and not calls:
            return [rejoin(raw, self._transcript)]
        return [self._cut(raw, changes, new_calls, had_calls=bool(delta.tool_calls))]

    def _advance(self, fragment: ToolCallDelta) -> dict[str, Any] | None:
        """Take a piece of a call; return the fragment that is new, or None."""
        position = self._calls.position(fragment)
        function = fragment.function
        name = (function.name if function else None) or ""
        arguments = (function.arguments if function else None) or ""
        if position >= len(self._names):
            return {
                "index": position,
                **({"id": fragment.id, "type": "function"} if fragment.id else {}),
                "function": {**({"name": name} if name else {}), "arguments": arguments},
            }
        new_name = self._names[position].advance(name)
        new_arguments = self._arguments[position].advance(arguments)
        if not new_name and not new_arguments:
            return None
        # The id delivered with the first fragment stands; the repeated call's own id is never shown.
        function_part = {**({"name": new_name} if new_name else {}), "arguments": new_arguments}
        return {"index": position, "function": function_part}

    def _cut(
        self, raw: str, changes: dict[str, str], calls: list[dict[str, Any]], *, had_calls: bool
    ) -> bytes:
        """Return the chunk with only what is new of it."""
        value: dict[str, Any] = msgspec.json.decode(raw)
        for choice in value["choices"]:
            delta = choice["delta"]
            for name, piece in changes.items():
                if piece:
                    delta[name] = piece
                else:
                    del delta[name]
            if had_calls and calls:
                delta["tool_calls"] = calls
            elif had_calls:
                delta.pop("tool_calls", None)
            elif "function_call" in delta and calls:
                delta["function_call"] = calls[0]["function"]
            else:
                delta.pop("function_call", None)
        return _joined(value, self._transcript)


class Proving:
    """A prefill at an upstream that has not shown yet what it does with one.

    It was asked to go on from before the last `overlap` characters. It continues if it gives these back and then goes
    on; it restarts if it gives the whole text from its beginning. Nothing is delivered until one of the two is proved.
    `verdict` is then `continues` or `restarts`. An answer that is neither, or that could be both, diverges.
    """

    def __init__(self, transcript: Transcript, *, overlap: int) -> None:
        text = transcript.text
        self._transcript = transcript
        self._tail = text[len(text) - overlap :]
        self._tail_cursor: Cursor | None = Cursor("text", self._tail)
        self._whole_cursor: Cursor | None = Cursor("text", text)
        self._held: list[tuple[Chunk, str]] = []
        self._decided: Repeating | None = None
        self.verdict: str | None = None

    @property
    def through(self) -> bool:
        """Whether the proof has been given."""
        return self._decided is not None and self._decided.through

    def feed(self, chunk: Chunk, raw: str) -> list[bytes]:
        """Hold chunks until they prove one thing or the other."""
        if self._decided is not None:
            return self._decided.feed(chunk, raw)
        self._held.append((chunk, raw))
        choice = _first_choice(chunk)
        piece = text_of(choice.delta.content) if choice is not None and choice.delta is not None else ""
        self._tail_cursor = _still(self._tail_cursor, piece)
        self._whole_cursor = _still(self._whole_cursor, piece)
        self._decide(ended=_finish_reason(chunk))
        if self._decided is None:
            return []
        records = [record for held in self._held for record in self._decided.feed(*held)]
        self._held.clear()
        return records

    def _decide(self, *, ended: bool) -> None:
        tail, whole = self._tail_cursor, self._whole_cursor
        if tail is None and whole is None:
            raise DivergedError("the continuation neither goes on from the delivered text nor repeats it")
        if tail is not None and tail.through and (whole is None or (ended and not whole.through)):
            self.verdict = "continues"
            self._decided = Repeating(self._transcript, text=self._tail)
        elif tail is not None and whole is not None and whole.through:
            raise DivergedError("the continuation could be a repetition as well")
        elif whole is not None and whole.through:
            self.verdict = "restarts"
            self._decided = Repeating(self._transcript)
        elif ended:
            raise DivergedError("the continuation ended before it could be laid against the delivered text")


def _still(cursor: Cursor | None, piece: str) -> Cursor | None:
    if cursor is None:
        return None
    try:
        cursor.advance(piece)
    except DivergedError:
        return None
    return cursor


def rejoin(raw: str | bytes, transcript: Transcript) -> bytes:
    """Return a later attempt's chunk as part of the one response: the first attempt's id, and no second role."""
    return _joined(msgspec.json.decode(raw), transcript)


def _joined(value: dict[str, Any], transcript: Transcript) -> bytes:
    identity = transcript.identity
    if "id" in identity:
        value["id"] = identity["id"]
    for choice in value.get("choices") or ():
        (choice.get("delta") or {}).pop("role", None)
    return msgspec.json.encode(value)


def _first_choice(chunk: Chunk) -> Choice | None:
    for choice in chunk.choices or ():
        if not choice.index:
            return choice
    return None


def _finish_reason(chunk: Chunk) -> bool:
    return any(choice.finish_reason for choice in chunk.choices or ())
