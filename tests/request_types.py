"""Request bodies checked by the types of the official SDKs, and not by ours."""

from __future__ import annotations

from functools import cache
from typing import Any

from anthropic.types import Base64ImageSourceParam, MessageCreateParams
from openai.types.chat import CompletionCreateParams
from openai.types.responses import ResponseCreateParams
from pydantic import ConfigDict, TypeAdapter

SAMPLING = ("temperature", "top_p", "top_k")
"""Fields that the Messages API still takes for older models, and its SDK's types no longer have."""


# Its field `data` may be an open file.
Base64ImageSourceParam.__pydantic_config__ = ConfigDict(arbitrary_types_allowed=True)  # type: ignore[attr-defined]
_PARAMS: dict[str, Any] = {
    "openai-chat": CompletionCreateParams,
    "openai-responses": ResponseCreateParams,
    "anthropic-messages": MessageCreateParams,
}


@cache
def adapter(api: str) -> Any:
    """Return what checks bodies of an API, by its dialect's name."""
    return TypeAdapter(_PARAMS[api])


def check(api: str, body: dict[str, Any]) -> None:
    """Fail unless the SDK of an API has types for all of a body, and nothing in it is unknown to them."""
    if api == "anthropic-messages":
        body = {name: value for name, value in body.items() if name not in SAMPLING}
    assert consumed(adapter(api).validate_python(body)) == body


def consumed(value: Any) -> Any:
    """Return a checked value whole: pydantic checks an iterable only as it is read."""
    if isinstance(value, dict):
        return {name: consumed(one) for name, one in value.items()}
    if value is None or isinstance(value, str | int | float):
        return value
    return [consumed(one) for one in value]
