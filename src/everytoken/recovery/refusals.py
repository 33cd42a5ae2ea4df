"""What an upstream's refusal says: of this request, of this upstream, of what we have added, of the API."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from everytoken.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from everytoken.dialects.dialect import Request
    from everytoken.errors import ErrorEventError
    from everytoken.recovery.policy import Policy

__all__ = [
    "is_in",
    "is_only_here",
    "lacks_path",
    "may_pass",
    "refusal_in",
    "refused_field",
    "refuses_additions",
    "refuses_streaming",
]

_ADDITIONS = re.compile(r"\b(seed|stream_options|include_usage)\b")
_SAYING = ("param", "message", "msg", "detail")

# What says something about this upstream, its key or its account, and nothing about the next one.
_ONLY_HERE = frozenset({401, 402, 403, 404, 405, 413, 451, 501})
_ONLY_HERE_CODES = frozenset(
    {
        *("context_length_exceeded", "exceed_context_size_error", "model_not_found", "model_not_supported"),
        *("unsupported_country_region_territory", "insufficient_quota", "billing_hard_limit_reached"),
    }
)
_SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})  # 429, and for good

_NO_SUCH_PATH = frozenset({404, 405, 501})

_STREAM = re.compile(r"\bstream(ed|ing)?\b", re.IGNORECASE)


def refusal_in(error: ErrorEventError) -> StatusError:
    """Return an error that came with a 200, before any content, as the refusal that it is."""
    body = msgspec.json.encode({"error": error.error}) if isinstance(error.error, dict) else b""
    return StatusError(error.message, upstream_status=error.status, body=body)


def may_pass(error: StatusError, policy: Policy) -> bool:
    """Whether a refusal may be over in a moment: what the upstream says of that counts more than its status."""
    if error.should_retry is not None:
        return error.should_retry
    return error.upstream_status in policy.retry_statuses and _code_of(error) not in _SPENT


def is_only_here(error: StatusError) -> bool:
    """Whether another upstream may well accept what this one refuses: its keys, money, models, limits and region."""
    return error.upstream_status in _ONLY_HERE or _code_of(error) in _ONLY_HERE_CODES


def lacks_path(error: StatusError) -> bool:
    """Whether an upstream has no such path: it does not say that it is the model that it lacks."""
    told = _told(error)
    words = repr(told) if told else error.body.decode("utf-8", "replace")
    return error.upstream_status in _NO_SUCH_PATH and "model" not in words.lower()


def refuses_additions(error: StatusError) -> bool:
    """Whether an upstream refuses a request because of what we have added to it, by naming it.

    404: how OpenRouter says that no provider takes all the parameters.
    """
    told = _told(error)
    # What is echoed of the request beside it names everything we sent.
    words = " ".join(str(told.get(name)) for name in _SAYING) if told else repr(error.body)
    if error.upstream_status == 404:
        return "parameter" in words
    return error.upstream_status in {400, 422} and _ADDITIONS.search(words) is not None


def is_in(body: Mapping[str, Any], path: str) -> bool:
    """Whether a request has a field; `path`: its name, behind that of the object that it is in."""
    name, _, inner = path.partition(".")
    value = body.get(name)
    return value is not None and (not inner or (isinstance(value, dict) and value.get(inner) is not None))


def refused_field(error: StatusError, paths: Iterable[str]) -> str | None:
    """Return which of the fields at `paths` an upstream refuses by name, or None.

    Its `param` says so, or its words do, with the name in quotes or behind the word parameter, as a path, or as the subject.
    """
    if error.upstream_status not in {400, 422}:
        return None
    told = _told(error)
    if told is None:
        return None
    param = told.get("param")
    words = " ".join(str(told.get(name)) for name in _SAYING[1:])
    for path in paths:
        if isinstance(param, str) and param:
            if param == path or param.startswith(f"{path}.") or param == path.partition(".")[0]:
                return path
        elif _names(words, path) or _names(words, path.rpartition(".")[2]):
            return path
    return None


def _names(words: str, path: str) -> bool:
    name = re.escape(path)
    return (
        re.search(
            rf"""['"`]{name}['"`.]|^{name}\b|\b(parameter|argument|field)s?( supplied)?:? {name}\b""", words
        )
        is not None
    )


def refuses_streaming(error: StatusError, request: Request) -> bool:
    """Whether an upstream refuses a request because it is to be streamed.

    Its `param` says so; its words only where the caller had not asked for a stream, so that it was our doing.
    """
    told = _told(error)
    if told is None or error.upstream_status not in {400, 422}:
        return False
    return told.get("param") == "stream" or (
        not request.stream and _STREAM.search(str(told.get("message"))) is not None
    )


def _code_of(error: StatusError) -> str:
    told = _told(error) or {}
    return str(told.get("code") or told.get("type") or "")


def _told(error: StatusError) -> dict[str, Any] | None:
    """Return the object in an error's body that says what is wrong, or None."""
    try:
        body = msgspec.json.decode(error.body)
    except (msgspec.DecodeError, RecursionError):
        return None
    if isinstance(body, list):
        body = body[0] if body else None  # Gemini
    told = body.get("error", body) if isinstance(body, dict) else None
    return told if isinstance(told, dict) else None
