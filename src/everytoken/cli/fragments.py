"""Files that go with a question: text under its name, images as parts of the message."""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everytoken.errors import EverytokenError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["STDIN", "Content", "message_content", "shown"]

Content = str | list[dict[str, Any]]

STDIN = "-"

_LARGEST = (
    16 * 1024 * 1024
)  # bytes of all files together: the gateway takes bodies of 32 MiB, and base64 adds a third
_IMAGES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
)


def message_content(question: str, files: Sequence[str]) -> Content:
    """Return the content of a message: the question, then texts under their names, then images.

    Raises `EverytokenError` for a file that cannot be read, is neither text nor an image, or is too large.
    """
    texts, images, room = [question] if question else [], [], _LARGEST
    for name in files:
        data = _read(name, room)
        room -= len(data)
        media = next((media for start, media in _IMAGES if start.match(data)), None)
        if media is None:
            texts.append(_fragment(name, data))
        else:
            url = f"data:{media};base64,{base64.b64encode(data).decode('ascii')}"
            images.append({"type": "image_url", "image_url": {"url": url}})
    text = "\n\n".join(texts)
    if not images:
        return text
    return [*([{"type": "text", "text": text}] if text else []), *images]


def shown(content: Content) -> str:
    """Return the text of a message's content, and how many images it has."""
    if isinstance(content, str):
        return content
    texts = [str(part.get("text", "")) for part in content if part.get("type") == "text"]
    images = len(content) - len(texts)
    return "\n\n".join([*texts, *([f"[{images} image{'s' if images > 1 else ''}]"] if images else [])])


def _read(name: str, room: int) -> bytes:
    try:
        if name == STDIN:
            data = sys.stdin.buffer.read(room + 1)
        else:
            with Path(name).open("rb") as file:
                data = file.read(room + 1)
    except OSError as error:
        raise EverytokenError(f"{name} cannot be read: {error.strerror or error}") from error
    if len(data) > room:
        raise EverytokenError(f"the files have more than {_LARGEST // 1024 // 1024} MiB together")
    return data


def _fragment(name: str, data: bytes) -> str:
    """Return text in a fence that nothing in it can close, under its name."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise EverytokenError(f"{name} is neither UTF-8 text nor a PNG, JPEG, GIF or WebP image")
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    title = "standard input" if name == STDIN else name
    return f"{title}:\n{fence}\n{text.rstrip()}\n{fence}"
