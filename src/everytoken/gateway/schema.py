"""The JSON Schema of a configuration file, for editors."""

from __future__ import annotations

from typing import Any

import msgspec

from everytoken.gateway.config import Config
from everytoken.gateway.meanings import MEANINGS
from everytoken.recovery import Policy

__all__ = ["schema"]


def schema() -> dict[str, Any]:
    """Return the schema of a whole file, with what each setting means."""
    _, parts = msgspec.json.schema_components([Config], ref_template="#/$defs/{name}")
    for name, part in parts.items():
        meanings = MEANINGS.get(name, {})
        part.pop("description", None)  # words for programmers
        for setting, described in part.get("properties", {}).items():
            if isinstance(described.get("default"), dict):
                del described["default"]  # those of a table are at its settings
            if setting in meanings:
                described["description"] = meanings[setting]
    for field in msgspec.structs.fields(Policy):
        if isinstance(field.default, frozenset):
            parts["Policy"]["properties"][field.name]["default"] = sorted(
                field.default
            )  # always in the same order
    # What is laid over the common table is of its kind.
    parts["UpstreamConfig"]["properties"]["policy"] = {
        "$ref": "#/$defs/Policy",
        "description": MEANINGS["UpstreamConfig"]["policy"],
    }
    config = {**parts.pop("Config"), "title": "Configuration of everytoken"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **config,
        "$defs": parts,
    }
