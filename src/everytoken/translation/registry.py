"""The translations between the APIs of callers and upstreams, by the names of their dialects."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from everytoken.translation.api import TranslatedApi
    from everytoken.translation.translation import Translation

__all__ = ["DIALECTS", "ApiName", "translation"]

ApiName = Literal["chat", "messages", "responses"]
"""The APIs as settings name them."""

DIALECTS: Final[dict[ApiName, str]] = {
    "chat": "openai-chat",
    "responses": "openai-responses",
    "messages": "anthropic-messages",
}
"""Their dialects. In this order they are used for callers of another one."""

_PACKAGES: Final = {
    "openai-chat": "openai_chat",
    "openai-responses": "openai_responses",
    "anthropic-messages": "anthropic_messages",
}


@lru_cache(maxsize=64)
def translation(caller: str, upstream: str) -> Translation | None:
    """Return what has callers of one dialect served by an upstream of another; None where there is no such translation."""
    if caller == upstream or caller not in _PACKAGES or upstream not in _PACKAGES:
        return None
    # Most processes never translate, and a client's import should not wait for it.
    made: type[Translation] = import_module("everytoken.translation.translation").Translation
    return made(_api(caller), _api(upstream))


def _api(dialect: str) -> TranslatedApi:
    api: TranslatedApi = import_module(f"everytoken.translation.{_PACKAGES[dialect]}.api").API
    return api
