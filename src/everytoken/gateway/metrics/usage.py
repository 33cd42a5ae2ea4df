"""What OpenTelemetry's GenAI conventions call an API's operation, its provider and its tokens."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.observer import ResponseBegun, ResponseEnded
    from everytoken.translation.events import Usage

__all__ = ["operation_of", "per_chunk", "provider_of", "tokens_of"]

_USAGES: Final = {
    "openai-chat": "openai_chat",
    "openai-completions": "openai_chat",
    "openai-responses": "openai_responses",
    "anthropic-messages": "anthropic_messages",
}
_KINDS: Final = (
    ("input", "prompt"),
    ("output", "answer"),
    ("cache_read", "cached"),
    ("cache_write", "written"),
    ("reasoning", "reasoning"),
)


def operation_of(dialect: str) -> str:
    """Return `gen_ai.operation.name`."""
    return "text_completion" if dialect == "openai-completions" else "chat"


def provider_of(dialect: str) -> str:
    """Return `gen_ai.provider.name`: whose API it is, for who serves it behind that API is not known."""
    vendor = dialect.partition("-")[0]
    return vendor if dialect in _USAGES else dialect


@lru_cache(maxsize=8)
def _reader(dialect: str) -> Callable[[dict[str, Any]], Usage | None]:
    read: Callable[[dict[str, Any]], Usage | None] = import_module(
        f"everytoken.translation.{_USAGES.get(dialect, 'openai_chat')}.usage"
    ).usage_in
    return read


def per_chunk(begun: ResponseBegun, ended: ResponseEnded) -> float | None:
    """Return the mean seconds between two chunks of a streamed response; None where they cannot be known."""
    if not begun.streamed or begun.offset is not None or ended.first_content is None or ended.records < 2:
        return None
    return max(0.0, (ended.seconds - ended.first_content) / (ended.records - 1))


def tokens_of(dialect: str, usage: dict[str, Any] | None) -> list[tuple[str, int]]:
    """Return the kinds of tokens of a usage object and how many, without those that are not known.

    `cache_read` and `cache_write` are parts of `input`, `reasoning` is a part of `output`.
    """
    told = _reader(dialect)(usage) if usage else None
    if told is None:
        return []
    counts = ((kind, getattr(told, name)) for kind, name in _KINDS)
    return [(kind, count) for kind, count in counts if count is not None]
