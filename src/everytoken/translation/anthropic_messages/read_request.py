"""A request for a message as a neutral one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.dialects.fields import check_messages, flag_in, model_in
from everytoken.errors import InvalidRequestError
from everytoken.translation.anthropic_messages.fields import API, READS, TYPES
from everytoken.translation.anthropic_messages.read_blocks import blocks_in, text_blocks
from everytoken.translation.anthropic_messages.read_tools import read_choice, read_tools
from everytoken.translation.request import EFFORTS, JsonOutput, Message, NeutralRequest
from everytoken.translation.table import checked, checked_type
from everytoken.translation.values import integer, number, obj, optional_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_request"]


def read_request(body: Mapping[str, Any]) -> NeutralRequest:
    """Return a caller's request. Raises `InvalidRequestError`, whose `param` names the field."""
    paths = checked(body, READS, API)
    check_messages(body.get("messages"))
    request = NeutralRequest(
        model=model_in(body),
        messages=[*_system(body.get("system")), *_messages(body["messages"])],
        max_tokens=integer(body, "max_tokens"),
        temperature=number(body, "temperature"),
        top_p=number(body, "top_p"),
        top_k=integer(body, "top_k"),
        stop=_stop(body.get("stop_sequences")),
        user=optional_text(body.get("metadata") or {}, "user_id", "metadata"),
        stream=flag_in(body, "stream"),
        paths={**paths, "messages": "messages", "budget": "thinking.budget_tokens"},
    )
    if request.max_tokens == 0:
        raise InvalidRequestError("'max_tokens' of 0 only fills Anthropic's cache", param="max_tokens")
    left_out = read_tools(body.get("tools"), request)
    read_choice(body.get("tool_choice"), request, left_out=bool(left_out))
    _read_thinking(body.get("thinking"), request)
    _read_output(body, request)
    return request


def _system(value: Any) -> list[Message]:
    if value is None:
        return []
    parts = text_blocks(value, "system")
    return [Message(role="system", parts=[*parts], at="system")] if parts else []


def _messages(given: list[Any]) -> list[Message]:
    messages = []
    for position, message in enumerate(given):
        at = f"messages[{position}]"
        role = message["role"]
        checked_type("message", role, TYPES, API, at)
        content = f"{at}.content"
        parts: Any = (
            text_blocks(message.get("content"), content)
            if role == "system"
            else blocks_in(message.get("content"), content, role)
        )
        messages.append(Message(role=role, parts=parts, at=at))
    return messages


def _stop(value: Any) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise InvalidRequestError("'stop_sequences' must be a list of strings", param="stop_sequences")
    return list(value)


def _read_thinking(value: Any, request: NeutralRequest) -> None:
    if value is None:
        return
    thinking = obj(value, "thinking")
    match thinking.get("type"):
        case "disabled":
            request.reasons = False
            return
        case "enabled":
            request.budget = integer(thinking, "budget_tokens", "thinking")
        case "adaptive" | "between_tools":
            pass
        case other:
            raise InvalidRequestError(
                f"'thinking' of type {other!r} cannot be translated", param="thinking.type"
            )
    request.reasons = True
    match thinking.get("display"):
        case "summarized":
            request.shown = "auto"
        case "omitted":
            request.shown = "omitted"


def _read_output(body: Mapping[str, Any], request: NeutralRequest) -> None:
    config = body.get("output_config") or {}
    effort = optional_text(config, "effort", "output_config")
    if effort is not None:
        if effort not in EFFORTS:
            raise InvalidRequestError(
                f"'output_config.effort' must be one of {', '.join(EFFORTS)}", param="output_config.effort"
            )
        request.effort = effort
    for holder, name, at in (
        (body, "output_format", "output_format"),
        (config, "format", "output_config.format"),
    ):
        if holder.get(name) is None:
            continue
        form = obj(holder[name], at)
        if form.get("type") != "json_schema":
            raise InvalidRequestError(
                f"'{at}' of type {form.get('type')!r} cannot be translated", param=f"{at}.type"
            )
        request.output = JsonOutput(schema=obj(form.get("schema"), f"{at}.schema"), strict=True)
        request.paths["output"] = at
