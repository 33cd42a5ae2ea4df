"""Which of a caller's headers go up to the upstreams, and which of an upstream's come back down.

Neither list can name credentials, cookies, or what belongs to one connection or one body.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Final

from everytoken.redaction import is_secret_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Header = tuple[bytes, bytes]

__all__ = [
    "MAX_BYTES",
    "MAX_HEADERS",
    "PASS_DOWN",
    "PASS_UP",
    "heads_keeper",
    "passed_up",
    "problem_with",
]

PASS_UP: Final = (
    "traceparent",
    "tracestate",
    "openai-organization",
    "openai-project",
    "x-title",
    "http-referer",
    "anthropic-*",
)
PASS_DOWN: Final = ("x-request-id", "x-ratelimit-*", "openai-*", "request-id", "anthropic-*")
MAX_HEADERS: Final = 32
MAX_BYTES: Final = 8 * 1024  # of all names and values of a message

_NAME: Final = re.compile(r"[a-z0-9!#$%&'+.^_`|~-]+\*?|\*")
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")
_OURS: Final = re.compile(
    r"content-.*|access-control-.*|accept.*|sec-.*|proxy-.*|stream-.*|everytoken-.*|x-forwarded-.*|x-stainless-.*"
    r"|host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|origin|range|if-.*|date|server|age|vary"
    r"|cache-control|expires|pragma|etag|last-modified|last-event-id|idempotency-key|forwarded|via|location|allow"
    r"|user-agent|retry-after.*|x-should-retry|x-accel-.*|incremental|www-authenticate|x-vercel-.*|link|refresh|alt-svc"
)


def problem_with(names: Iterable[str]) -> str | None:
    """Return what is wrong with a list of headers to pass on, or None. A name may end in `*`."""
    for name in names:
        if not _NAME.fullmatch(name.lower()):
            return f"{name!r} is not the name of a header, nor the beginning of one and '*'"
        if not name.endswith("*") and not _may_pass(name.lower()):
            return f"{name!r} is never passed on: it is a credential, or belongs to one connection or body"
    return None


def passed_up(headers: Iterable[Header], names: Sequence[str]) -> dict[str, str]:
    """Return those headers of a request that its upstreams get; what exceeds the limits is left out."""
    chosen = _chosen(headers, *_compiled(tuple(names)))
    return {name.decode(): value.decode() for name, value in chosen.items()}


def heads_keeper(names: Sequence[str]) -> Callable[[Iterable[Header]], list[Header]]:
    """Return a function from the headers of an upstream's response to those that are kept for the caller."""
    exact, begins = _compiled(tuple(names))
    return lambda headers: list(_chosen(headers, exact, begins).items())


@functools.lru_cache(maxsize=8)  # the names are the configuration's
def _compiled(names: tuple[str, ...]) -> tuple[frozenset[bytes], tuple[bytes, ...]]:
    """Return the names of a list, and the beginnings that it allows."""
    return (
        frozenset(name.lower().encode() for name in names if not name.endswith("*")),
        tuple(name[:-1].lower().encode() for name in names if name.endswith("*")),
    )


def _chosen(
    headers: Iterable[Header], exact: frozenset[bytes], begins: tuple[bytes, ...]
) -> dict[bytes, bytes]:
    """Return the headers on the list, within the limits; of a repeated one, the last."""
    found: dict[bytes, bytes] = {}
    room = MAX_BYTES
    for name, value in headers:
        if not (name in exact or name.startswith(begins)):
            continue
        text = value.decode("latin-1").strip()
        room -= len(name) + len(text)
        if room < 0 or len(found) >= MAX_HEADERS:
            break
        if _VALUE.fullmatch(text) and _may_pass(name.decode("latin-1")):
            found[name] = text.encode()
    return found


def _may_pass(name: str) -> bool:
    # x-ratelimit-remaining-tokens is no secret.
    return not _OURS.fullmatch(name) and not is_secret_header(name.replace("tokens", ""))
