"""The input of a request for a response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.errors import InvalidRequestError
from everytoken.translation.openai_responses.fields import API, TYPES
from everytoken.translation.openai_responses.read_tools import flat_name
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
from everytoken.translation.table import checked_type
from everytoken.translation.values import objects, optional_text, split_data_url, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everytoken.translation.request import Part

__all__ = ["messages_in"]


def messages_in(body: Mapping[str, Any]) -> list[Message]:
    """Return `instructions` and `input` as messages."""
    instructions, given = optional_text(body, "instructions"), body.get("input")
    messages: list[Message] = []
    if instructions:
        part = Text(text=instructions, at="instructions")
        messages.append(Message(role="system", parts=[part], at="instructions"))
    if isinstance(given, str):
        messages.append(Message(role="user", parts=[Text(text=given, at="input")], at="input"))
    elif given is None:
        raise InvalidRequestError("'input' is required", param="input")
    else:
        for item, at in objects(given, "input"):
            message = _item(item, at)
            if message is not None:
                messages.append(message)
    return messages


def _item(item: dict[str, Any], at: str) -> Message | None:
    kind = item.get("type")
    if kind is None:
        kind = "message" if "role" in item else "item_reference"
    if checked_type("item", kind, TYPES, API, at).fate == "dropped":
        return None
    match kind:
        case "message":
            return _message(item, at)
        case "function_call" | "custom_tool_call":
            custom = kind == "custom_tool_call"
            call = ToolCall(
                id=text(item, "call_id", at),
                name=flat_name(item.get("namespace"), text(item, "name", at)),
                arguments=text(item, "input" if custom else "arguments", at),
                custom=custom,
                at=at,
            )
            return Message(role="assistant", parts=[call], at=at)
        case "function_call_output" | "custom_tool_call_output":
            return Message(role="user", parts=[_result(item, at)], at=at)
        case "reasoning":
            told = [text(part, "text", path) for part, path in objects(item.get("summary"), f"{at}.summary")]
            return Message(role="assistant", parts=[Reasoning(text="\n\n".join(told), at=at)], at=at)
    return None  # `additional_tools`, read with the tools


def _message(item: dict[str, Any], at: str) -> Message:
    role = item.get("role")
    checked_type("message", role, TYPES, API, at)
    parts = _parts(item.get("content"), f"{at}.content")
    for part in parts:
        if role != "user" and isinstance(part, Image | File):
            raise InvalidRequestError(f"a message of role {role!r} has text only", param=part.at)
    return Message(role=role, parts=parts, at=at)  # type: ignore[arg-type]


def _result(item: dict[str, Any], at: str) -> ToolResult:
    parts = _parts(item.get("output"), f"{at}.output")
    for part in parts:
        if not isinstance(part, Text | Image | File):
            raise InvalidRequestError(f"'{part.at}' cannot be in a tool result", param=part.at)
    return ToolResult(call_id=text(item, "call_id", at), parts=parts, at=at)  # type: ignore[arg-type]


def _parts(content: Any, at: str) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(text=content, at=at)]
    if not isinstance(content, list):
        raise InvalidRequestError(f"'{at}' must be a string or a list of parts", param=at)
    return [_part(part, path) for part, path in objects(content, at)]


def _part(part: dict[str, Any], at: str) -> Part:
    kind = part.get("type")
    checked_type("part", kind, TYPES, API, at)
    match kind:
        case "refusal":
            return Refusal(text=text(part, "refusal", at), at=at)
        case "input_image":
            _refuse_id(part, "image_url", at)
            url, detail = text(part, "image_url", at), optional_text(part, "detail", at)
            detail = None if detail == "auto" else detail  # the default
            data = split_data_url(url)
            if data is None:
                return Image(url=url, detail=detail, at=at)
            return Image(media_type=data[0], data=data[1], detail=detail, at=at)
        case "input_file":
            return _file(part, at)
    return Text(text=text(part, "text", at), at=at)


def _file(part: dict[str, Any], at: str) -> File:
    name, url = optional_text(part, "filename", at), optional_text(part, "file_url", at)
    if url is not None:
        return File(url=url, name=name, at=at)
    _refuse_id(part, "file_data", at)
    data = split_data_url(text(part, "file_data", at))
    if data is None:
        raise InvalidRequestError(
            f"'{at}.file_data' must be a 'data:' URL in base64", param=f"{at}.file_data"
        )
    return File(media_type=data[0], data=data[1], name=name, at=at)


def _refuse_id(part: dict[str, Any], instead: str, at: str) -> None:
    if part.get("file_id") is not None and part.get(instead) is None:
        raise InvalidRequestError(
            f"'{at}.file_id' cannot be translated: the file is at OpenAI", param=f"{at}.file_id"
        )
