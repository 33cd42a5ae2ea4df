"""Texts of a stream: as JSON, and whole where a server has cut a character in two."""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Final

from everytoken.json import join_surrogates

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["Halves", "quoted"]

quoted: Final = encode_basestring
"""Return text as JSON, not escaped beyond need. It is the quickest there is."""


class Halves:
    """Surrogate pairs that were split over two events: the first half is held back until the second one comes."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[Hashable, str] = {}

    def join(self, place: Hashable, text: str) -> str:
        """Return what of the text at `place` can be told now; a half that stays alone becomes U+FFFD."""
        if not self._held and text.isascii():
            return text
        text = self._held.pop(place, "") + text
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._held[place] = text[-1]
            text = text[:-1]
        return join_surrogates(text)
