"""The tools of a request for a message, and which of them are to be called."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import InvalidRequestError
from everytoken.translation.anthropic_messages.fields import API, TYPES
from everytoken.translation.hosted import refuse_hosted_only, refuse_unknown_choice
from everytoken.translation.request import Tool
from everytoken.translation.table import checked_type
from everytoken.translation.values import flag, obj, objects, optional_text, text

if TYPE_CHECKING:
    from everytoken.translation.request import NeutralRequest

__all__ = ["read_choice", "read_tools"]

_DATE: Final = re.compile(r"_\d{8}$")
_OWN: Final = "custom"


def read_tools(value: Any, request: NeutralRequest) -> list[str]:
    """Read `tools`; return the paths of those that are left out."""
    left_out = []
    for tool, at in objects(value, "tools"):
        kind = tool.get("type") or _OWN
        if isinstance(kind, str):
            kind = _DATE.sub("", kind)
        if checked_type("tool", kind, TYPES, API, at).fate == "dropped":
            left_out.append(at)
            continue
        callers = tool.get("allowed_callers")
        if isinstance(callers, list) and "direct" not in callers:
            raise InvalidRequestError(
                f"'{at}.allowed_callers' cannot be translated: only Anthropic's code execution could call it",
                param=f"{at}.allowed_callers",
            )
        request.tools.append(
            Tool(
                name=text(tool, "name", at),
                description=optional_text(tool, "description", at),
                schema=obj(tool.get("input_schema"), f"{at}.input_schema"),
                strict=flag(tool, "strict", at),
                at=at,
            )
        )
    refuse_hosted_only(request, left_out)
    return left_out


def read_choice(value: Any, request: NeutralRequest, *, left_out: bool) -> None:
    """Read `tool_choice`, which also says whether calls may be parallel. `left_out`: some tools are not in the request."""
    if value is None:
        return
    choice = obj(value, "tool_choice")
    match choice.get("type"):
        case "auto" | "none" as same:
            request.tool_choice = same
        case "any":
            request.tool_choice = "required"
        case "tool":
            request.tool_choice = "required"
            request.allowed = [text(choice, "name", "tool_choice")]
            refuse_unknown_choice(request, left_out=left_out)
        case other:
            raise InvalidRequestError(
                f"'tool_choice' of type {other!r} cannot be translated", param="tool_choice.type"
            )
    disabled = flag(choice, "disable_parallel_tool_use", "tool_choice")
    if disabled is not None:
        request.parallel_calls = not disabled
    request.paths["allowed"] = "tool_choice.name"
