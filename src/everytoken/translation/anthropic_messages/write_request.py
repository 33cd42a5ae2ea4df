"""A neutral request as one for a message."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import InvalidRequestError
from everytoken.translation.anthropic_messages.fields import API, DEFAULT_MAX_TOKENS, WRITES
from everytoken.translation.anthropic_messages.write_messages import write_messages
from everytoken.translation.identity import identifier
from everytoken.translation.table import refuse_unsaid
from everytoken.translation.wrapping import wrapped_description, wrapped_schema

if TYPE_CHECKING:
    from everytoken.translation.request import NeutralRequest, Tool

__all__ = ["write_request"]

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_CHOICES: Final = {"auto": "auto", "required": "any", "none": "none"}


def write_request(request: NeutralRequest) -> dict[str, Any]:
    """Return the body of a request. Raises `InvalidRequestError`, whose `param` names the caller's field."""
    refuse_unsaid(request, WRITES, API)
    system, messages = write_messages(request)
    user = identifier(request.safety_identifier or request.user)
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens,
        "system": system,
        "messages": messages,
        "temperature": None if request.temperature is None else min(request.temperature, 1),
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop_sequences": _stop(request),
        "metadata": {"user_id": user} if user else None,
        "thinking": _thinking(request),
        "output_config": _output(request),
        "stream": request.stream or None,
    }
    if request.tools:
        named = _is_named(request)
        offered = [
            tool for tool in request.tools if named or not request.allowed or tool.name in request.allowed
        ]
        body["tools"] = [_tool(tool) for tool in offered]
        body["tool_choice"] = _choice(request)
    return {name: value for name, value in body.items() if value is not None}


def _is_named(request: NeutralRequest) -> bool:
    """Whether one certain tool is to be called."""
    return request.tool_choice == "required" and len(request.allowed) == 1


def _stop(request: NeutralRequest) -> list[str] | None:
    for sequence in request.stop:
        if not sequence.strip():
            path = request.path("stop")
            raise InvalidRequestError(
                f"'{path}' cannot be said to {API}: a sequence of white space only is refused there",
                param=path,
            )
    return list(request.stop) or None


def _thinking(request: NeutralRequest) -> dict[str, Any] | None:
    """Return what to think. A tool that has to be called and thinking are refused together."""
    if request.reasons is None or (request.tools and request.tool_choice == "required"):
        return None
    if not request.reasons:
        return {"type": "disabled"}
    thinking: dict[str, Any] = {"type": "adaptive"}
    if request.budget is not None:
        thinking = {"type": "enabled", "budget_tokens": request.budget}
    if request.shown is not None:
        thinking["display"] = "omitted" if request.shown == "omitted" else "summarized"
    return thinking


def _output(request: NeutralRequest) -> dict[str, Any] | None:
    config: dict[str, Any] = {}
    if request.effort is not None:
        config["effort"] = "low" if request.effort == "minimal" else request.effort
    if request.output is not None:
        if request.output.schema is None:
            path = request.path("output")
            raise InvalidRequestError(
                f"'{path}' cannot be said to {API}: JSON needs a schema there", param=path
            )
        config["format"] = {"type": "json_schema", "schema": request.output.schema}
    return config or None


def _tool(tool: Tool) -> dict[str, Any]:
    if not _NAME.fullmatch(tool.name):
        raise InvalidRequestError(
            f"'{tool.at}.name' cannot be said to {API}: a name must match ^[a-zA-Z0-9_-]{{1,128}}$",
            param=f"{tool.at}.name",
        )
    schema = wrapped_schema() if tool.custom else tool.schema or {}
    written: dict[str, Any] = {"name": tool.name}
    description = wrapped_description(tool) if tool.custom else tool.description
    if description is not None:
        written["description"] = description
    # The API refuses a schema that does not say that it is of an object.
    written["input_schema"] = schema if "type" in schema else {"type": "object", **schema}
    if tool.strict:
        written["strict"] = True
    return written


def _choice(request: NeutralRequest) -> dict[str, Any] | None:
    if request.tool_choice is None and request.parallel_calls is None:
        return None
    choice: dict[str, Any] = {"type": _CHOICES[request.tool_choice or "auto"]}
    if _is_named(request):
        choice = {"type": "tool", "name": request.allowed[0]}
    if request.parallel_calls is not None and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = not request.parallel_calls
    return choice
