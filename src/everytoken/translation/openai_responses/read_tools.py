"""The tools of a request for a response, and which of them are to be called."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import InvalidRequestError
from everytoken.translation.hosted import refuse_unknown_choice
from everytoken.translation.openai_responses.fields import API, TYPES
from everytoken.translation.request import Tool
from everytoken.translation.table import checked_type
from everytoken.translation.values import flag, obj, objects, optional_text, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from everytoken.translation.request import NeutralRequest

__all__ = ["custom_names_in", "flat_name", "names_in", "read_choice", "read_tools"]

_DATE: Final = re.compile(r"_20\d\d_\d\d_\d\d$")


def flat_name(namespace: Any, name: str) -> str:
    """Return the name of a tool for an API without namespaces."""
    return f"{namespace}__{name}" if isinstance(namespace, str) and namespace else name


def names_in(body: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the namespace and name of each tool that has a namespace, by the name that other APIs call it by.

    `body` is a request that was read. What a model calls by such a name is told to the caller by both.
    """
    return {
        flat_name(namespace, tool["name"]): (namespace, tool["name"])
        for namespace, tool in _tools_in(body)
        if namespace is not None
    }


def custom_names_in(body: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the custom tools of a request that was read, as other APIs call them."""
    return frozenset(
        flat_name(namespace, tool["name"])
        for namespace, tool in _tools_in(body)
        if tool.get("type") == "custom"
    )


def _tools_in(body: Mapping[str, Any]) -> Iterator[tuple[str | None, dict[str, Any]]]:
    """Return every tool with its namespace, also those that come in items of the input."""
    given = body.get("input")
    items = given if isinstance(given, list) else []
    for tools in (body.get("tools"), *(item.get("tools") for item in items if isinstance(item, dict))):
        for tool in tools or ():
            if tool.get("type") != "namespace":
                yield None, tool
            for inner in tool.get("tools") or () if tool.get("type") == "namespace" else ():
                yield tool["name"], inner


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
