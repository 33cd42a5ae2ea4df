"""A chat completion request as a neutral one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.dialects.fields import check_messages, flag_in, model_in
from everytoken.errors import InvalidRequestError
from everytoken.json import dumps
from everytoken.translation.openai_chat.fields import API, READS, TYPES
from everytoken.translation.request import (
    EFFORTS,
    File,
    Image,
    JsonOutput,
    Message,
    NeutralRequest,
    Refusal,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from everytoken.translation.table import checked, checked_type
from everytoken.translation.values import (
    flag,
    integer,
    number,
    obj,
    objects,
    optional_text,
    split_data_url,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everytoken.translation.request import Part

__all__ = ["read_request"]


def read_request(body: Mapping[str, Any]) -> NeutralRequest:
    """Return a caller's request. Raises `InvalidRequestError`, whose `param` names the field."""
    paths = checked(body, READS, API)
    check_messages(body.get("messages"))
    request = NeutralRequest(
        model=model_in(body),
        messages=[_message(one, at) for one, at in objects(body["messages"], "messages")],
        tools=[_tool(tool, at) for tool, at in objects(body.get("tools"), "tools")],
        parallel_calls=flag(body, "parallel_tool_calls"),
        max_tokens=_limit(body),
        temperature=number(body, "temperature"),
        top_p=number(body, "top_p"),
        top_k=integer(body, "top_k"),
        stop=_stop(body.get("stop")),
        output=_output(body.get("response_format")),
        verbosity=optional_text(body, "verbosity"),
        user=optional_text(body, "user"),
        safety_identifier=optional_text(body, "safety_identifier"),
        metadata=None if body.get("metadata") is None else obj(body["metadata"], "metadata"),
        service_tier=optional_text(body, "service_tier"),
        prompt_cache_key=optional_text(body, "prompt_cache_key"),
        prompt_cache_retention=optional_text(body, "prompt_cache_retention"),
        prompt_cache_options=body.get("prompt_cache_options"),
        stream=flag_in(body, "stream"),
        paths=paths,
    )
    _read_choice(body.get("tool_choice"), request)
    _read_effort(optional_text(body, "reasoning_effort"), request)
    return request


def _limit(body: Mapping[str, Any]) -> int | None:
    limit = integer(body, "max_completion_tokens")
    return integer(body, "max_tokens") if limit is None else limit


def _stop(value: Any) -> list[str]:
    values = [value] if isinstance(value, str) else value or []
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise InvalidRequestError("'stop' must be a string or a list of strings", param="stop")
    return list(values)


def _output(value: Any) -> JsonOutput | None:
    if value is None:
        return None
    form = obj(value, "response_format")
    match form.get("type"):
        case "text":
            return None
        case "json_object":
            return JsonOutput()
        case "json_schema":
            at = "response_format.json_schema"
            inner = obj(form.get("json_schema"), at)
            schema = inner.get("schema")
            return JsonOutput(
                schema=None if schema is None else obj(schema, f"{at}.schema"),
                name=optional_text(inner, "name", at) or "answer",
                description=optional_text(inner, "description", at),
                strict=flag(inner, "strict", at),
            )
    raise InvalidRequestError(
        f"'response_format' of type {form.get('type')!r} cannot be translated", param="response_format.type"
    )


def _read_effort(effort: str | None, request: NeutralRequest) -> None:
    if effort is None:
        return
    if effort == "none":
        request.reasons = False
    elif effort in EFFORTS:
        request.reasons, request.effort = True, effort
    else:
        raise InvalidRequestError(
            f"'reasoning_effort' must be one of none, {', '.join(EFFORTS)}", param="reasoning_effort"
        )


def _read_choice(choice: Any, request: NeutralRequest) -> None:
    at = "tool_choice"
    match choice:
        case None:
            return
        case "auto" | "none" | "required":
            request.tool_choice = choice
        case "any":  # Mistral's word
            request.tool_choice = "required"
        case {"type": "function" | "custom" as kind}:
            request.tool_choice = "required"
            request.allowed = [text(obj(choice.get(kind), f"{at}.{kind}"), "name", f"{at}.{kind}")]
        case {"type": "allowed_tools"}:
            allowed = obj(choice.get("allowed_tools"), f"{at}.allowed_tools")
            request.tool_choice = "required" if allowed.get("mode") == "required" else "auto"
            for tool, path in objects(allowed.get("tools"), f"{at}.allowed_tools.tools"):
                kind = "custom" if tool.get("type") == "custom" else "function"
                request.allowed.append(text(obj(tool.get(kind), f"{path}.{kind}"), "name", f"{path}.{kind}"))
        case _:
            raise InvalidRequestError("'tool_choice' cannot be translated", param=at)


