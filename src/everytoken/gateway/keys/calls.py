"""What a caller's key says of the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from everytoken.gateway.keys.key import Key

__all__ = ["check_model", "key_api"]

_APIS: Final = {
    "openai-chat": "chat",
    "anthropic-messages": "messages",
    "openai-responses": "responses",
    "openai-completions": "completions",
}


def check_model(key: Key | None, model: str) -> None:
    """Raise `NotAllowedError` if the caller's key is not for this model."""
    if key is not None:
        key.check_model(model)


def key_api(dialect: str) -> str:
    """Return by which name keys are limited to a dialect."""
    return _APIS.get(dialect, "other")
