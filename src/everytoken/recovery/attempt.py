"""One attempt as it is recorded, and what all of them used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from everytoken.dialects.openai_chat import usage_estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.errors import EverytokenError
    from everytoken.recovery.policy import Strategy

__all__ = ["Attempt", "total_usage"]

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


@dataclass(slots=True)
class Attempt:
    """One upstream connection serving the response.

    `offset` counts the records delivered before it (the seam), `chunks` the chunks with content that it sent. Times are the
    driver's, in seconds. `usage` is what the upstream reported, None when it did not come to that.
    """

    number: int
    upstream: str
    strategy: Strategy
    streamed: bool
    offset: int
    started: float
    ended: float | None = None
    cause: EverytokenError | None = None
    usage: dict[str, Any] | None = None
    chunks: int = 0

    def describe(self, origin: float) -> dict[str, Any]:
        """Return what logs and metadata show of it; times in seconds since `origin`."""
        cause = self.cause
        return {
            "number": self.number,
            "upstream": self.upstream,
            "strategy": self.strategy,
            "streamed": self.streamed,
            "offset": self.offset,
            "started": round(self.started - origin, 3),
            "ended": None if self.ended is None else round(self.ended - origin, 3),
            "cause": None if cause is None else {"code": cause.code, "message": cause.message},
            "usage": self.usage or (usage_estimate(self.chunks) if self.chunks else None),
        }


_LARGEST = 2**53  # more tokens than that are somebody's joke


def total_usage(attempts: Sequence[Attempt]) -> dict[str, Any] | None:
    """Return what all attempts used together: each is paid for. None when none of them got anywhere.

    Where an upstream reported nothing (an attempt was cut) one chunk counts as one token and the prompt as long as
    another attempt's, and the sum is marked as estimated.
    """
    if len(attempts) == 1 and attempts[0].usage:
        return attempts[0].usage
    reported = [attempt.usage for attempt in attempts if attempt.usage]
    prompt = next((_count(usage, "prompt_tokens") for usage in reported), 0)
    estimated = [
        usage_estimate(attempt.chunks, prompt_tokens=prompt)
        for attempt in attempts
        if attempt.chunks and not attempt.usage
    ]
    if not reported and not estimated:
        return None
    total: dict[str, Any] = {
        name: sum(_count(usage, name) for usage in (*reported, *estimated)) for name in _COUNTS
    }
    return {**total, "estimated": True} if estimated else total


def _count(usage: dict[str, Any], name: str) -> int:
    value = usage.get(name)
    return value if isinstance(value, int) and 0 < value <= _LARGEST else 0
