"""What somebody looks for in the request log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FIELDS", "Query", "moment", "number", "query_from"]

FIELDS: Final = ("outcome", "key", "model", "api", "upstream", "error", "request", "response")
"""What entries can be chosen by, each with one value."""

_MOST: Final = 1000  # entries in one answer
_USUAL: Final = 100
_LONGEST: Final = 200  # characters of a value


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of responses that began from `since` to `until` (seconds since 1970) and have all of `wanted`.

    `text`: something that stands anywhere in the entry.
    """

    since: float = 0.0
    until: float = float("inf")
    wanted: dict[str, str] = {}
    text: str = ""
    limit: int = _USUAL

    def may_match(self, record: bytes) -> bool:
        """Whether an entry is worth reading: cheap, and never wrong with False."""
        if self.text and self.text.encode().lower() not in record.lower():
            return False
        return all(msgspec.json.encode(value)[1:-1] in record for value in self.wanted.values())

    def matches(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry is asked for."""
        if not self.since <= entry.get("at", 0.0) <= self.until:
            return False
        for field, value in self.wanted.items():
            if field == "upstream":
                if value not in entry.get("upstreams", ()):
                    return False
            elif field == "model":
                if value not in (entry.get("model"), entry.get("model_used")):
                    return False
            elif entry.get(field) != value:
                return False
        return True


def query_from(parameters: Mapping[str, str], now: float) -> Query:
    """Return what the parameters of a URL ask for. Raises `InvalidRequestError`, whose `param` names the wrong one.

    `since` and `until` are seconds since 1970, or negative: seconds before now.
    """
    unknown = parameters.keys() - {*FIELDS, "since", "until", "limit", "text"}
    if unknown:
        raise InvalidRequestError(f"unknown parameter {min(unknown)[:_LONGEST]!r}", param=min(unknown))
    for name, value in parameters.items():
        if len(value) > _LONGEST:
            raise InvalidRequestError(f"{name!r} is longer than {_LONGEST} characters", param=name)
    limit = number(parameters, "limit", float(_USUAL))
    if not 1 <= limit <= _MOST:
        raise InvalidRequestError(f"'limit' must be 1 to {_MOST}", param="limit")
    return Query(
        since=moment(parameters, "since", 0.0, now),
        until=moment(parameters, "until", now + 60.0, now),
        wanted={name: parameters[name] for name in FIELDS if parameters.get(name)},
        text=parameters.get("text", ""),
        limit=int(limit),
    )


def moment(parameters: Mapping[str, str], name: str, default: float, now: float) -> float:
    """Return a time of a URL: seconds since 1970, or negative, before now. Raises `InvalidRequestError`."""
    value = number(parameters, name, default)
    return now + value if value < 0 else value


def number(parameters: Mapping[str, str], name: str, default: float) -> float:
    """Return a number of a URL. Raises `InvalidRequestError`."""
    text = parameters.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e12:
        raise InvalidRequestError(f"{name!r} must be a number", param=name)
    return value
