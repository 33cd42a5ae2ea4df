"""The other workers of a gateway that is served by several processes: what is asked of them.

Responses need none of this: a journal that the workers share has them all. It is for what a process knows of itself only.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Protocol

__all__ = ["Siblings", "asked", "sum_of"]

_NEVER_ASKED: Final[dict[int, Any]] = {}


class Siblings(Protocol):
    """The other workers of the same server."""

    number: int
    """Which of the workers this one is, from 1 on."""

    async def ask(self, question: str, about: Any = None) -> dict[int, Any]:
        """Return what the others answer, by their number; one that is starting, stopping or stuck is left out."""


async def asked(siblings: Siblings | None, question: str, about: Any = None) -> dict[int, Any]:
    """Return what the other workers answer; nothing if there are none."""
    return _NEVER_ASKED if siblings is None else await siblings.ask(question, about)


def sum_of(counts: list[dict[str, int]]) -> Counter[str]:
    """Return the sum of some counts."""
    total: Counter[str] = Counter()
    for one in counts:
        total.update(one)
    return total
