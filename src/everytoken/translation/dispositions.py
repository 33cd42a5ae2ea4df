"""What becomes of the fields of one API in another: told in a table, from which `docs/apis.md` is made."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Disposition"]


class Disposition(NamedTuple):
    """What becomes of a field of `api`, and why. What is kept as it is needs none."""

    api: str
    field: str
    how: Literal["dropped", "changed", "refused"]
    why: str
