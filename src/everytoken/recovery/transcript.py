"""What of a response has been delivered. Adding a chunk costs the same at any length."""

from __future__ import annotations

import io
from array import array
from typing import TYPE_CHECKING

from everytoken.dialects.pieces import MAIN
from everytoken.recovery.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from everytoken.dialects.dialect import Dialect, History
    from everytoken.dialects.pieces import Chunk, Kind, Piece, Place
    from everytoken.recovery.authors import Author

__all__ = ["LIMIT", "Transcript"]

LIMIT = 8 * 1024 * 1024  # bytes of all that is kept for comparison; a long response has less than one MiB
_RECENT = 24  # pieces whose lengths are remembered: enough for the overlap that proves a prefill
_TRIM = 32  # chunks, as short_path.c has it: then the lengths of earlier pieces are forgotten
_PLACE = 512  # bytes that a text of its own may cost


class Transcript:
    """Everything delivered; texts stand in growing buffers.

    `records` counts what was delivered, `chunks` those with content. `first` is the first record of all. `history` is the dialect's. `obstacle`:
    why another attempt cannot continue it, None if one can. `halved`: a record ended inside a character, and nothing
    followed it. `ended`: a finish reason stands behind all of the content; `continued`: content has come behind one, so
    none is proof of the end. `long`: there was more than can be kept for comparison, and some is gone. `authors`: the models
    that have written it, as far as attempts that are over have shown.
    """

    __slots__ = (
        "_main", "_others", "_recent", "_texts", "authors", "chunks", "continued", "ended", "fields", "first", "halved",
        "history", "long", "obstacle", "records",
    )  # fmt: skip

    def __init__(self, dialect: Dialect) -> None:
        # UTF-8, with half surrogates where an upstream sends them: a StringIO keeps every piece as an object of its own.
        self._main = bytearray()
        self._recent = array("I")  # characters of the latest pieces: the last `_RECENT`, and for a while more
        self._texts: dict[tuple[Kind, Place], io.StringIO] = {}  # all others
        self._others = 0  # bytes of everything but the main text
        self.fields: Fields | None = None  # what is no text
        self.history: History = dialect.history()
        self.obstacle: str | None = None
        self.long = False
        self.chunks = 0
        self.records = 0
        self.halved = False
        self.ended = False
        self.continued = False
        self.first: bytes | None = None
        self.authors: tuple[Author, ...] = ()

    def count(self, records: Sequence[bytes]) -> None:
        """Count records as delivered."""
        if records and not self.records:
            self.first = records[0]
        self.records += len(records)

    def add_text(self, text: str) -> None:
        """Add a delivered chunk that is nothing but a piece of the main text."""
        self._main += text.encode("utf-8", "surrogatepass")
        self._recent.append(len(text))
        self.chunks += 1
        if not self.chunks % _TRIM:
            del self._recent[:-_RECENT]
        if len(self._main) > LIMIT:
            self._drop()

    def add(self, chunk: Chunk) -> bool:
        """Add a delivered chunk; return whether it carried content."""
        for piece in chunk.pieces:
            self._add(piece)
        if chunk.finishes or self.ended:
            self._add_end(chunk)
        if chunk.obstacle is not None:
            self.obstacle = chunk.obstacle
        if self._others > LIMIT or len(self._main) > LIMIT:
            self._drop()
        if not chunk.pieces or chunk.frame:
            return False
        self.chunks += 1
        return True

    def _add_end(self, chunk: Chunk) -> None:
        """Take a chunk that has a finish reason, or comes behind one."""
        if chunk.pieces and self.ended:
            self.continued = True
        self.ended = chunk.finishes or not chunk.pieces

    def _add(self, piece: Piece) -> None:
        kind, place, value, whole = piece
        if kind == "text" and place == MAIN:
            self._main += value.encode("utf-8", "surrogatepass")
            self._recent.append(len(value))
            if len(self._recent) > _RECENT + _TRIM:
                del self._recent[:-_RECENT]
        elif kind == "other":
            self.fields = self.fields or Fields()
            before = self.fields.size
            if whole:
                self.fields.add_whole(str(place[0]), value)
            else:
                self.fields.add(place, value)
            self._others += self.fields.size - before
        else:
            buffer = self._texts.get((kind, place))
            if buffer is None:
                buffer = self._texts[kind, place] = io.StringIO()
                self._others += _PLACE
            buffer.write(value)
            self._others += len(value)

    def _drop(self) -> None:
        """Forget what has been delivered: it is too long to be compared, and must not fill the memory."""
        self.long = True
        self._main = bytearray()
        self._texts = {}
        self.fields = None
        self._others = 0

    @property
    def text(self) -> str:
        """The main text delivered so far."""
        return self._main.decode("utf-8", "surrogatepass")

    def texts(self) -> Iterator[tuple[Kind, Place, str]]:
        """Yield every other text delivered so far."""
        for (kind, place), buffer in self._texts.items():
            yield kind, place, buffer.getvalue()

    @property
    def text_only(self) -> bool:
        """Whether what was delivered is the main text and nothing else."""
        return not (self._texts or self.fields)

    def overlap(self, wanted: int, least: int) -> tuple[int, int]:
        """Return how many characters to hold back at the end, so that a continuation can prove itself by them.

        And how many pieces these were. About `wanted` characters, cut where a piece ended, never the whole text; none
        where not even `least` can be had.
        """
        length = len(self.text)
        held = pieces = 0
        for size in reversed(self._recent[-_RECENT:]):
            if held >= wanted or held + size >= length:
                break
            held += size
            pieces += 1
        held = held or length // 2
        return (held, pieces) if held >= least else (0, 0)
