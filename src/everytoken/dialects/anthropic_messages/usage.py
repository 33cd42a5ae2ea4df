"""What responses used, in tokens: as upstreams report it, or estimated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["merged", "total_usage"]

_INPUT = "input_tokens"
_OUTPUT = "output_tokens"
_CACHED = ("cache_creation_input_tokens", "cache_read_input_tokens")
_LARGEST = 2**53  # more tokens than that are somebody's joke


def merged(started: Any, told: Any) -> dict[str, Any]:
    """Return the usage of `message_start` with what a `message_delta` tells of it: its counts are totals, not additions."""
    first = started if isinstance(started, dict) else {}
    last = told if isinstance(told, dict) else {}
    return {**first, **{name: value for name, value in last.items() if value is not None}}


def total_usage(reports: Sequence[tuple[dict[str, Any] | None, int]]) -> dict[str, Any] | None:
    """Return what all attempts used together: each is paid for. None when none of them got anywhere.

    `reports`: of each attempt what its upstream reported, None if it was cut before that, and its chunks with content.
    Where nothing was reported one chunk counts as one token and the input as long as another attempt's, and the sum is
    marked as estimated. A sum of which a part is not known is None.
    """
    reported = [usage for usage, _ in reports if usage]
    cut = [chunks for usage, chunks in reports if chunks and not usage]
    if len(reported) == 1 and not cut:
        return reported[0]
    if not reported and not cut:
        return None
    counts = [_count(usage, _INPUT) for usage in reported]
    given = counts + [counts[0] if counts else None] * len(cut)
    made = [_count(usage, _OUTPUT) for usage in reported] + cut
    total: dict[str, Any] = {_INPUT: _sum(given), _OUTPUT: _sum(made)}
    for name in _CACHED:
        cached = [count for usage in reported if (count := _count(usage, name)) is not None]
        if cached:
            total[name] = sum(cached)
    return {**total, "estimated": True} if cut else total


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _count(usage: dict[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and 0 <= value <= _LARGEST else None
