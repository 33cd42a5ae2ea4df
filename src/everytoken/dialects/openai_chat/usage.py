"""What responses used, in tokens: as upstreams report it, or estimated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["total_usage", "usage_estimate"]

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")
_LARGEST = 2**53  # more tokens than that are somebody's joke


def usage_estimate(content_chunks: int, *, prompt_tokens: int | None = None) -> dict[str, Any]:
    """Return a usage object for a response whose upstream gave none, marked as estimated.

    One chunk with content counts as one token, which is how nearly all servers send them. The tokens of the prompt
    cannot be told from the response; they are `prompt_tokens`. Where that is None, so is the total: what is not known
    is not 0.
    """
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": content_chunks,
        "total_tokens": None if prompt_tokens is None else prompt_tokens + content_chunks,
        "estimated": True,
    }


def total_usage(reports: Sequence[tuple[dict[str, Any] | None, int]]) -> dict[str, Any] | None:
    """Return what all attempts used together: each is paid for. None when none of them got anywhere.

    `reports`: of each attempt what its upstream reported, None if it was cut before that, and its chunks with content.
    Where nothing was reported one chunk counts as one token and the prompt as long as another attempt's, and the sum
    is marked as estimated. A sum of which a part is not known is None.
    """
    if len(reports) == 1:
        ((usage, chunks),) = reports
        return usage or (usage_estimate(chunks) if chunks else None)
    reported = [usage for usage, _ in reports if usage]
    prompt = next((_count(usage, "prompt_tokens") for usage in reported), None)
    estimated = [
        usage_estimate(chunks, prompt_tokens=prompt) for usage, chunks in reports if chunks and not usage
    ]
    if not reported and not estimated:
        return None
    total: dict[str, Any] = {name: _sum(name, (*reported, *estimated)) for name in _COUNTS}
    return {**total, "estimated": True} if estimated else total


def _sum(name: str, usages: Sequence[dict[str, Any]]) -> int | None:
    total = 0
    for usage in usages:
        count = _count(usage, name)
        if count is None:
            return None
        total += count
    return total


def _count(usage: dict[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and 0 <= value <= _LARGEST else None
