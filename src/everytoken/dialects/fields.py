"""Fields that requests of several APIs have in common. What is wrong with one is an `InvalidRequestError` that names it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_messages", "flag_in", "model_in"]


def model_in(body: Mapping[str, Any]) -> str:
    """Return the model that a request names, "" without one."""
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise InvalidRequestError("'model' must be a string", param="model")
    return model or ""


def flag_in(body: Mapping[str, Any], name: str) -> bool:
    """Return a field that is true or false; null and nothing are false."""
    value = body.get(name)
    if not (value is None or isinstance(value, bool)):
        raise InvalidRequestError(f"'{name}' must be true or false", param=name)
    return bool(value)


def check_messages(messages: Any) -> None:
    """Refuse what is no list of messages with roles."""
    if messages is None:
        raise InvalidRequestError("'messages' is required", param="messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequestError("'messages' must be a list with at least one message", param="messages")
    for position, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequestError("each message must be an object", param=f"messages[{position}]")
        if not isinstance(message.get("role"), str):
            raise InvalidRequestError("each message needs a 'role'", param=f"messages[{position}].role")
