"""How much of what could be tried is tried: `make test` takes a sample, `make soak` (`EVERYTOKEN_SOAK=1`) all of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SOAK", "sampled"]

T = TypeVar("T")

SOAK: Final = os.environ.get("EVERYTOKEN_SOAK", "") not in {"", "0"}


def sampled(cases: Sequence[T], every: int) -> Sequence[T]:
    """Return one in `every` of the cases, and the last; in a soak all of them."""
    return cases if SOAK or len(cases) <= every else [*cases[:-1:every], cases[-1]]
