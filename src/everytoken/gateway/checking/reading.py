"""A configuration read for its mistakes: all of them at once, each with its place."""

from __future__ import annotations

import os
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.errors import ConfigurationError
from everytoken.gateway.checking.around import check_around
from everytoken.gateway.checking.problem import Found, Problem
from everytoken.gateway.checking.tables import checked
from everytoken.gateway.config import SETTINGS, Config, lay_over, parse, unknown_variables
from everytoken.gateway.settings import value_of
from everytoken.gateway.toml import places

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["MistakesError", "Report", "check", "explained"]

_LINE: Final = re.compile(r" ?\(at (?:line (\d+), column (\d+)|end of document)\)$")
_SETTING: Final = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=\s*(.*?)\s*(?:#.*)?$")
_MOST: Final = 50  # lines that are not TOML, after which nothing more is said


class Report(msgspec.Struct, frozen=True):
    """What was found, in the order of the file. `config`: what can be used of it, None if there is nothing.

    `sources`: where the settings are from that are not defaults, by their paths.
    """

    problems: list[Problem]
    config: Config | None = None
    sources: dict[tuple[str | int, ...], str] = {}

    @property
    def errors(self) -> list[Problem]:
        """What the gateway does not start with."""
        return [problem for problem in self.problems if problem.level == "error"]

    @property
    def warnings(self) -> list[Problem]:
        """What is probably not meant."""
        return [problem for problem in self.problems if problem.level == "warning"]

    def told(self) -> str:
        """Return the errors as a text: how many, and a line for each."""
        count = len(self.errors)
        return "\n".join(
            [f"the configuration has {count} error{'s' * (count > 1)}:", *(f"  {one}" for one in self.errors)]
        )


class MistakesError(ConfigurationError):
    """The configuration has mistakes, and these are all of them; `problems`: the errors, one by one."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.told())
        self.problems = report.errors


def check(
    path: Path | None, environ: Mapping[str, str] | None = None, options: Mapping[str, Any] | None = None
) -> Report:
    """Check a configuration as `everytoken serve` would read it: file, environment, and options of the command line.

    Nothing is connected to, and nothing is made. It never raises for what is wrong with the configuration.
    """
    environ = os.environ if environ is None else environ
    text, found = "", Found("" if path is None else str(path), {})
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            found.error((), f"cannot be read: {reason}")
            return Report(found.problems)
    values, missing = _readable(found, text)
    for setting in SETTINGS:
        try:
            value = value_of(setting, environ)
        except ConfigurationError as error:
            found.problems.append(
                Problem(level="error", setting=".".join(setting.path), message=error.message)
            )
            continue
        if value is not None:
            found.variables[setting.path] = f"the environment variable {setting.variable}"
            lay_over(values, setting, value)
    config = _checked(found, values, missing, environ, options or {})
    if not found.errors and options is None:
        try:  # what is read in earnest has the last word
            config = parse(text, environ, where=found.file or "the environment")
        except ConfigurationError as error:
            found.error((), error.message)
    for warning in unknown_variables(environ):
        found.problems.append(Problem(level="warning", message=warning))
    sources = {path: f"{found.file}:{line}" for path, (line, _) in found.places.items()}
    return Report(_in_order(found.problems), config, {**sources, **found.variables})


def explained(
    error: ConfigurationError, path: Path | None, options: Mapping[str, Any] | None = None
) -> ConfigurationError:
    """Return an error with all that is wrong with the configuration in place of the first mistake."""
    if path is not None and not path.is_file():
        return error
    report = check(path, None, options)
    if not report.errors or (path is None and len(report.errors) == 1):
        return error
    return MistakesError(report)


def _checked(
    found: Found,
    values: dict[str, Any],
    missing: frozenset[str],
    environ: Mapping[str, str],
    options: Mapping[str, Any],
) -> Config | None:
    usable = checked(found, values, Config, (), missing) or {}
    for name, value in options.items():
        found.variables[name,] = f"the option --{name.replace('_', '-')}"
        usable[name] = value
    tables = usable.get("upstream", [])
    numbers = [number for number, table in enumerate(tables) if table is not None]
    usable["upstream"] = [table for table in tables if table is not None]
    try:
        config = msgspec.convert(usable, Config, strict=False)
    except msgspec.ValidationError as error:
        found.error((), str(error))
        return None
    check_around(found, config, numbers, environ)
    return config


def _readable(found: Found, text: str) -> tuple[dict[str, Any], frozenset[str]]:
    """Return what a text says, without the lines that are not TOML, and the names of the settings on those."""
    lines = text.split("\n")
    missing: set[str] = set()
    for _ in range(_MOST):
        try:
            values = tomllib.loads("\n".join(lines))
        except tomllib.TOMLDecodeError as error:
            name = _not_toml(found, lines, str(error))
            if not name:
                return {}, frozenset(_names(text))
            missing.add(name)
        else:
            found.places = places("\n".join(lines))
            return values, frozenset(missing)
    return {}, frozenset(_names(text))


def _not_toml(found: Found, lines: list[str], message: str) -> str:
    """Note what `tomllib` says, and blank the line. Return the setting on it, "" if nothing behind it can be read."""
    place = _LINE.search(message)
    line = int(place[1]) if place and place[1] else len(lines)
    column = int(place[2]) if place and place[2] else 1
    message = _LINE.sub("", message)
    text = lines[line - 1] if line <= len(lines) else ""
    match = _SETTING.fullmatch(text)
    found.problems.append(
        Problem(
            level="error",
            message=f"not TOML: {message[:1].lower()}{message[1:]}",
            file=found.file,
            line=line,
            column=column,
            suggestion=_quoted(match) if match else "",
        )
    )
    # Where an array or a text has no end, the line that is at fault is another.
    if match is None or message.startswith(("Unclosed", "Unterminated")) or '"""' in text or "'''" in text:
        return ""
    lines[line - 1] = ""
    return match[1]


def _quoted(match: re.Match[str]) -> str:
    name, value = match.groups()
    if not value:
        return f"write a value behind {name} ="
    if value.lower() in {"true", "false"}:
        return f"write {name} = {value.lower()}"
    if value.startswith(('"', "'")) and value.count(value[0]) == 1:
        return "the text has no closing quote"
    return f'put a text in quotes: {name} = "…"' if value[0] not in "[{\"'" else ""


def _names(text: str) -> set[str]:
    return {match[1] for line in text.split("\n") if (match := _SETTING.fullmatch(line))}


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(
        problems, key=lambda one: (one.level != "error", one.line is None, one.line or 0, one.column or 0)
    )
