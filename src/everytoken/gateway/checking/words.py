"""Types and values in words: what a setting takes, an example of it, and what a wrong value was probably meant to be."""

from __future__ import annotations

import difflib
import re
import types
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec

from everytoken.gateway.toml import written

__all__ = ["EXAMPLES", "example_of", "expected", "kind_of", "meant", "nearest"]

EXAMPLES: Final[dict[str, Any]] = {
    "admin_keys": ["sk-admin-0123456789abcdef"],
    "api": "chat",
    "api_keys": ["sk-0123456789abcdef"],
    "default_model": "gpt-5-mini",
    "dialects": ["my-dialect"],
    "extra": {"service_tier": "flex"},
    "headers": {"x-team": "search"},
    "hosts": ["llm.example"],
    "journal": "redis://localhost:6379/0",
    "key": "sk-0123456789abcdef",
    "key_env": "OPENAI_API_KEY",
    "key_file": "/run/credentials/everytoken.service/openai-key",
    "key_header": "x-api-key",
    "limits": {"each_key": {"requests_per_minute": 60}},
    "models": ["gpt-5-mini"],
    "name": "openai",
    "observers": ["my-observer"],
    "origins": ["https://app.example"],
    "pass_through": ["/v1/files"],
    "policy": {"content_gap": 60.0},
    "prefill_extra": {"continue_final_message": True, "add_generation_prompt": False},
    "prefill_message": {"prefix": True},
    "prices": {"my-model": {"input": 0.5, "output": 2.0}},
    "redirect_hosts": ["eu.api.example"],
    "tls_cert": "/etc/everytoken/cert.pem",
    "tls_key": "/etc/everytoken/key.pem",
    "url": "https://api.openai.com/v1",
}
"""Values of settings whose default shows nothing."""

_UNITS: Final = {
    "ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400,
    "k": 1000, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1024, "mib": 1024**2, "gib": 1024**3,
}  # fmt: skip
_AMOUNT: Final = re.compile(r"\s*(\d[\d_]*(?:\.\d+)?)\s*([a-zA-Z]+)\s*")
_TRUE: Final = frozenset({"yes", "on", "enabled", "y"})
_FALSE: Final = frozenset({"no", "off", "disabled", "n"})


def nearest(name: str, names: Any) -> str:
    """Return the one of `names` that was probably meant, "" if none is near."""
    found = difflib.get_close_matches(name.lower().replace("-", "_"), sorted(names), 1, 0.6)
    return found[0] if found else ""


def is_struct(kind: Any) -> bool:
    """Whether values of a type are tables with settings."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def kind_of(kind: Any) -> tuple[str, Any]:
    """Return what holds tables of settings, if any: ("table" | "list" | "names", type of the table), else ("", None)."""
    origin, args = get_origin(kind), get_args(kind)
    if is_struct(kind):
        return "table", kind
    if origin is list and is_struct(args[0]):
        return "list", args[0]
    if origin is dict and is_struct(args[1]):
        return "names", args[1]
    return "", None


def expected(kind: Any) -> str:
    """Return a type in words: `a whole number`."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(written, args)) if len(args) > 1 else written(args[0])
    if origin in (Union, types.UnionType):
        return " or ".join(expected(one) for one in args if one is not type(None))
    if origin in (list, frozenset, set):
        inner = expected(args[0])
        plain = {"a whole number": "whole numbers", "text in quotes": "texts in quotes"}
        return f"a list of {plain.get(inner, inner).removeprefix('one of ')}"
    if origin is dict or is_struct(kind):
        return "a table"
    return {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text in quotes",
    }.get(kind, "another value")


def example_of(field: msgspec.structs.FieldInfo) -> Any:
    """Return a value that a setting takes: its default if that shows something."""
    default = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        default = field.default_factory()
    if field.name in EXAMPLES and default in (msgspec.NODEFAULT, None, "", [], {}):
        return EXAMPLES[field.name]
    return None if default is msgspec.NODEFAULT or isinstance(default, msgspec.Struct) else default


def meant(value: Any, field: msgspec.structs.FieldInfo) -> str:
    """Return what to write in place of a value of a wrong type. A value that may be a secret is not repeated."""
    kind, name = field.type, field.name
    choices = [one for one in _alternatives(kind) if isinstance(one, str)]
    if choices:
        near = nearest(value, choices) if isinstance(value, str) else ""
        return f"did you mean {written(near)}?" if near else ""
    if isinstance(value, str):
        text = value.strip().lower()
        if kind is bool and text in _TRUE | _FALSE:
            return f"write {name} = {written(text in _TRUE)}"
        amount = _AMOUNT.fullmatch(value)
        if kind in (int, float) and amount and amount[2].lower() in _UNITS:
            number = float(amount[1].replace("_", "")) * _UNITS[amount[2].lower()]
            unit = "seconds" if kind is float else "bytes"
            if number.is_integer() or kind is float:
                return (
                    f"write it in {unit}: {name} = {written(int(number) if number.is_integer() else number)}"
                )
    if kind is bool and value in (0, 1):
        return f"write {name} = {written(bool(value))}"
    if kind is int and isinstance(value, float) and value.is_integer():
        return f"write {name} = {int(value)}"
    example = example_of(field)
    return f"such as {name} = {written(example)}" if example not in (None, "", [], {}) else ""


def _alternatives(kind: Any) -> list[Any]:
    """Return the values that a `Literal` allows, also inside a list or a union."""
    args = get_args(kind)
    if get_origin(kind) is Literal:
        return list(args)
    return [one for arg in args for one in _alternatives(arg)]
