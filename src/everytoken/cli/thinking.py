"""Thinking that a model writes into its answer: `<think>…</think>` at the beginning."""

from __future__ import annotations

__all__ = ["ThinkTags"]

_OPEN, _CLOSE = "<think>", "</think>"


class ThinkTags:
    """Splits a text that comes in pieces. Only a tag that is the first of the text counts: later ones are about tags."""

    def __init__(self) -> None:
        self._held = ""  # what may be the beginning of a tag
        self._tag: str | None = _OPEN  # the one that may come next
        self._blank = True  # whether the thinking has nothing but empty lines yet

    def push(self, text: str) -> list[tuple[bool, str]]:
        """Return the parts that are certain: whether each is thinking, and its text."""
        if self._tag is None:
            return [(False, text)]
        self._held += text
        parts: list[tuple[bool, str]] = []
        if self._tag == _OPEN:
            start = self._held.lstrip()
            if start.startswith(_OPEN):
                self._held, self._tag = start[len(_OPEN) :], _CLOSE
            elif not _OPEN.startswith(start):
                held, self._held, self._tag = self._held, "", None
                return [(False, held)]
        if self._tag == _CLOSE:
            if self._blank:
                self._held = self._held.lstrip("\n")
                self._blank = not self._held
            thought, closed, rest = self._held.partition(_CLOSE)
            if closed:
                self._held, self._tag = "", None
                return [(True, thought.rstrip()), (False, rest.lstrip("\n"))]
            keep = next((n for n in range(len(_CLOSE) - 1, 0, -1) if thought.endswith(_CLOSE[:n])), 0)
            # Line ends before the tag are not shown, so they are held, too.
            certain = thought[: len(thought) - keep].rstrip("\n")
            self._held = thought[len(certain) :]
            parts = [(True, certain)]
        return [(thinking, part) for thinking, part in parts if part]

    def finish(self) -> str:
        """Return what was held and is no tag."""
        held, self._held, self._tag = self._held, "", None
        return held
