"""The usage object of a message, from and to the neutral one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from everytoken.translation.counts import count_in, details_in
from everytoken.translation.events import Usage

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Usage as Reported

__all__ = ["usage_in", "usage_object"]


def usage_in(told: Reported | None) -> Usage | None:
    """Return what an upstream reports, None for nothing. `input_tokens` are those beside the cache."""
    if not told:
        return None
    given = count_in(told, "input_tokens")
    cached = count_in(told, "cache_read_input_tokens")
    written = count_in(told, "cache_creation_input_tokens")
    return Usage(
        prompt=None if given is None else given + (cached or 0) + (written or 0),
        answer=count_in(told, "output_tokens"),
        cached=cached,
        written=written,
        reasoning=count_in(details_in(told, "output_tokens_details"), "thinking_tokens"),
    )


def usage_object(usage: Usage | None, *, written: int) -> dict[str, Any]:
    """Return usage as a `message_delta` reports it, which has to.

    Where an upstream does not tell, it is `written`, one token for each piece that was written, and says that it is
    estimated.
    """
    usage = usage or Usage()
    estimated = {"estimated": True} if usage.prompt is None or usage.answer is None else {}
    told: dict[str, Any] = {
        "input_tokens": max(0, (usage.prompt or 0) - (usage.cached or 0) - (usage.written or 0)),
        "output_tokens": written if usage.answer is None else usage.answer,
        **estimated,
    }
    if usage.written is not None:
        told["cache_creation_input_tokens"] = usage.written
    if usage.cached is not None:
        told["cache_read_input_tokens"] = usage.cached
    if usage.reasoning is not None:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return told
