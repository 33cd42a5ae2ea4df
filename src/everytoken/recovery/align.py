"""Compare another attempt with what was delivered: drop what repeats, pass what is new, refuse what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from everytoken.dialects.pieces import MAIN
from everytoken.errors import DivergedError
from everytoken.recovery.cursor import Cursor
from everytoken.recovery.fields import RepeatedFields

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Dialect, Rewriter
    from everytoken.dialects.pieces import Chunk, Kind, New, Piece, Place
    from everytoken.recovery.plan import Plan
    from everytoken.recovery.transcript import Transcript

__all__ = ["Aligner", "ContinueAligner", "PrefillAligner", "ReplayAligner", "aligner_for"]


class Aligner(Protocol):
    """Takes the chunks of another attempt; returns the records to deliver."""

    def feed(self, chunk: Chunk) -> list[bytes]:
        """Take a chunk; return the records of what is new in it.

        Raises `DivergedError`.
        """

    @property
    def caught_up(self) -> bool:
        """Whether everything expected has come again, so that an end may be believed."""


class ContinueAligner:
    """An attempt that continues behind the delivered text: everything in it is new.

    `ended`: a finish reason stands behind that text.
    """

    caught_up = True

    def __init__(self, rewriter: Rewriter, *, ended: bool = False) -> None:
        self._rewriter = rewriter
        self._ended = ended

    def feed(self, chunk: Chunk) -> list[bytes]:
        """Pass everything but a chunk that only names the role again, or ends what has been ended."""
        self._ended = self._ended and not chunk.pieces
        if (chunk.finishes and self._ended) or not _says_something(chunk):
            return []
        return [self._rewriter.join(chunk)]


class ReplayAligner:
    """An attempt that gives once more what was delivered, then continues.

    With `text` that is expected in place of everything: the end of the delivered text, which a prefill held back.
    """

    def __init__(self, transcript: Transcript, rewriter: Rewriter, *, text: str | None = None) -> None:
        self._rewriter = rewriter
        self._main = Cursor("text", transcript.text if text is None else text)
        self._texts: dict[tuple[Kind, Place], Cursor] = {}
        fields = None
        if text is None:
            fields = transcript.fields
            self._texts = {
                (kind, place): Cursor(_shown(kind, place), expected)
                for kind, place, expected in transcript.texts()
            }
        self._fields = RepeatedFields(fields)
        # A finish reason that stands behind everything is not given to readers twice. One in the middle is repeated.
        self._ended = transcript.ended
        self._has_middle_end = transcript.ended or transcript.continued
        # What belongs to something delivered has to be placed also when all of it has come again.
        self._placed = bool(fields) or any(kind == "tool_call" for kind, _ in self._texts)

    @property
    def caught_up(self) -> bool:
        """Whether everything expected has come again."""
        return (
            self._main.caught_up
            and all(cursor.caught_up for cursor in self._texts.values())
            and self._fields.caught_up
        )

    def feed(self, chunk: Chunk) -> list[bytes]:
        """Drop what repeats, byte for byte; pass what is new."""
        if not self._placed and self.caught_up:
            if self._repeats_end(chunk, is_new=bool(chunk.pieces)) or not _says_something(chunk):
                return []
            return [self._rewriter.join(chunk)]
        if chunk.obstacle is not None:
            raise DivergedError(f"the repeated response cannot be compared: {chunk.obstacle}")
        news = [self._new(piece) for piece in chunk.pieces]
        is_new = any(is_new for _, is_new in news)
        if self._repeats_end(chunk, is_new=is_new) or not (chunk.ends or is_new):
            return []
        if not self.caught_up:
            raise DivergedError(
                "the repeated response continues, or ends, before all that was delivered has come"
            )
        return [self._rewriter.cut(chunk, news)]

    def _repeats_end(self, chunk: Chunk, *, is_new: bool) -> bool:
        """Whether a chunk brings nothing but a finish reason that readers have."""
        if is_new:
            self._ended = self._has_middle_end = False
        return chunk.finishes and (self._ended if self.caught_up else self._has_middle_end)

    def _new(self, piece: Piece) -> New:
        kind, place, value, whole = piece
        if kind == "other":
            if not whole:
                return self._fields.new(place, value)
            found = self._fields.new_whole(str(place[0]), value)
            return found, found is not None
        cursor = self._main if kind == "text" and place == MAIN else self._texts.get((kind, place))
        if cursor is None:
            return value, True
        new = cursor.advance(value)
        return new, bool(new)


def _shown(kind: Kind, place: Place) -> str:
    return f"tool {place[-1]}" if kind == "tool_call" else kind


class PrefillAligner:
    """A prefill at an upstream that has not shown yet what it does with one.

    It was asked to continue from before the last `overlap` characters. It continues if it gives these back and then
    more; it restarts if it gives the whole text from its beginning. Nothing is delivered until one of the two is proved:
    `verdict` is then `continues` or `restarts`. A response that is neither, or that could be both, diverges.
    """

    def __init__(self, transcript: Transcript, rewriter: Rewriter, *, overlap: int) -> None:
        text = transcript.text
        self._transcript = transcript
        self._rewriter = rewriter
        self._tail = text[len(text) - overlap :]
        self._tail_cursor: Cursor | None = Cursor("text", self._tail)
        self._whole_cursor: Cursor | None = Cursor("text", text)
        self._held: list[Chunk] = []
        self._decided: ReplayAligner | None = None
        self.verdict: Literal["continues", "restarts"] | None = None

    @property
    def caught_up(self) -> bool:
        """Whether the proof has been given."""
        return self._decided is not None and self._decided.caught_up

    def feed(self, chunk: Chunk) -> list[bytes]:
        """Hold chunks until they prove one thing or the other."""
        if self._decided is not None:
            return self._decided.feed(chunk)
        self._held.append(chunk)
        piece = chunk.text
        self._tail_cursor = _still(self._tail_cursor, piece)
        self._whole_cursor = _still(self._whole_cursor, piece)
        # Where a finish reason has stood in the middle, only the end of the bytes is an end.
        decided = self._decide(
            ended=chunk.ends
            and not (chunk.finishes and (self._transcript.ended or self._transcript.continued))
        )
        if decided is None:
            return []
        self._decided = decided
        records = [record for held in self._held for record in decided.feed(held)]
        self._held.clear()
        return records

    def _decide(self, *, ended: bool) -> ReplayAligner | None:
        tail, whole = self._tail_cursor, self._whole_cursor
        if tail is None and whole is None:
            raise DivergedError("the continuation neither continues the delivered text nor repeats it")
        if tail is not None and tail.caught_up and (whole is None or (ended and not whole.caught_up)):
            self.verdict = "continues"
            return ReplayAligner(self._transcript, self._rewriter, text=self._tail)
        if whole is not None and whole.caught_up:
            if tail is not None:
                raise DivergedError("the continuation could be a repetition as well")
            self.verdict = "restarts"
            return ReplayAligner(self._transcript, self._rewriter)
        if ended:
            raise DivergedError("the continuation ended before it could be compared with the delivered text")
        return None


def aligner_for(plan: Plan, dialect: Dialect, transcript: Transcript) -> Aligner:
    """Return what compares the attempt of `plan` with what was delivered."""
    rewriter = dialect.rewriter(transcript.history, transcript.first)
    if plan.strategy == "replay":
        return ReplayAligner(transcript, rewriter)
    if plan.overlap is not None:
        return PrefillAligner(transcript, rewriter, overlap=plan.overlap)
    # A retry after records without content is like a continuation: one id, one role.
    return ContinueAligner(rewriter, ended=transcript.ended)


def _still(cursor: Cursor | None, piece: str) -> Cursor | None:
    """Return `cursor` behind `piece`, None if the piece does not fit it."""
    if cursor is None:
        return None
    try:
        cursor.advance(piece)
    except DivergedError:
        return None
    return cursor


def _says_something(chunk: Chunk) -> bool:
    return bool(chunk.pieces) or chunk.alive or chunk.ends
