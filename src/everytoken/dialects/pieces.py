"""What one event of a response brings, in terms that all dialects share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

__all__ = ["MAIN", "Chunk", "Kind", "New", "Piece", "Place"]

Kind = Literal["text", "reasoning", "refusal", "tool_call", "other"]

Place = tuple["str | int", ...]
"""Where in the response a piece belongs: pieces of one kind and place make up one text, or one value."""

MAIN: Place = ()
"""The place of the text that nearly all responses consist of."""

New = tuple[Any, bool]
"""What of a piece a reader has to get if it gets anything of the chunk, and whether that is new to it."""


class Piece(NamedTuple):
    """One addition to a response.

    `value` is text that continues what came before at the same place; "" begins the place. Of an `other` it is any JSON
    value, which grows by its leaves, or with `whole` comes complete every time, as a list of sources does.
    """

    kind: Kind
    place: Place
    value: Any
    whole: bool = False


@dataclass(slots=True)
class Chunk:
    """One event of a response as the core sees it.

    `record` is what a reader gets of it, in the response's dialect. `ends`: it tells that something is finished, or
    begins, so it must not be dropped. `finishes`: it says that the response is finished, which may continue all the same.
    `alive`: it has nothing of the response, but shows that the model works. `frame`: its pieces only open or close a place
    for what readers wait for, so it is no content by itself. `obstacle`: why another attempt cannot continue what it
    brings, None if one can. `own` is the dialect's.
    """

    record: str
    pieces: list[Piece]
    ends: bool = False
    finishes: bool = False
    alive: bool = False
    frame: bool = False
    obstacle: str | None = None
    own: Any = None

    @property
    def text(self) -> str:
        """What it adds to the main text."""
        return "".join(piece.value for piece in self.pieces if piece.kind == "text" and piece.place == MAIN)
