"""The messages of a neutral request as the turns of a request for a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import InvalidRequestError
from everytoken.translation.anthropic_messages.fields import API
from everytoken.translation.ids import CallIds
from everytoken.translation.request import (
    File,
    Image,
    Message,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from everytoken.translation.turns import turns_of
from everytoken.translation.values import text_of_base64
from everytoken.translation.wrapping import object_of, wrapped_input

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.translation.request import NeutralRequest

__all__ = ["write_messages"]

_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_SYSTEM: Final = ("system", "developer")


def write_messages(request: NeutralRequest) -> tuple[Any, list[dict[str, Any]]]:
    """Return `system`, None without one, and `messages`."""
    system, rest = _sorted(request.messages)
    turns = turns_of(rest, ("user", "assistant"))
    _refuse_unanswered(turns)
    ids = CallIds()
    messages: list[tuple[str, list[dict[str, Any]]]] = []
    for turn in turns:
        blocks = [block for part in turn.parts if (block := _block(part, ids)) is not None]
        if not blocks:
            continue
        if messages and messages[-1][0] == turn.role:  # nothing was left of the turn between
            messages[-1][1].extend(blocks)
        else:
            messages.append((turn.role, blocks))
    if not messages:
        raise InvalidRequestError("there is no message with anything in it", param=request.path("messages"))
    told = [block for one in system for part in one.parts if (block := _block(part, ids)) is not None]
    written = [{"role": role, "content": _plain(blocks)} for role, blocks in messages]
    return _plain(told) if told else None, written


def _sorted(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """Return what belongs into `system`, and the turns.

    Anthropic's own chat completions put system messages from anywhere in front, too: only some models take them in between.
    Behind the last answer they are what is to be answered, and become a turn of the user.
    """
    last = max((position for position, one in enumerate(messages) if one.role not in _SYSTEM), default=-1)
    answered = last >= 0 and messages[last].role == "assistant"
    system, turns = [], []
    for position, message in enumerate(messages):
        if message.role not in _SYSTEM:
            turns.append(message)
        elif position > last and (answered or (last < 0 and position == len(messages) - 1)):
            turns.append(Message(role="user", parts=message.parts, at=message.at))
        else:
            system.append(message)
    return system, turns


def _refuse_unanswered(turns: Sequence[Message]) -> None:
    for position, turn in enumerate(turns[:-1]):
        answered = {part.call_id for part in turns[position + 1].parts if isinstance(part, ToolResult)}
        for part in turn.parts:
            if isinstance(part, ToolCall) and part.id not in answered:
                raise InvalidRequestError(
                    f"'{part.at}' cannot be said to {API}: the call {part.id[:100]!r} has no result",
                    param=part.at,
                )


def _plain(blocks: list[dict[str, Any]]) -> Any:
    """Return content: of one text as a string, or blocks."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


def _block(part: Any, ids: CallIds) -> dict[str, Any] | None:
    match part:
        case Text() | Refusal():
            # Text that is empty, or white space only, is refused.
            return {"type": "text", "text": part.text} if part.text.strip() else None
        case Reasoning():
            return None
        case Image():
            return {"type": "image", "source": _image(part)}
        case File():
            return _document(part)
        case ToolCall():
            arguments = wrapped_input(part.arguments) if part.custom else part.arguments
            return {
                "type": "tool_use",
                "id": ids.call(part.id),
                "name": part.name,
                "input": object_of(arguments),
            }
        case ToolResult():
            return _result(part, ids)
    raise AssertionError(part)


def _result(result: ToolResult, ids: CallIds) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "tool_result", "tool_use_id": ids.result(result.call_id)}
    blocks = [one for part in result.parts if (one := _block(part, ids)) is not None]
    if blocks:
        block["content"] = _plain(blocks)
    if result.is_error:
        block["is_error"] = True
    return block


def _image(image: Image) -> dict[str, Any]:
    if image.url is not None:
        return {"type": "url", "url": image.url}
    media_type = "image/jpeg" if image.media_type == "image/jpg" else image.media_type
    if media_type not in _IMAGES:
        raise InvalidRequestError(
            f"'{image.at}' cannot be said to {API}: an image of type {media_type!r} is refused there",
            param=image.at,
        )
    return {"type": "base64", "media_type": media_type, "data": image.data}


def _document(file: File) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "document"}
    if file.url is not None:
        block["source"] = {"type": "url", "url": file.url}
    elif file.media_type == "application/pdf":
        block["source"] = {"type": "base64", "media_type": file.media_type, "data": file.data}
    elif (file.media_type or "").startswith("text/") or file.media_type == "application/json":
        told = text_of_base64(file.data or "", file.at)
        block["source"] = {"type": "text", "media_type": "text/plain", "data": told}
    else:
        raise InvalidRequestError(
            f"'{file.at}' cannot be said to {API}: it takes PDF and text, not {file.media_type!r}",
            param=file.at,
        )
    if file.name:
        block["title"] = file.name
    return block
