"""The AI SDK's UI messages: as the OpenAI messages of a request, and as the chunks that rebuild one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.errors import InvalidRequestError
from everytoken.json import dumps

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["is_ui_request", "openai_messages", "rebuild"]

_ANSWERED = frozenset({"output-available", "output-error", "output-denied"})
# Parts whose chunks have the same fields.
_AS_THEY_ARE = frozenset({"file", "reasoning-file", "source-url", "source-document", "custom"})


def is_ui_request(body: dict[str, Any]) -> bool:
    """Whether a body is in the AI SDK's form: its messages have `parts`, not `content`."""
    messages = body.get("messages")
    return isinstance(messages, list) and any(
        isinstance(message, dict) and isinstance(message.get("parts"), list) for message in messages
    )


def openai_messages(messages: list[Any]) -> list[dict[str, Any]]:
    """Return UI messages as OpenAI takes them. Raises `InvalidRequestError`; `param` names the place.

    Text is joined; files become `image_url` or `file` parts; a tool part with its output becomes the assistant's call and
    a tool message. Reasoning is not sent back, a call without output neither, nor parts that say nothing to a model.
    """
    converted: list[dict[str, Any]] = []
    for position, message in enumerate(messages):
        place = f"messages[{position}]"
        if not isinstance(message, dict) or not isinstance(message.get("parts"), list):
            raise InvalidRequestError("each message needs 'parts'", param=f"{place}.parts")
        parts = [part for part in message["parts"] if isinstance(part, dict)]
        for number, part in enumerate(parts):
            if _is_tool(part) and not isinstance(part.get("state"), str):
                raise InvalidRequestError(
                    "a tool part needs a 'state'", param=f"{place}.parts[{number}].state"
                )
        role = message.get("role")
        if role == "system":
            converted.append({"role": "system", "content": _text(parts)})
        elif role == "user":
            converted.append({"role": "user", "content": _user_content(parts, place)})
        elif role == "assistant":
            converted += _assistant(parts)
        else:
            raise InvalidRequestError("'role' must be system, user or assistant", param=f"{place}.role")
    return converted


def rebuild(parts: list[Any]) -> list[dict[str, Any]]:
    """Return the chunks from which a client makes `parts` of an assistant's message anew.

    A tool's input goes as text, because the chunk that says it is complete would make the client run the tool again.
    """
    chunks: list[dict[str, Any]] = []
    for number, part in enumerate(parts):
        if isinstance(part, dict) and isinstance(part.get("type"), str):
            chunks += _rebuilt(part, f"before-{number}")
    return chunks


def _text(parts: list[dict[str, Any]]) -> str:
    texts = (part.get("text") for part in parts if part.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def _user_content(parts: list[dict[str, Any]], place: str) -> str | list[dict[str, Any]]:
    if not any(part.get("type") == "file" for part in parts):
        return _text(parts)
    content: list[dict[str, Any]] = []
    for part in parts:
        if part.get("type") == "text" and isinstance(part.get("text"), str):
            content.append({"type": "text", "text": part["text"]})
        elif part.get("type") == "file":
            content.append(_file(part, place))
    return content


def _file(part: dict[str, Any], place: str) -> dict[str, Any]:
    url, media = part.get("url"), part.get("mediaType")
    if not isinstance(url, str) or not isinstance(media, str):
        raise InvalidRequestError("a file part needs 'url' and 'mediaType'", param=f"{place}.parts")
    if media.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    if not url.startswith("data:"):
        # Leaving it out would get an answer to another question.
        raise InvalidRequestError(
            "a file that is not an image must be sent as a data: URL", param=f"{place}.parts"
        )
    return {"type": "file", "file": {"filename": part.get("filename") or "file", "file_data": url}}


def _assistant(parts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the messages of one UI message: for each of its steps, what was said and called, then the outputs."""
    step: list[dict[str, Any]] = []
    for part in [*parts, {"type": "step-start"}]:
        if part.get("type") != "step-start":
            step.append(part)
            continue
        tools = [tool for tool in step if _is_tool(tool) and tool.get("state") in _ANSWERED]
        text = _text(step)
        if text or tools:
            yield {
                "role": "assistant",
                "content": text or None,
                **({"tool_calls": [_call(tool) for tool in tools]} if tools else {}),
            }
        for tool in tools:
            yield {"role": "tool", "tool_call_id": str(tool.get("toolCallId")), "content": _output(tool)}
        step = []


def _is_tool(part: dict[str, Any]) -> bool:
    kind = part.get("type")
    return isinstance(kind, str) and (kind == "dynamic-tool" or kind.startswith("tool-"))


def _tool_name(part: dict[str, Any]) -> str:
    kind: str = part["type"]
    return str(part.get("toolName")) if kind == "dynamic-tool" else kind.removeprefix("tool-")


def _call(part: dict[str, Any]) -> dict[str, Any]:
    function = {"name": _tool_name(part), "arguments": _input(part)}
    return {"id": str(part.get("toolCallId")), "type": "function", "function": function}


def _input(part: dict[str, Any]) -> str:
    """Return a call's arguments; of one whose arguments were no JSON, what the model wrote."""
    value = part.get("input")
    if value is None:
        value = part.get("rawInput", {})
    return value if isinstance(value, str) else dumps(value).decode()


def _output(part: dict[str, Any]) -> str:
    if part.get("state") == "output-available":
        output = part.get("output")
        return output if isinstance(output, str) else dumps(output).decode()
    if part.get("state") == "output-error":
        return str(part.get("errorText") or "the tool failed")
    approval = part.get("approval")
    reason = approval.get("reason") if isinstance(approval, dict) else None
    return str(reason or "the user did not allow this call")


def _rebuilt(part: dict[str, Any], part_id: str) -> Iterator[dict[str, Any]]:
    kind: str = part["type"]
    if kind == "step-start":
        yield {"type": "start-step"}
    elif kind in {"text", "reasoning"}:
        yield {"type": f"{kind}-start", "id": part_id}
        yield {"type": f"{kind}-delta", "id": part_id, "delta": str(part.get("text") or "")}
        yield {"type": f"{kind}-end", "id": part_id}
    elif _is_tool(part):
        yield from _rebuilt_tool(part)
    elif kind in _AS_THEY_ARE or kind.startswith("data-"):
        yield part


def _rebuilt_tool(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    call = {"toolCallId": str(part.get("toolCallId"))}
    dynamic = {"dynamic": True} if part["type"] == "dynamic-tool" else {}
    yield {"type": "tool-input-start", **call, "toolName": _tool_name(part), **dynamic}
    yield {"type": "tool-input-delta", **call, "inputTextDelta": _input(part)}
    if part.get("state") == "output-available":
        yield {"type": "tool-output-available", **call, "output": part.get("output")}
    elif part.get("state") == "output-error":
        yield {"type": "tool-output-error", **call, "errorText": _output(part)}
    elif part.get("state") == "output-denied":
        yield {"type": "tool-output-denied", **call}
