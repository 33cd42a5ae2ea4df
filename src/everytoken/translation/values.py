"""Values of a caller's request, read with their paths: what is of the wrong type is an `InvalidRequestError` that names it."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from everytoken.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "flag",
    "integer",
    "number",
    "obj",
    "objects",
    "optional_text",
    "split_data_url",
    "text",
    "text_of_base64",
]


def text(holder: Mapping[str, Any], name: str, at: str = "") -> str:
    """Return a field that must be there."""
    value = optional_text(holder, name, at)
    if value is None:
        raise InvalidRequestError(f"'{_path(at, name)}' is required", param=_path(at, name))
    return value


def optional_text(holder: Mapping[str, Any], name: str, at: str = "") -> str | None:
    """Return a field that may be missing, or null."""
    value = holder.get(name)
    if not isinstance(value, str | None):
        raise InvalidRequestError(f"'{_path(at, name)}' must be a string", param=_path(at, name))
    return value


def number(holder: Mapping[str, Any], name: str) -> float | None:
    """Return a number, or None."""
    value = holder.get(name)
    if not isinstance(value, int | float | None) or isinstance(value, bool):
        raise InvalidRequestError(f"'{name}' must be a number", param=name)
    return value


def integer(holder: Mapping[str, Any], name: str, at: str = "") -> int | None:
    """Return a whole number, or None."""
    value = holder.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int | None) or isinstance(value, bool):
        raise InvalidRequestError(f"'{_path(at, name)}' must be a whole number", param=_path(at, name))
    return value


def flag(holder: Mapping[str, Any], name: str, at: str = "") -> bool | None:
    """Return true, false or None."""
    value = holder.get(name)
    if not isinstance(value, bool | None):
        raise InvalidRequestError(f"'{_path(at, name)}' must be true or false", param=_path(at, name))
    return value


def obj(value: Any, at: str) -> dict[str, Any]:
    """Return an object."""
    if not isinstance(value, dict):
        raise InvalidRequestError(f"'{at}' must be an object", param=at)
    return value


def objects(value: Any, at: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the objects of a list, and where each is; null is an empty list."""
    if value is None:
        return
    if not isinstance(value, list):
        raise InvalidRequestError(f"'{at}' must be a list", param=at)
    for position, item in enumerate(value):
        path = f"{at}[{position}]"
        yield obj(item, path), path


def split_data_url(url: str) -> tuple[str, str] | None:
    """Return the media type and the base64 of a `data:` URL (RFC 2397), None for any other URL."""
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url[5:].partition(",")
    media_type, *options = head.split(";")
    if not comma or "base64" not in options:
        return None
    return media_type.lower() or "text/plain", data


def text_of_base64(data: str, at: str) -> str:
    """Return the text that is in base64."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"'{at}' is not text in base64: {error}", param=at) from error


def _path(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
