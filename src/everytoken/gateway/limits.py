"""Every limit on what comes in, in one table: what is limited, where the number is set, and what happens at it.

`docs/limits.md` is made from it (`python tools/limits_docs.py`).
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["LIMITS", "Limit"]


class Limit(NamedTuple):
    """One row.

    `setting`: the setting of `Config` that holds the number, or "" for a constant. `number`: the number with its unit,
    for a constant. `overflow`: what a caller or an upstream sees at the limit. `reason`: why the number is what it is.
    """

    what: str
    setting: str
    number: str
    overflow: str
    reason: str


LIMITS: list[Limit] = []
