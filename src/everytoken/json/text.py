"""Any JSON of RFC 8259 to values and back, also where it is looser than typed decoders allow."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import msgspec

from everytoken.errors import MalformedEventError

__all__ = ["dumps", "join_surrogates", "loads"]


def loads(data: str | bytes) -> Any:
    """Parse any JSON of RFC 8259. Raises `MalformedEventError`, also for NaN, Infinity and too deep nesting."""
    try:
        if not isinstance(data, str):
            data = data.decode(json.detect_encoding(data), "surrogatepass")
        return _decode(data)
    except (ValueError, RecursionError) as error:
        raise MalformedEventError(f"an event of the stream is not JSON: {error}") from error


def dumps(value: Any) -> bytes:
    """Return any JSON value as compact JSON, also one with half a surrogate pair or a number beyond 64 bits."""
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError):
        return json.dumps(value, separators=(",", ":")).encode()


def join_surrogates(text: str) -> str:
    """Return `text` with the halves of surrogate pairs joined; a half that stays alone becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _parse_int(digits: str) -> int | float:
    """Keep to 64 bits: beyond, Python's conversion would be quadratic (or refuse)."""
    return int(digits) if len(digits) < 20 else float(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Made once: `json.loads` makes a new one for every call that says how numbers are read.
_decode = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_parse_int).decode
