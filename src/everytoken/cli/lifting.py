"""Code in lists and quotations, moved to the left: what is copied from a terminal must have no indent that is not its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

__all__ = ["CONTINUED", "lifted"]

CONTINUED = "continued"
"""In a list item's `meta`: its beginning is above the code, so it has neither a bullet nor a number here."""

_CODE = frozenset({"fence", "code_block"})
_OPENINGS = frozenset({"bullet_list_open", "ordered_list_open", "list_item_open", "blockquote_open"})
_CLOSINGS = {name: f"{name.removesuffix('_open')}_close" for name in _OPENINGS}


def lifted(tokens: Sequence[Token]) -> list[Token | list[Token]]:
    """Return code as single tokens, and what is between it as lists of tokens that can be rendered on their own."""
    parts: list[Token | list[Token]] = []
    part: list[Token] = []
    open_: list[Token] = []  # containers
    for token in tokens:
        if token.type in _CODE:
            parts += [[*part, *(_closing(one) for one in reversed(open_))], token]
            open_ = [_again(one) for one in open_]
            part = list(open_)
            continue
        if token.type in _OPENINGS:
            if token.type == "list_item_open":
                _count(open_[-1])
            open_.append(token)
        elif token.type in _CLOSINGS.values():
            open_.pop()
        part.append(token)
    parts.append(part)
    return [one for one in map(_without_empty, parts) if one != []]


def _count(container: Token) -> None:
    """Count an item of a list."""
    container.meta = {**container.meta, "items": container.meta.get("items", 0) + 1}


def _closing(opening: Token) -> Token:
    return opening.copy(type=_CLOSINGS[opening.type], nesting=-1)


def _again(opening: Token) -> Token:
    """Return the token that opens a container once more, behind code that stands in it."""
    if opening.type == "list_item_open":
        return opening.copy(meta={CONTINUED: True})
    if opening.type == "ordered_list_open":
        number = int(opening.attrs.get("start", 1)) + opening.meta.get("items", 1) - 1
        return opening.copy(attrs={**opening.attrs, "start": number}, meta={"items": 1})
    return opening.copy()


def _without_empty(part: Token | list[Token]) -> Token | list[Token]:
    """Return tokens without containers that were opened once more for nothing."""
    if not isinstance(part, list):
        return part
    kept: list[Token] = []
    for token in part:
        opening = kept[-1] if kept else None
        if opening is None or token.type != _CLOSINGS.get(opening.type):
            kept.append(token)
        elif opening.type == "list_item_open" and not opening.meta.get(CONTINUED):
            kept.append(token)  # an item whose code is all it has: its number is shown
        else:
            kept.pop()
            if opening.type == "list_item_open" and kept[-1].type == "ordered_list_open":
                above = kept[-1]
                kept[-1] = above.copy(attrs={**above.attrs, "start": int(above.attrs.get("start", 1)) + 1})
    return kept
