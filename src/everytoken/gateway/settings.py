"""What the environment sets: `EVERYTOKEN_<NAME>`, or the file that `EVERYTOKEN_<NAME>_FILE` names."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from everytoken.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "FILE",
    "PREFIX",
    "Setting",
    "read_secret",
    "reads_files",
    "settings",
    "text_of",
    "value_of",
    "variables",
]

PREFIX = "EVERYTOKEN_"
FILE = "_FILE"

_MAX_FILE = 1024 * 1024  # bytes of a file that holds one setting
_PARTS = frozenset({list, frozenset})


class Setting(NamedTuple):
    """A setting and its variable. `table`: the table it is in, "" for the top; `kind`: what that table is made of."""

    table: str
    name: str
    kind: type[msgspec.Struct]
    type: Any
    variable: str

    @property
    def path(self) -> tuple[str, ...]:
        """Where it is in a file."""
        return (self.table, self.name) if self.table else (self.name,)

    @property
    def is_table(self) -> bool:
        """Whether its value is a table, or a list of them."""
        return any(
            isinstance(part, type) and issubclass(part, msgspec.Struct)
            for part in (self.type, *getattr(self.type, "__args__", ()))
        )


def settings(kind: type[msgspec.Struct], table: str = "", prefix: str = "") -> list[Setting]:
    """Return the settings of a table; `prefix` is in front of their names in the environment."""
    return [
        Setting(table, field.name, kind, field.type, f"{PREFIX}{prefix}{field.name.upper()}")
        for field in msgspec.structs.fields(kind)
    ]


def variables(known: Iterable[Setting]) -> frozenset[str]:
    """Return the names of all variables that set one of these."""
    return frozenset(f"{one.variable}{end}" for one in known for end in ("", FILE))


def reads_files(environ: Mapping[str, str], known: Iterable[Setting]) -> bool:
    """Whether the environment has a setting from a file, which may be another one when it is read again."""
    return any(environ.get(f"{one.variable}{FILE}") for one in known)


def value_of(setting: Setting, environ: Mapping[str, str]) -> Any:
    """Return what the environment says of a setting, None for nothing. Raises `ConfigurationError`."""
    text = text_of(setting.variable, environ)
    if not text:
        return None
    if setting.is_table:
        return _table(setting.variable, text)
    if getattr(setting.type, "__origin__", None) in _PARTS:
        # A file may have them on lines of their own, as lists of keys do.
        return [part.strip() for line in text.splitlines() if line.strip() for part in line.split(",")]
    return text


def text_of(variable: str, environ: Mapping[str, str]) -> str:
    """Return the text of a variable or of its file, "" if there is neither. Raises `ConfigurationError`."""
    text, path = environ.get(variable, "").strip(), environ.get(variable + FILE, "").strip()
    if text and path:
        raise ConfigurationError(
            f"the environment variables {variable} and {variable}{FILE} are both set: leave one of them out"
        )
    return read_secret(path, f"the environment variable {variable}{FILE}") if path else text


def read_secret(path: str, whose: str) -> str:
    """Return the text of a file without the space around it. Raises `ConfigurationError`, also if there is none."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(_MAX_FILE + 1)
        text = data.decode("utf-8").strip()
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(f"{whose}: cannot read {path}: {reason}") from error
    if len(data) > _MAX_FILE:
        raise ConfigurationError(f"{whose}: {path} is too large for the value of a setting")
    if not text:
        # A key that is missing must not open a gateway.
        raise ConfigurationError(f"{whose}: {path} is empty")
    return text


def _table(variable: str, text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        pass
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"the environment variable {variable} is neither JSON nor a value in TOML: {error}"
        ) from error
