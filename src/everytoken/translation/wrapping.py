"""Custom tools, which take text, as functions with one argument, for an API or server that has only functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everytoken.errors import MalformedEventError
from everytoken.json import dumps, loads

if TYPE_CHECKING:
    from everytoken.translation.request import Tool

__all__ = ["ARGUMENT", "object_of", "wrapped_description", "wrapped_input", "wrapped_schema"]

ARGUMENT: Final = "input"
"""The name of the one argument."""


def wrapped_schema() -> dict[str, Any]:
    """Return the schema of the arguments."""
    return {
        "type": "object",
        "properties": {ARGUMENT: {"type": "string", "description": "The whole input, as it is."}},
        "required": [ARGUMENT],
        "additionalProperties": False,
    }


def wrapped_description(tool: Tool) -> str | None:
    """Return the description of the function, with the grammar of the tool's input."""
    if not tool.grammar:
        return tool.description
    told = f"The input matches this {tool.grammar.get('syntax')} grammar:\n{tool.grammar.get('definition')}"
    return f"{tool.description}\n\n{told}" if tool.description else told


def wrapped_input(text: str) -> str:
    """Return the arguments of a call of the function, as JSON text."""
    return dumps({ARGUMENT: text}).decode()


def object_of(arguments: str) -> dict[str, Any]:
    """Return the arguments of a call as the object that an API wants.

    What a model wrote that is no object stays in sight, as the one argument `arguments`: to refuse it would end the
    conversation for a mistake of the model.
    """
    if not arguments.strip():
        return {}
    try:
        value = loads(arguments)
    except MalformedEventError:
        value = None
    return value if isinstance(value, dict) else {"arguments": arguments}
