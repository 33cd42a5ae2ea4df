"""`--schema`: the shape of an answer in JSON, from a file, as JSON, or in the short form."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import msgspec

__all__ = ["response_format", "short_schema"]

_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_FIELD = re.compile(r"([^\W\d]\w*)(\[\])?(?:\s+(\w+)(\[\])?)?\s*(?::\s*(.+))?", re.DOTALL)


def response_format(given: str) -> dict[str, Any]:
    """Return the request's `response_format`. Raises `click.BadParameter`."""
    text = given.strip()
    strict = not text.startswith("{") and not _is_file(text)
    written = text if strict or text.startswith("{") else _read(text)
    schema = short_schema(written) if strict else _decoded(written, text)
    name = re.sub(r"\W+", "_", str(schema.get("title", "answer")), flags=re.ASCII)[:64].strip("_") or "answer"
    told = {"name": name, "schema": schema, **({"strict": True} if strict else {})}
    return {"type": "json_schema", "json_schema": told}


def short_schema(text: str) -> dict[str, Any]:
    """Return the JSON Schema of fields such as `name, age int, tags[], bio: in one sentence`.

    Fields are separated by commas, or by lines when there are several. A type is str, int, float or bool, str if none is
    given; `[]` behind it makes a list. Raises `click.BadParameter`.
    """
    properties: dict[str, Any] = {}
    parts = text.splitlines() if "\n" in text else text.split(",")
    for part in filter(None, map(str.strip, parts)):
        found = _FIELD.fullmatch(part)
        if found is None or (found[3] or "str") not in _TYPES:
            kinds = ", ".join(_TYPES)
            raise click.BadParameter(
                f"{part!r} is neither a file nor a field such as `name`, `age int`, `tags[]` or `bio: in one sentence` "
                f"(types: {kinds})",
                param_hint="'--schema'",
            )
        name, name_list, kind, kind_list, about = found.groups()
        field: dict[str, Any] = {"type": _TYPES[kind or "str"]}
        if name_list or kind_list:
            field = {"type": "array", "items": field}
        properties[name] = {**field, **({"description": about.strip()} if about else {})}
    if not properties:
        raise click.BadParameter("it has no fields", param_hint="'--schema'")
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _is_file(text: str) -> bool:
    if "\n" in text or len(text) > 4096:
        return False
    return text.endswith(".json") or Path(text).is_file()


def _read(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise click.BadParameter(f"{name} cannot be read: {reason}", param_hint="'--schema'") from error


def _decoded(text: str, name: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise click.BadParameter(f"{name[:100]} is not JSON: {error}", param_hint="'--schema'") from error
    if not isinstance(value, dict):
        raise click.BadParameter(f"{name[:100]} is not a JSON object", param_hint="'--schema'")
    return value
