"""Results of tools for an API that cannot say that a tool has failed, or has no documents in text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.translation.values import text_of_base64

if TYPE_CHECKING:
    from everytoken.translation.request import File

__all__ = ["failed", "text_of_file"]


def failed(text: str) -> str:
    """Return the result of a tool that has failed, which says so."""
    return text if text.lower().startswith("error") else f"Error: {text}"


def text_of_file(file: File) -> str | None:
    """Return a plain text document as text under its name; None for any other document."""
    if file.media_type != "text/plain" or file.data is None:
        return None
    told = text_of_base64(file.data, file.at)
    return f"{file.name}:\n{told}" if file.name else told
