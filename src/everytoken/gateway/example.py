"""A configuration file that has every setting, with what it means; and the one that counts, with its secrets masked."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from everytoken.gateway.checking.words import example_of
from everytoken.gateway.config import BreakerConfig, Config, UpstreamConfig
from everytoken.gateway.meanings import MEANINGS
from everytoken.gateway.prices import PriceConfig
from everytoken.gateway.rates import LimitsConfig, Rates
from everytoken.gateway.toml import key, written
from everytoken.recovery import Policy
from everytoken.redaction import is_secret_header

if TYPE_CHECKING:
    from collections.abc import Mapping

    from everytoken.gateway.toml import Path

__all__ = ["MASK", "example", "shown"]

MASK: Final = "********"

_HEAD: Final = """\
# A configuration of everytoken with every setting. What is set here is the default; what begins with `#` and no space
# has none, and is an example. Leave out what you do not change.
#
#   everytoken check everytoken.toml           finds mistakes
#   everytoken serve --config everytoken.toml
#
# Sizes are in bytes, times in seconds. Every setting can be in the environment: EVERYTOKEN_PORT, or
# EVERYTOKEN_API_KEYS_FILE for what a file holds.
"""
_WIDTH: Final = 110
_TABLES: Final = frozenset({"policy", "breaker", "upstream", "prices", "limits"})
_SECRET_LISTS: Final = frozenset({"api_keys", "admin_keys"})


def example() -> str:
    """Return a commented file, which is a configuration as it stands."""
    upstream = {"name": "local", "url": "http://127.0.0.1:8080/v1"}
    parts = [
        _HEAD,
        _settings(Config),
        _section("limits.all", Rates, "What all together may use; 0 is no limit."),
        _section("limits.each_key", Rates, "What each key may use that has no limits of its own."),
        _section('limits.models."my-model"', Rates, "What one model may be asked for.", off=True),
        _section(
            'prices."my-model"',
            PriceConfig,
            "What a model costs, in US dollars for a million tokens.",
            off=True,
        ),
        _section("policy", Policy, "How long to wait and how often to try. Times are in seconds."),
        _section("breaker", BreakerConfig, "When an upstream that keeps failing for a model is set aside."),
        _section(
            "[upstream]",
            UpstreamConfig,
            "One of these for each server that models are asked at.",
            given=upstream,
        ),
    ]
    return "\n".join(parts)


def _section(
    name: str,
    kind: type[msgspec.Struct],
    about: str,
    *,
    given: Mapping[str, Any] | None = None,
    off: bool = False,
) -> str:
    return f"\n# {about}\n{'#' * off}[{name}]\n{_settings(kind, given or {}, off=off)}"


def _settings(
    kind: type[msgspec.Struct], given: Mapping[str, Any] | None = None, *, off: bool = False
) -> str:
    lines: list[str] = []
    given, examples = given or {}, {"input": 0.5, "output": 2.0, "cached": 0.05, "written": 0.6}
    for field in msgspec.structs.fields(kind):
        name = field.name
        if kind is Config and name in _TABLES:
            continue
        lines.append("")
        lines += textwrap.wrap(
            MEANINGS[kind.__name__][name],
            _WIDTH,
            initial_indent="# ",
            subsequent_indent="# ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        value = given.get(name, example_of(field))
        if value is None:
            value = examples.get(name, "")
        isset = name in given or (not field.required and _has_default(field) and not off)
        lines.append(f"{'' if isset else '#'}{name} = {written(value)}")
    return "\n".join([*lines, ""])


def _has_default(field: msgspec.structs.FieldInfo) -> bool:
    return (
        field.default_factory is not msgspec.NODEFAULT and bool(field.default_factory())
    ) or field.default not in (
        msgspec.NODEFAULT,
        None,
        "",
        [],
        {},
    )


def shown(config: Config, sources: Mapping[Path, str]) -> str:
    """Return a configuration as a file, with its secrets masked, and where each value is from if it is no default."""
    values = _masked(config)
    lines = [
        _line(name, value, sources.get((name,), "")) for name, value in values.items() if name not in _TABLES
    ]
    limits = values["limits"]
    if config.limits != LimitsConfig():
        for part in ("all", "each_key"):
            lines += _table(f"limits.{part}", limits[part], ("limits", part), sources)
        for name, table in limits["models"].items():
            lines += _table(f"limits.models.{key(name)}", table, ("limits", "models", name), sources)
    for name, table in values["prices"].items():
        lines += _table(f"prices.{key(name)}", table, ("prices", name), sources)
    for part in ("policy", "breaker"):
        lines += _table(part, values[part], (part,), sources)
    for number, table in enumerate(values["upstream"]):
        lines += _table("[upstream]", table, ("upstream", number), sources)
    return "\n".join([*lines, ""])


def _table(name: str, values: Mapping[str, Any], path: Path, sources: Mapping[Path, str]) -> list[str]:
    lines = [
        _line(one, value, sources.get((*path, one), "")) for one, value in values.items() if value is not None
    ]
    return ["", f"[{name}]", *lines]


def _line(name: str, value: Any, source: str) -> str:
    return f"{key(name)} = {written(value)}{f'  # {source}' if source else ''}"


def _masked(config: Config) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(config, builtin_types=(frozenset,))
    for name in _SECRET_LISTS:
        values[name] = [MASK] * len(values[name])
    values["journal"] = _without_credentials(values["journal"])
    for upstream in values["upstream"]:
        upstream["url"] = _without_credentials(upstream["url"])
        if upstream["key"] is not None:
            upstream["key"] = None if upstream["key_file"] else MASK
        for part in ("headers", "extra", "prefill_extra", "prefill_message"):
            upstream[part] = {
                name: MASK if part == "headers" or is_secret_header(name) else value
                for name, value in upstream[part].items()
            }
    return values


def _without_credentials(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    place = parts.netloc
    if "@" in place:
        user, at, host = place.rpartition("@")
        name, colon, _ = user.partition(":")
        place = f"{name}:{MASK}{at}{host}" if colon else f"{MASK}{at}{host}"
    query = urlencode([(name, MASK) for name, _ in parse_qsl(parts.query, keep_blank_values=True)], safe="*")
    return (
        url
        if (place, query) == (parts.netloc, parts.query)
        else urlunsplit((*parts[:1], place, parts[2], query, ""))
    )
