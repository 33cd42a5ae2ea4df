"""The usage object of a response, from and to the neutral one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.translation.counts import count_in, details_in
from everytoken.translation.events import Usage

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Usage as Reported

__all__ = ["usage_in", "usage_object"]


def usage_in(told: Reported | None) -> Usage | None:
    """Return what an upstream reports, None for nothing."""
    if not told:
        return None
    given, made = details_in(told, "input_tokens_details"), details_in(told, "output_tokens_details")
    return Usage(
        prompt=count_in(told, "input_tokens"),
        answer=count_in(told, "output_tokens"),
        cached=count_in(given, "cached_tokens"),
        written=count_in(given, "cache_write_tokens"),
        reasoning=count_in(made, "reasoning_tokens"),
    )


def usage_object(usage: Usage | None) -> dict[str, Any] | None:
    """Return usage as a response reports it, None where the counts of both sides are not known."""
    if usage is None or usage.prompt is None or usage.answer is None:
        return None
    given = {"cached_tokens": usage.cached or 0}
    if usage.written is not None:
        given["cache_write_tokens"] = usage.written
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": given,
        "output_tokens": usage.answer,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": usage.prompt + usage.answer,
    }
