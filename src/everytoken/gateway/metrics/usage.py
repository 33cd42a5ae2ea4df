"""What OpenTelemetry's GenAI conventions call an API's operation, its provider and its tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everytoken.gateway.prices import tokens_in

if TYPE_CHECKING:
    from everytoken.observer import ResponseBegun, ResponseEnded

__all__ = ["operation_of", "per_chunk", "provider_of", "tokens_of"]

_PROVIDERS: Final = {
    "openai-chat": "openai",
    "openai-completions": "openai",
    "openai-responses": "openai",
    "anthropic-messages": "anthropic",
}
_KINDS: Final = ("input", "output", "cache_read", "cache_write", "reasoning")


def operation_of(dialect: str) -> str:
    """Return `gen_ai.operation.name`."""
    return "text_completion" if dialect == "openai-completions" else "chat"


def provider_of(dialect: str) -> str:
    """Return `gen_ai.provider.name`: whose API it is, for who serves it behind that API is not known."""
    return _PROVIDERS.get(dialect, dialect)


def per_chunk(begun: ResponseBegun, ended: ResponseEnded) -> float | None:
    """Return the mean seconds between two chunks of a streamed response; None where they cannot be known."""
    if not begun.streamed or begun.offset is not None or ended.first_content is None or ended.records < 2:
        return None
    return max(0.0, (ended.seconds - ended.first_content) / (ended.records - 1))


def tokens_of(dialect: str, usage: dict[str, Any] | None) -> list[tuple[str, int]]:
    """Return the kinds of tokens of a usage object and how many, without those that are not known.

    `cache_read` and `cache_write` are parts of `input`, `reasoning` is a part of `output`.
    """
    told = tokens_in(usage, dialect)
    if told is None:
        return []
    counts = told.prompt, told.answer, told.cached, told.written, told.reasoning
    return [(kind, count) for kind, count in zip(_KINDS, counts, strict=True) if count is not None]
