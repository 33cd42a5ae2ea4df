"""The usage object of a chat completion, from and to the neutral one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.translation.counts import count_in, details_in
from everytoken.translation.events import Usage

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Usage as Reported

__all__ = ["usage_in", "usage_object"]


def usage_in(told: Reported | None) -> Usage | None:
    """Return what an upstream reports, None for nothing. DeepSeek and Anthropic have names of their own for cached tokens."""
    if not told:
        return None
    prompt, answer = count_in(told, "prompt_tokens"), count_in(told, "completion_tokens")
    if len(told) == 3 and "total_tokens" in told:
        return Usage(prompt=prompt, answer=answer)  # as many servers report it, with nothing more to find
    given, made = details_in(told, "prompt_tokens_details"), details_in(told, "completion_tokens_details")
    reasoning = count_in(made, "reasoning_tokens")
    total = count_in(told, "total_tokens")
    if reasoning and None not in (prompt, answer) and total == (prompt or 0) + (answer or 0) + reasoning:
        answer = (answer or 0) + reasoning  # xAI counts it beside the answer
    cached = count_in(given, "cached_tokens")
    return Usage(
        prompt=prompt,
        answer=answer,
        cached=count_in(told, "prompt_cache_hit_tokens", "cached_tokens") if cached is None else cached,
        written=count_in(given, "cache_write_tokens", "cache_creation_tokens"),
        reasoning=reasoning,
    )


def usage_object(usage: Usage) -> dict[str, Any]:
    """Return usage as a chat completion reports it. A count that is not known is null."""
    prompt, answer = usage.prompt, usage.answer
    told: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": None if prompt is None or answer is None else prompt + answer,
    }
    given = {"cached_tokens": usage.cached, "cache_write_tokens": usage.written}
    if any(count is not None for count in given.values()):
        told["prompt_tokens_details"] = {name: count for name, count in given.items() if count is not None}
    if usage.reasoning is not None:
        told["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return told