def _tool(tool: dict[str, Any], at: str) -> Tool:
    kind = tool.get("type", "function")
    checked_type("tool", kind, TYPES, API, at)
    inner, at = obj(tool.get(kind), f"{at}.{kind}"), f"{at}.{kind}"
    name, description = text(inner, "name", at), optional_text(inner, "description", at)
    if kind == "custom":
        return Tool(
            name=name,
            description=description,
            custom=True,
            grammar=_grammar(inner.get("format"), f"{at}.format"),
            at=at,
        )
    schema = inner.get("parameters")
    return Tool(
        name=name,
        description=description,
        schema=None if schema is None else obj(schema, f"{at}.parameters"),
        strict=flag(inner, "strict", at),
        at=at,
    )


def _grammar(form: Any, at: str) -> dict[str, str] | None:
    if not isinstance(form, dict) or form.get("type") != "grammar":
        return None
    at = f"{at}.grammar"
    grammar = obj(form.get("grammar"), at)
    return {name: text(grammar, name, at) for name in ("syntax", "definition")}


def _message(message: dict[str, Any], at: str) -> Message:
    role = message["role"]
    checked_type("message", role, TYPES, API, at)
    parts = _parts(message.get("content"), f"{at}.content")
    if role == "tool":
        if any(not isinstance(part, Text | Image | File) for part in parts):
            raise InvalidRequestError("a tool result has no refusals", param=f"{at}.content")
        result: Any = ToolResult(call_id=text(message, "tool_call_id", at), parts=parts, at=at)  # type: ignore[arg-type]
        return Message(role="user", parts=[result], at=at)
    if role == "assistant":
        refusal = optional_text(message, "refusal", at)
        if refusal:
            parts.append(Refusal(text=refusal, at=f"{at}.refusal"))
        parts += [_call(call, path) for call, path in objects(message.get("tool_calls"), f"{at}.tool_calls")]
        for name in ("function_call", "audio"):
            if message.get(name) is not None:
                raise InvalidRequestError(f"'{at}.{name}' cannot be translated", param=f"{at}.{name}")
    if role in ("system", "developer", "assistant"):
        for part in parts:
            if isinstance(part, Image | File):
                raise InvalidRequestError(f"a message of role '{role}' has text only", param=part.at)
    return Message(role=role, parts=parts, at=at)


def _call(call: dict[str, Any], at: str) -> ToolCall:
    kind = call.get("type") or "function"
    checked_type("call", kind, TYPES, API, at)
    inner, within = obj(call.get(kind), f"{at}.{kind}"), f"{at}.{kind}"
    call_id, name = text(call, "id", at), text(inner, "name", within)
    if kind == "custom":
        return ToolCall(id=call_id, name=name, arguments=text(inner, "input", within), custom=True, at=at)
    arguments = inner.get("arguments")
    if isinstance(arguments, dict):  # as some servers write them
        arguments = dumps(arguments).decode()
    if not isinstance(arguments, str | None):
        raise InvalidRequestError(
            f"'{within}.arguments' must be a string of JSON", param=f"{within}.arguments"
        )
    return ToolCall(id=call_id, name=name, arguments=arguments or "", at=at)


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
    if kind == "text":
        return Text(text=text(part, "text", at), at=at)
    if kind == "refusal":
        return Refusal(text=text(part, "refusal", at), at=at)
    if kind == "image_url":
        given = part.get("image_url")
        inner = {"url": given} if isinstance(given, str) else obj(given, f"{at}.image_url")
        url, detail = text(inner, "url", f"{at}.image_url"), optional_text(inner, "detail", f"{at}.image_url")
        detail = None if detail == "auto" else detail  # the default
        data = split_data_url(url)
        if data is None:
            return Image(url=url, detail=detail, at=at)
        return Image(media_type=data[0], data=data[1], detail=detail, at=at)
    file, within = obj(part.get("file"), f"{at}.file"), f"{at}.file"
    if file.get("file_id") is not None:
        raise InvalidRequestError(
            f"'{within}.file_id' cannot be translated: the file is at another provider",
            param=f"{within}.file_id",
        )
    data = split_data_url(text(file, "file_data", within))
    if data is None:
        raise InvalidRequestError(
            f"'{within}.file_data' must be a 'data:' URL in base64", param=f"{within}.file_data"
        )
    return File(media_type=data[0], data=data[1], name=optional_text(file, "filename", within), at=at)
