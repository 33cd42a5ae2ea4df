"""The APIs that callers speak, by their paths: an API is a dialect, an output format, and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from everytoken.dialects.openai_chat.dialect import OPENAI_CHAT
from everytoken.gateway.model_api import ModelApi

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Dialect

__all__ = ["APIS", "dialect_at"]

APIS: Final[dict[str, ModelApi]] = {
    "/v1/chat/completions": ModelApi(OPENAI_CHAT, "openai"),
}


def dialect_at(path: str) -> Dialect:
    """Return the dialect in which a caller at `path` is told of errors: that of an API, of what is below it, or OpenAI's."""
    api = APIS.get(path)
    if api is None:
        api = next((one for place, one in APIS.items() if path.startswith(f"{place}/")), None)
    return OPENAI_CHAT if api is None else api.dialect
