"""The headers that a caller sends up with every attempt, and those of the attempt that answered."""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.dialects.dialect import Dialect
    from everytoken.recovery.attempt import Attempt
    from everytoken.relay.sink import Headers
    from everytoken.upstream import Upstream

__all__ = ["head_of", "passed_on", "translated"]

_OF_AN_API = (
    "anthropic-",
    "openai-",
)  # what the name of a header begins with that means nothing to another API


def passed_on(upstream: Upstream, headers: dict[str, str] | None) -> dict[str, Any]:
    """Return the argument of `Upstream.connect` that passes headers on; none for those that do not take it."""
    return {"headers": headers} if headers and _takes_headers(type(upstream)) else {}


@lru_cache(maxsize=64)
def _takes_headers(kind: type[Upstream]) -> bool:
    parameters = inspect.signature(kind.connect).parameters
    return "headers" in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def translated(headers: Mapping[str, str] | None, caller: Dialect, upstream: Dialect) -> dict[str, str]:
    """Return a caller's headers as they go to an upstream of another API: without those of its own, with the other's."""
    kept = {
        name: value
        for name, value in (headers or {}).items()
        if name not in caller.headers and not name.startswith(_OF_AN_API)
    }
    return {**upstream.headers, **kept}


def head_of(attempts: Sequence[Attempt], heads: Mapping[int, Headers]) -> Headers:
    """Return the head of the attempt that answers; where none has, of the last that had one."""

    def rank(attempt: Attempt) -> tuple[bool, float]:
        # Of two that did not fail, one stood in for the other until the other's first content.
        return attempt.cause is None, float("inf") if attempt.ended is None else attempt.ended

    answered = max((attempt for attempt in attempts if attempt.number in heads), key=rank, default=None)
    return heads[answered.number] if answered is not None else []
