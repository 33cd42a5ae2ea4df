"""What a user has set once for all commands: `config.toml` in the folder of the user's configuration."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path

import msgspec
import platformdirs

from everytoken.errors import ConfigurationError

__all__ = ["Profile", "folder", "profile"]

_LARGEST = 64 * 1024  # bytes


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file's settings. `api_key_file` names a file that holds the key; `save`: whether conversations are kept."""

    base_url: str = ""
    model: str = ""
    system: str = ""
    api_key: str = ""
    api_key_file: str = ""
    save: bool = True


def folder() -> Path:
    """Return the folder of the user's configuration."""
    return platformdirs.user_config_path("everytoken")


@functools.cache
def profile() -> Profile:
    """Return what the file says; without one, nothing is set. Raises `ConfigurationError`."""
    path = folder() / "config.toml"
    try:
        text = _read(path)
    except FileNotFoundError:
        return Profile()
    try:
        found = msgspec.convert(tomllib.loads(text), Profile)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if found.api_key and found.api_key_file:
        raise ConfigurationError(f"{path}: api_key and api_key_file exclude each other")
    if not found.api_key_file:
        return found
    secret = path.parent / Path(found.api_key_file).expanduser()
    try:
        return msgspec.structs.replace(found, api_key=_read(secret).strip())
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: there is no file {secret}") from error


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(f"{path} cannot be read: {reason}") from error
    if len(text) > _LARGEST:
        raise ConfigurationError(f"{path} has more than {_LARGEST} bytes")
    return text
