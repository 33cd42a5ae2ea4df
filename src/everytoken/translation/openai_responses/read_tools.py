"""The tools of a request for a response, and which of them are to be called."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from everytoken.errors import InvalidRequestError
from everytoken.translation.hosted import refuse_unknown_choice
from everytoken.translation.openai_responses.fields import API, TYPES
from everytoken.translation.request import Tool
from everytoken.translation.table import checked_type
from everytoken.translation.values import flag, obj, objects, optional_text, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everytoken.translation.request import NeutralRequest

__all__ = ["Called", "called_in", "flat_name", "read_choice", "read_tools"]

_DATE: Final = re.compile(r"_20\d\d_\d\d_\d\d$")


def flat_name(namespace: Any, name: str) -> str:
    """Return the name of a tool for an API without namespaces."""
    return f"{namespace}__{name}" if isinstance(namespace, str) and namespace else name


class Called(NamedTuple):
    """A tool as its caller knows it."""

    name: str
    namespace: str | None
    custom: bool


def called_in(body: Mapping[str, Any]) -> dict[str, Called]:
    """Return the tools of a request that was read, by the names that a model calls them by through another API."""
    given = body.get("input")
    items = given if isinstance(given, list) else []
    added = [item.get("tools") for item in items if item.get("type") == "additional_tools"]
    found: dict[str, Called] = {}
    for tools in (body.get("tools"), *added):
        for tool in tools or ():
            namespace = tool.get("name") if tool.get("type") == "namespace" else None
            for inner in (tool.get("tools") or ()) if namespace else (tool,):
                if inner.get("type") in ("function", "custom"):
                    custom = inner["type"] == "custom"
                    found[flat_name(namespace, inner["name"])] = Called(inner["name"], namespace, custom)
    return found


def read_tools(value: Any, at: str, request: NeutralRequest, namespace: str | None = None) -> list[str]:
    """Add the tools of a list to a request; return the paths of those that are left out."""
    left_out = []
    for tool, path in objects(value, at):
        kind = tool.get("type")
        kind = _DATE.sub("", kind) if isinstance(kind, str) else kind
        if checked_type("tool", kind, TYPES, API, path).fate == "dropped":
            left_out.append(path)
        elif kind == "namespace":
            left_out += read_tools(tool.get("tools"), f"{path}.tools", request, text(tool, "name", path))
        else:
            request.tools.append(_tool(tool, path, namespace))
    return left_out


def _tool(tool: dict[str, Any], at: str, namespace: str | None) -> Tool:
    name = flat_name(namespace, text(tool, "name", at))
    description = optional_text(tool, "description", at)
    callers = tool.get("allowed_callers")
    if isinstance(callers, list) and "direct" not in callers:
        raise InvalidRequestError(
            f"'{at}.allowed_callers' cannot be translated: only OpenAI's programs could call it",
            param=f"{at}.allowed_callers",
        )
    if tool["type"] == "custom":
        form = tool.get("format")
        grammar = None
        if isinstance(form, dict) and form.get("type") == "grammar":
            within = f"{at}.format"
            grammar = {name: text(form, name, within) for name in ("syntax", "definition")}
        return Tool(name=name, description=description, custom=True, grammar=grammar, at=at)
    schema = tool.get("parameters")
    return Tool(
        name=name,
        description=description,
        schema=None if schema is None else obj(schema, f"{at}.parameters"),
        strict=flag(tool, "strict", at),
        at=at,
    )


def read_choice(choice: Any, request: NeutralRequest, *, left_out: bool) -> None:
    """Read `tool_choice`. `left_out`: some tools are not among those of the request."""
    at = "tool_choice"
    match choice:
        case None:
            return
        case "auto" | "none" | "required":
            request.tool_choice = choice
        case {"type": "function" | "custom"}:
            request.tool_choice = "required"
            request.allowed = [flat_name(choice.get("namespace"), text(choice, "name", at))]
            refuse_unknown_choice(request, left_out=left_out)
        case {"type": "allowed_tools"}:
            request.tool_choice = "required" if choice.get("mode") == "required" else "auto"
            for tool, path in objects(choice.get("tools"), f"{at}.tools"):
                if tool.get("type") not in ("function", "custom"):
                    raise InvalidRequestError(f"'{path}' cannot be translated", param=path)
                request.allowed.append(flat_name(tool.get("namespace"), text(tool, "name", path)))
            refuse_unknown_choice(request, left_out=left_out)
        case _:
            raise InvalidRequestError(
                "'tool_choice' cannot be translated: the provider of the API runs this tool itself", param=at
            )
