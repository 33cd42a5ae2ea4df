"""The APIs that callers speak, by their paths: an API is a dialect, an output format, and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from everytoken.dialects.anthropic_messages.dialect import ANTHROPIC_MESSAGES
from everytoken.dialects.openai_chat.dialect import OPENAI_CHAT
from everytoken.dialects.openai_responses.dialect import OPENAI_RESPONSES
from everytoken.gateway.model_api import ModelApi

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Dialect

__all__ = ["APIS", "FORMATS_WITH_IDS", "dialect_at", "foreign_api", "format_of"]

APIS: Final[dict[str, ModelApi]] = {
    "/v1/chat/completions": ModelApi(OPENAI_CHAT, "openai"),
    "/v1/responses": ModelApi(OPENAI_RESPONSES, "responses"),
    "/v1/messages": ModelApi(ANTHROPIC_MESSAGES, "anthropic"),
}

FORMATS_WITH_IDS: Final = frozenset(api.format for api in APIS.values())
"""The output formats whose events may have `id:` lines or none."""


def format_of(dialect: str | None) -> str:
    """Return the name of the output format of a dialect; of one that is not served here, and of None, OpenAI's."""
    return next((api.format for api in APIS.values() if api.dialect.name == dialect), "openai")


def dialect_at(path: str) -> Dialect:
    """Return the dialect in which a caller at `path` is told of errors: that of an API, of what is below it, or OpenAI's."""
    api = APIS.get(path)
    if api is None:
        api = next((one for place, one in APIS.items() if path.startswith(f"{place}/")), None)
    return OPENAI_CHAT if api is None else api.dialect


def foreign_api(dialect: Dialect) -> ModelApi:
    """Return the API of a dialect that another package adds: its records as events, with its own end mark."""
    return ModelApi(dialect, "openai", {"end_mark": dialect.end_mark}, adds=False)
