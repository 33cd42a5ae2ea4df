"""Every setting of every table by itself, so that one mistake does not hide the next."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.gateway.checking.problem import shown_path
from everytoken.gateway.checking.words import EXAMPLES, expected, kind_of, meant, nearest
from everytoken.gateway.config import BreakerConfig, Config, UpstreamConfig
from everytoken.gateway.toml import written
from everytoken.recovery import Policy

if TYPE_CHECKING:
    from everytoken.gateway.checking.problem import Found
    from everytoken.gateway.toml import Path

__all__ = ["checked"]

_INSIDE: Final = re.compile(r" - at `\$(.*)`$")
_PARTS: Final = re.compile(r"\[(\d+)\]|\.([^.\[]+)")
_ELSEWHERE: Final = {"[policy]": Policy, "[breaker]": BreakerConfig, "[[upstream]]": UpstreamConfig}


def checked(
    found: Found,
    values: Any,
    kind: type[msgspec.Struct],
    path: Path = (),
    missing: frozenset[str] = frozenset(),
) -> dict[str, Any] | None:
    """Return the part of a table that can be used, None if there is none; what is wrong is put into `found`.

    `missing`: keys that need not be there, because the lines that say them cannot be read.
    """
    if not isinstance(values, dict):
        found.error(path, f"{path[-1]} must be a table", _as_table(path))
        return None
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    good: dict[str, Any] = {}
    for name, value in values.items():
        here = (*path, name)
        if name not in fields:
            found.error(here, f"unknown setting {name!r}{_inside(path)}", _instead(name, fields, path))
            continue
        usable = _value(found, value, fields[name], here, missing)
        if usable is not None:
            good[name] = usable
    lacking = [name for name, field in fields.items() if field.required and name not in values]
    for name in lacking:
        if name not in missing:
            found.error(
                path, f"{path[-1] if isinstance(path[-1], str) else path[-2]} needs {name!r}", _such_as(name)
            )
    usable = _within_limits(found, good, kind, path)
    whole = all(not field.required or name in usable for name, field in fields.items())
    return usable if whole else None


def _value(
    found: Found, value: Any, field: msgspec.structs.FieldInfo, path: Path, missing: frozenset[str]
) -> Any:
    """Return the part of a value that can be used, None if there is none."""
    holds, inner = kind_of(field.type)
    if holds == "table":
        return checked(found, value, inner, path, missing)
    if holds == "list":
        if not isinstance(value, list):
            hint = f"write [[{field.name}]] in place of [{field.name}]" if isinstance(value, dict) else ""
            found.error(path, f"{field.name} must be a list of tables", hint)
            return None
        # One that cannot be used keeps its place, so that the others keep their numbers.
        return [checked(found, one, inner, (*path, number), missing) for number, one in enumerate(value)]
    if holds == "names":
        if not isinstance(value, dict):
            found.error(path, f"{field.name} must be tables by name", f'such as [{_dotted(path)}."my-model"]')
            return None
        tables = {name: checked(found, one, inner, (*path, name), missing) for name, one in value.items()}
        return {name: one for name, one in tables.items() if one is not None}
    if path[0] == "upstream" and field.name == "policy" and isinstance(value, dict):
        return checked(found, value, Policy, path)
    try:
        msgspec.convert(value, field.type, strict=False)
    except msgspec.ValidationError as error:
        match = _INSIDE.search(str(error))
        inside = (
            [int(number) if number else name for number, name in _PARTS.findall(match[1])] if match else []
        )
        wanted, suggestion = expected(field.type), ""
        for part in inside:
            try:
                value = value[part]
            except LookupError:  # `[...]` stands for any key of a table
                inside = []
                break
        if inside:
            wanted = _one_of(wanted)
            suggestion = meant(value, field)
        elif isinstance(value, str) and wanted.startswith("a list of text"):
            suggestion = f'put it in brackets: {field.name} = ["…"]'
        else:
            suggestion = meant(value, field)
        found.error((*path, *inside), f"{shown_path((field.name, *inside))} must be {wanted}", suggestion)
        return None
    return value


def _within_limits(
    found: Found, values: dict[str, Any], kind: type[msgspec.Struct], path: Path
) -> dict[str, Any]:
    """Leave out what has a type that fits and a value that does not, as the table itself says."""
    values = dict(values)
    for _ in range(len(values) + 1):
        try:
            msgspec.convert({**_stand_ins(kind), **_usable(values)}, kind, strict=False)
        except msgspec.ValidationError as error:
            message = _INSIDE.sub("", str(error))
            said = [name for name in re.findall(r"[a-z_]+", message) if name in values]
            alone = [name for name in values if not _stands(kind, {name: values[name]})]
            culprit = next(iter([*said, *alone]), None)
            found.error(path if culprit is None else (*path, culprit), message)
            if culprit is None:
                break
            del values[culprit]
        else:
            break
    return values


def _stands(kind: type[msgspec.Struct], values: dict[str, Any]) -> bool:
    try:
        msgspec.convert({**_stand_ins(kind), **_usable(values)}, kind, strict=False)
    except msgspec.ValidationError:
        return False
    return True


def _usable(values: dict[str, Any]) -> dict[str, Any]:
    """Leave out the list elements that cannot be used."""
    return {
        name: [one for one in value if one is not None] if isinstance(value, list) else value
        for name, value in values.items()
    }


def _stand_ins(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return values for what a table must have, so that the rest can be tried without them."""
    required = [field for field in msgspec.structs.fields(kind) if field.required]
    return {field.name: "embedded:" if field.type is str else 0 for field in required}


def _one_of(wanted: str) -> str:
    """Return what one element of a list must be."""
    if "a list of " not in wanted:
        return "of another type"
    wanted = wanted.partition("a list of ")[2].partition(" or a ")[0]
    return {"whole numbers": "a whole number", "texts in quotes": "text in quotes"}.get(
        wanted, f"one of {wanted}"
    )


def _instead(name: str, fields: Any, path: Path) -> str:
    near = nearest(name, fields)
    for table, kind in _ELSEWHERE.items():
        names = kind.__struct_fields__
        if name in names and (near == "" or near not in names) and table != _table_of(path):
            return f"it belongs in {table}"
    if path and name in Config.__struct_fields__:
        return f"it belongs above the first [table]; what is below [{_dotted(path)}] belongs to that"
    return f"did you mean {near!r}?" if near else ""


def _table_of(path: Path) -> str:
    return "[[upstream]]" if path and path[0] == "upstream" and len(path) == 2 else f"[{_dotted(path)}]"


def _inside(path: Path) -> str:
    return f" in {_table_of(path)}" if path else ""


def _as_table(path: Path) -> str:
    return f"write [{_dotted(path)}] on a line of its own, and its settings below it" if path else ""


def _such_as(name: str) -> str:
    return f"such as {name} = {written(EXAMPLES[name])}" if name in EXAMPLES else ""


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path if not isinstance(part, int))
