"""A neutral request as one for a response."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.errors import InvalidRequestError
from everytoken.translation.effort import effort_in
from everytoken.translation.identity import identifier
from everytoken.translation.ids import CallIds
from everytoken.translation.openai_responses.fields import API, WRITES
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
from everytoken.translation.turns import split_leading

if TYPE_CHECKING:
    from everytoken.translation.request import JsonOutput, Message, NeutralRequest, Tool

__all__ = ["write_request"]


def write_request(request: NeutralRequest) -> dict[str, Any]:
    """Return the body of a request. Raises `InvalidRequestError`, whose `param` names the caller's field."""
    refuse_unsaid(request, WRITES, API)
    leading, rest = split_leading(request.messages)
    if leading and not rest:  # the API wants something to answer
        rest = [leading.pop()]
    effort = "none" if request.reasons is False else effort_in(request)
    shown = None if request.shown == "omitted" else request.shown
    body: dict[str, Any] = {
        "model": request.model,
        "instructions": "\n\n".join(filter(None, map(_text_of, leading))) or None,
        "input": _items(rest),
        "max_output_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "text": _said({"format": _output(request.output), "verbosity": request.verbosity}) or None,
        "reasoning": _said({"effort": effort, "summary": shown}) or None,
        "user": identifier(request.user),
        "safety_identifier": identifier(request.safety_identifier),
        "metadata": request.metadata,
        "service_tier": request.service_tier,
        "prompt_cache_key": request.prompt_cache_key,
        "prompt_cache_retention": request.prompt_cache_retention,
        "prompt_cache_options": request.prompt_cache_options,
        "store": False,  # the API's default is to keep it for 30 days, which no caller of another API has asked for
        "stream": request.stream or None,
    }
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        body["parallel_tool_calls"] = request.parallel_calls
        body["tool_choice"] = _choice(request)
    return _said(body)


def _said(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _output(output: JsonOutput | None) -> dict[str, Any] | None:
    if output is None:
        return None
    if output.schema is None:
        return {"type": "json_object"}
    form = {"type": "json_schema", "name": output.name, "schema": output.schema}
    return form | _said({"description": output.description, "strict": output.strict})


def _choice(request: NeutralRequest) -> Any:
    if not request.allowed:
        return request.tool_choice
    custom = {tool.name for tool in request.tools if tool.custom}
    tools = [{"type": "custom" if name in custom else "function", "name": name} for name in request.allowed]
    if len(tools) == 1 and request.tool_choice == "required":
        return tools[0]
    return {
        "type": "allowed_tools",
        "mode": "required" if request.tool_choice == "required" else "auto",
        "tools": tools,
    }


def _tool(tool: Tool) -> dict[str, Any]:
    if tool.custom:
        written: dict[str, Any] = {"type": "custom", "name": tool.name}
        if tool.grammar:
            written["format"] = {"type": "grammar", **tool.grammar}
    else:
        schema = {"type": "object", "properties": {}} if tool.schema is None else tool.schema
        # Where it is not said, the API decides by the schema; with chat completions it is false.
        written = {"type": "function", "name": tool.name, "parameters": schema, "strict": bool(tool.strict)}
    if tool.description is not None:
        written["description"] = tool.description
    return written


def _text_of(message: Message) -> str:
    return "\n\n".join(part.text for part in message.parts if isinstance(part, Text))


def _items(messages: list[Message]) -> list[dict[str, Any]]:
    ids = CallIds()
    custom: set[str] = set()  # ids of calls
    items: list[dict[str, Any]] = []
    for message in messages:
        if message.role in ("system", "developer"):
            items.append({"role": message.role, "content": _text_of(message)})
        elif message.role == "assistant":
            said: list[dict[str, Any]] = []
            for part in message.parts:
                if isinstance(part, Text | Refusal):
                    if not said:
                        items.append(_answer(len(items), said))
                    said.append(_said_part(part))
                elif isinstance(part, ToolCall):
                    said = []
                    items.append(_call(part, ids))
                    (custom.add if part.custom else custom.discard)(part.id)
                elif not isinstance(part, Reasoning):
                    raise InvalidRequestError(f"'{part.at}' cannot be said to {API}", param=part.at)
        else:
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            items += [_result(part, ids, custom=part.call_id in custom) for part in results]
            parts = [_part(part) for part in message.parts if not isinstance(part, ToolResult)]
            if parts or not results:
                items.append({"role": "user", "content": _plain(parts)})
    return items


def _answer(position: int, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an earlier answer, in the form that it came in: some servers take no other. That has an id."""
    message = {"type": "message", "id": f"msg_{position}", "role": "assistant", "status": "completed"}
    return {**message, "content": parts}


def _said_part(part: Text | Refusal) -> dict[str, Any]:
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    return {"type": "output_text", "text": part.text, "annotations": []}


def _call(call: ToolCall, ids: CallIds) -> dict[str, Any]:
    item = {"call_id": ids.call(call.id), "name": call.name}
    if call.custom:
        return {"type": "custom_tool_call", **item, "input": call.arguments}
    return {"type": "function_call", **item, "arguments": call.arguments or "{}"}


def _result(result: ToolResult, ids: CallIds, *, custom: bool) -> dict[str, Any]:
    parts = [_part(part) for part in result.parts]
    if result.is_error:
        if parts and parts[0]["type"] == "input_text":
            parts[0]["text"] = failed(parts[0]["text"])
        else:
            parts.insert(0, {"type": "input_text", "text": failed("")})
    return {
        "type": "custom_tool_call_output" if custom else "function_call_output",
        "call_id": ids.result(result.call_id) or result.call_id,
        "output": _plain(parts),
    }


def _plain(parts: list[dict[str, Any]]) -> Any:
    """Return content: of one text as a string, or of parts."""
    if not parts:
        return ""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "input_text" else parts


def _part(part: Any) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "input_text", "text": part.text}
        case Image():
            url = part.url if part.url is not None else f"data:{part.media_type};base64,{part.data}"
            return {"type": "input_image", "detail": part.detail or "auto", "image_url": url}
        case File():
            return _file(part)
    raise InvalidRequestError(f"'{part.at}' cannot be said to {API}", param=part.at)


def _file(file: File) -> dict[str, Any]:
    told = text_of_file(file)
    if told is not None:
        return {"type": "input_text", "text": told}
    written = {"type": "input_file", **({"filename": file.name} if file.name else {})}
    if file.url is not None:
        return {**written, "file_url": file.url}
    data = f"data:{file.media_type};base64,{file.data}"
    return {"filename": "document", **written, "file_data": data}
