"""What responses used, in tokens: as upstreams report it, or estimated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["total_usage"]

_LARGEST: Final = 2**53  # more tokens than that are somebody's joke
_COUNTS: Final = ("input_tokens", "output_tokens", "total_tokens")
_DETAILS: Final = (("input_tokens_details", "cached_tokens"), ("output_tokens_details", "reasoning_tokens"))


def total_usage(reports: Sequence[tuple[dict[str, Any] | None, int]]) -> dict[str, Any] | None:
    """Return what all attempts used together: each is paid for. None when none of them got anywhere.

    `reports`: of each attempt what its upstream reported, None if it was cut before that, and its chunks with content,
    each of which counts as one token then. The input of such an attempt counts as much as another's. A sum of which a
    part is not known is None.
    """
    if len(reports) == 1 and reports[0][0]:
        return reports[0][0]
    reported = [usage for usage, _ in reports if usage]
    given = next((_count(usage.get("input_tokens")) for usage in reported), None)
    estimated = [
        {
            "input_tokens": given,
            "output_tokens": chunks,
            "total_tokens": None if given is None else given + chunks,
        }
        for usage, chunks in reports
        if chunks and not usage
    ]
    if not reported and not estimated:
        return None
    every = [*reported, *estimated]
    total: dict[str, Any] = {name: _sum([usage.get(name) for usage in every]) for name in _COUNTS}
    for holder, name in _DETAILS:
        found = [usage[holder].get(name) for usage in reported if isinstance(usage.get(holder), dict)]
        if found:
            total[holder] = {name: _sum(found)}
    return {**total, "estimated": True} if estimated else total


def _sum(values: Sequence[Any]) -> int | None:
    counts = [_count(value) for value in values]
    return None if None in counts else sum(count or 0 for count in counts)


def _count(value: Any) -> int | None:
    return (
        value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST else None
    )
