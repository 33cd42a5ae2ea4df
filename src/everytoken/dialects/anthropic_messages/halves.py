"""Surrogate pairs that were split over two events, as servers do that cut UTF-16 strings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.json import join_surrogates

if TYPE_CHECKING:
    from everytoken.dialects.pieces import Chunk, Kind, Place

__all__ = ["Halves"]


class Halves:
    """The first halves that are held back, being no characters yet; each is put in front of its second one."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[tuple[Kind, Place], str] = {}

    def __bool__(self) -> bool:
        return bool(self._held)

    def join(self, chunk: Chunk) -> None:
        """Join what belongs together in the texts of a chunk, and hold back a half at the end of one."""
        for number, piece in enumerate(chunk.pieces):
            if piece.kind == "other" or (not self._held and piece.value.isascii()):
                continue
            text = self._held.pop((piece.kind, piece.place), "") + piece.value
            if text and "\ud800" <= text[-1] <= "\udbff":
                self._held[piece.kind, piece.place] = text[-1]
                text = text[:-1]
            chunk.pieces[number] = piece._replace(value=join_surrogates(text))
