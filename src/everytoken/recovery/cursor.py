"""How much of an expected text has come again."""

from __future__ import annotations

from everytoken.errors import DivergedError

__all__ = ["Cursor"]


class Cursor:
    """How much of one expected text has come again."""

    __slots__ = ("_expected", "_position", "_what")

    def __init__(self, what: str, expected: str) -> None:
        self._what = what
        self._expected = expected
        self._position = 0

    @property
    def caught_up(self) -> bool:
        """Whether all of it has come again."""
        return self._position >= len(self._expected)

    def advance(self, piece: str) -> str:
        """Take a piece; return what of it is new. Raises `DivergedError`."""
        start = self._position
        left = len(self._expected) - start
        if not left:
            return piece
        if len(piece) <= left:
            same = self._expected.startswith(piece, start)
        else:
            same = piece.startswith(self._expected[start:])
        if not same:
            raise DivergedError(f"the repeated {self._what} differs after {start} characters")
        self._position = start + min(len(piece), left)
        return piece[left:]
