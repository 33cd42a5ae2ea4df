"""Untrusted text for a terminal."""

from __future__ import annotations

__all__ = ["one_line", "visible"]

# A model's text must not control the terminal: control characters are shown as pictures. CR would overwrite a line.
_CONTROLS: dict[int, int | None] = {
    **{code: 0x2400 + code for code in range(0x20) if code not in b"\t\n"},
    **dict.fromkeys(range(0x7F, 0xA0), 0xFFFD),
    ord("\r"): None,
}


def visible(text: str) -> str:
    """Return `text` without characters that a terminal would obey."""
    return text.translate(_CONTROLS)


def one_line(text: str) -> str:
    """Return `text` as one visible line."""
    return visible(" ".join(text.split()))
