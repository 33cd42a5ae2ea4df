"""A neutral request as one for a chat completion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.errors import InvalidRequestError
from everytoken.translation.effort import effort_in
from everytoken.translation.identity import identifier
from everytoken.translation.openai_chat.fields import API, WRITES
from everytoken.translation.request import (
    File,
    Image,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)
from everytoken.translation.results import failed, text_of_file
from everytoken.translation.table import refuse_unsaid
from everytoken.translation.turns import split_leading, turns_of
from everytoken.translation.wrapping import wrapped_description, wrapped_input, wrapped_schema

if TYPE_CHECKING:
    from everytoken.translation.request import JsonOutput, Message, NeutralRequest, Tool

__all__ = ["write_request"]

_DETAILS = ("auto", "low", "high")


def write_request(request: NeutralRequest) -> dict[str, Any]:
    """Return the body of a request. Raises `InvalidRequestError`, whose `param` names the caller's field."""
    refuse_unsaid(request, WRITES, API)
    body: dict[str, Any] = {
        "model": request.model,
        "messages": _messages(request.messages),
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": list(request.stop) or None,
        "response_format": _output(request.output),
        "reasoning_effort": "none" if request.reasons is False else effort_in(request),
        "verbosity": request.verbosity,
        "user": identifier(request.user),
        "safety_identifier": identifier(request.safety_identifier),
        "metadata": request.metadata,
        "service_tier": request.service_tier,
        "prompt_cache_key": request.prompt_cache_key,
        "prompt_cache_retention": request.prompt_cache_retention,
        "prompt_cache_options": request.prompt_cache_options,
        "stream": request.stream or None,
    }
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        body["parallel_tool_calls"] = request.parallel_calls
        body["tool_choice"] = _choice(request)
    return {name: value for name, value in body.items() if value is not None}


def _output(output: JsonOutput | None) -> dict[str, Any] | None:
    if output is None:
        return None
    if output.schema is None:
        return {"type": "json_object"}
    form: dict[str, Any] = {"name": output.name, "schema": output.schema}
    if output.description is not None:
        form["description"] = output.description
    if output.strict is not None:
        form["strict"] = output.strict
    return {"type": "json_schema", "json_schema": form}


def _choice(request: NeutralRequest) -> Any:
    if not request.allowed:
        return request.tool_choice
    tools = [{"type": "function", "function": {"name": name}} for name in request.allowed]
    if len(tools) == 1 and request.tool_choice == "required":
        return tools[0]
    mode = "required" if request.tool_choice == "required" else "auto"
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    description = wrapped_description(tool) if tool.custom else tool.description
    if description is not None:
        function["description"] = description
    schema = wrapped_schema() if tool.custom else tool.schema
    if schema is not None:
        function["parameters"] = schema
    if tool.strict:  # not asked for is the default, and many servers do not know the field
        function["strict"] = True
    return {"type": "function", "function": function}


def _messages(messages: list[Message]) -> list[dict[str, Any]]:
    leading, rest = split_leading(messages)
    written: list[dict[str, Any]] = []
    system = "\n\n".join(filter(None, map(_text_of, leading)))
    if system:
        written.append({"role": "system", "content": system})
    shown: list[Any] = []  # images of results: they follow the last of them
    for turn in turns_of(rest, ("assistant",)):
        match turn.role:
            case "assistant":
                _append_images(written, shown)
                written.extend(_assistant(turn))
            case "user":
                results = [part for part in turn.parts if isinstance(part, ToolResult)]
                written += [_result(result, shown) for result in results]
                parts = [_part(part) for part in turn.parts if not isinstance(part, ToolResult)]
                if results and not parts:
                    continue
                if shown:
                    parts, shown = [*shown, *parts], []
                written.append({"role": "user", "content": _plain(parts)})
            case _:
                _append_images(written, shown)
                written.append({"role": "system", "content": _text_of(turn)})
    _append_images(written, shown)
    return written


def _append_images(written: list[dict[str, Any]], shown: list[Any]) -> None:
    if shown:
        written.append({"role": "user", "content": list(shown)})
        shown.clear()


def _text_of(message: Message) -> str:
    return "\n\n".join(part.text for part in message.parts if isinstance(part, Text))


def _plain(parts: list[dict[str, Any]]) -> Any:
    """Return content: of one text, which every server takes as a string, or of parts."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


def _assistant(turn: Message) -> list[dict[str, Any]]:
    """Return the message of a turn, or none where nothing is left of it."""
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for part in turn.parts:
        match part:
            case Text():
                parts.append({"type": "text", "text": part.text})
            case Refusal():
                parts.append({"type": "refusal", "refusal": part.text})
            case ToolCall():
                arguments = wrapped_input(part.arguments) if part.custom else part.arguments
                function = {"name": part.name, "arguments": arguments or "{}"}
                calls.append({"id": part.id, "type": "function", "function": function})
            case Reasoning():
                continue
            case _:
                raise InvalidRequestError(f"'{part.at}' cannot be said to {API}", param=part.at)
    if not parts and not calls and turn.parts:
        return []
    message: dict[str, Any] = {"role": "assistant", "content": _plain(parts) if parts or not calls else None}
    if calls:
        message["tool_calls"] = calls
    return [message]


def _result(result: ToolResult, shown: list[Any]) -> dict[str, Any]:
    """Return the message of a result. Its images are added to `shown`: the API takes only text in it."""
    parts = [_part(part) for part in result.parts]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    others = [part for part in parts if part["type"] != "text"]
    if others:
        shown.append({"type": "text", "text": f"From the result of the tool call {result.call_id}:"})
        shown.extend(others)
        texts = texts or ["(what it has returned follows in the next message)"]
    content = "\n".join(texts)
    content = failed(content) if result.is_error else content
    return {"role": "tool", "tool_call_id": result.call_id, "content": content}


def _part(part: Any) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            url = part.url if part.url is not None else f"data:{part.media_type};base64,{part.data}"
            detail = {"detail": part.detail if part.detail in _DETAILS else "high"} if part.detail else {}
            return {"type": "image_url", "image_url": {"url": url, **detail}}
        case File():
            return _file(part)
    raise InvalidRequestError(f"'{part.at}' cannot be said to {API}", param=part.at)


def _file(file: File) -> dict[str, Any]:
    if file.data is None:
        raise InvalidRequestError(
            f"'{file.at}' cannot be said to {API}: they take no documents by their URL", param=file.at
        )
    told = text_of_file(file)
    if told is not None:
        return {"type": "text", "text": told}
    data = f"data:{file.media_type};base64,{file.data}"
    return {"type": "file", "file": {"file_data": data, "filename": file.name or "document"}}
