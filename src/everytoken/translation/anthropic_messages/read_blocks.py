"""The content blocks of a request for a message."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import InvalidRequestError
from everytoken.json import dumps
from everytoken.translation.anthropic_messages.fields import API, TYPES
from everytoken.translation.request import File, Image, Reasoning, Text, ToolCall, ToolResult
from everytoken.translation.table import checked_type
from everytoken.translation.values import flag, obj, objects, optional_text, text

if TYPE_CHECKING:
    from collections.abc import Collection

    from everytoken.translation.request import Part

__all__ = ["blocks_in", "text_blocks"]

_TEXT: Final = ("text",)
_IN_DOCUMENTS: Final = ("text", "image")
_IN_RESULTS: Final = ("text", "image", "search_result", "document", "tool_reference")


def text_blocks(content: Any, at: str) -> list[Text]:
    """Return content that is text only."""
    return _content(content, at, _TEXT)  # type: ignore[return-value]


def blocks_in(content: Any, at: str, role: str) -> list[Part]:
    """Return the content of a message. Calls are by the assistant, results by the user."""
    parts = _content(content, at)
    for part in parts:
        if isinstance(part, ToolCall | Reasoning) and role != "assistant":
            raise InvalidRequestError(f"'{part.at}' must be in a message of the assistant", param=part.at)
        if isinstance(part, ToolResult | Image | File) and role == "assistant":
            raise InvalidRequestError(f"'{part.at}' must be in a message of the user", param=part.at)
    return parts


def _content(content: Any, at: str, allowed: Collection[str] | None = None) -> list[Part]:
    """Return content. `allowed`: the types of blocks that it may have; blocks in blocks are of ever fewer types."""
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(text=content, at=at)]
    if not isinstance(content, list):
        raise InvalidRequestError(f"'{at}' must be a string or a list of content blocks", param=at)
    parts: list[Part] = []
    for block, path in objects(content, at):
        if allowed is not None and block.get("type") not in allowed:
            raise InvalidRequestError(f"'{path}' must be of type {' or '.join(allowed)}", param=path)
        parts += _block(block, path)
    return parts


def _block(block: dict[str, Any], at: str) -> list[Part]:
    kind = block.get("type")
    if checked_type("part", kind, TYPES, API, at).fate == "dropped":
        return []
    match kind:
        case "text":
            return [Text(text=text(block, "text", at), at=at)]
        case "thinking":
            return [Reasoning(text=optional_text(block, "thinking", at) or "", at=at)]
        case "redacted_thinking":
            return [Reasoning(at=at)]
        case "tool_use":
            arguments = dumps(obj(block.get("input"), f"{at}.input")).decode()
            return [
                ToolCall(id=text(block, "id", at), name=text(block, "name", at), arguments=arguments, at=at)
            ]
        case "tool_result":
            return [_result(block, at)]
        case "tool_reference":
            return [Text(text=f"The tool {text(block, 'tool_name', at)} can be called.", at=at)]
        case "search_result":
            _refuse_citations(block, at)
            found = text_blocks(block.get("content"), f"{at}.content")
            lines = [text(block, "title", at), text(block, "source", at), *(part.text for part in found)]
            return [Text(text="\n".join(lines), at=at)]
        case "image":
            return [_image(obj(block.get("source"), f"{at}.source"), at)]
    return _document(block, at)


def _result(block: dict[str, Any], at: str) -> ToolResult:
    parts = _content(block.get("content"), f"{at}.content", _IN_RESULTS)
    return ToolResult(
        call_id=text(block, "tool_use_id", at),
        parts=parts,  # type: ignore[arg-type]
        is_error=bool(flag(block, "is_error", at)),
        at=at,
    )


def _image(source: dict[str, Any], at: str) -> Image:
    within = f"{at}.source"
    match source.get("type"):
        case "base64":
            return Image(
                data=text(source, "data", within), media_type=text(source, "media_type", within), at=at
            )
        case "url":
            return Image(url=text(source, "url", within), at=at)
    raise _unreadable(source, within)


def _document(block: dict[str, Any], at: str) -> list[Part]:
    _refuse_citations(block, at)
    source, within = obj(block.get("source"), f"{at}.source"), f"{at}.source"
    title = optional_text(block, "title", at)
    context = optional_text(block, "context", at)
    before: list[Part] = [Text(text=context, at=f"{at}.context")] if context else []
    match source.get("type"):
        case "base64":
            data, media_type = text(source, "data", within), text(source, "media_type", within)
            return [*before, File(data=data, media_type=media_type, name=title, at=at)]
        case "text":
            data = base64.b64encode(text(source, "data", within).encode("utf-8", "replace")).decode()
            return [*before, File(data=data, media_type="text/plain", name=title, at=at)]
        case "url":
            return [*before, File(url=text(source, "url", within), name=title, at=at)]
        case "content":
            parts = _content(source.get("content"), f"{within}.content", _IN_DOCUMENTS)
            return [*before, *([Text(text=title, at=f"{at}.title")] if title else []), *parts]
    raise _unreadable(source, within)


def _unreadable(source: dict[str, Any], at: str) -> InvalidRequestError:
    if source.get("type") == "file":
        return InvalidRequestError(
            f"'{at}' cannot be translated: the file is at another provider", param=f"{at}.file_id"
        )
    return InvalidRequestError(
        f"'{at}' of type {source.get('type')!r} cannot be translated", param=f"{at}.type"
    )


def _refuse_citations(block: dict[str, Any], at: str) -> None:
    citations = block.get("citations")
    if isinstance(citations, dict) and citations.get("enabled"):
        raise InvalidRequestError(
            f"'{at}.citations' cannot be translated: no other API cites documents", param=f"{at}.citations"
        )
