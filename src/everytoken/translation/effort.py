"""How much a model is to reason, in words and in tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from everytoken.translation.request import Effort, NeutralRequest

__all__ = ["effort_in"]

_LOW: Final = 4_096
_MEDIUM: Final = 16_384


def effort_in(request: NeutralRequest) -> Effort | None:
    """Return the effort that a request asks for in words, or the one that its budget of tokens comes to."""
    if request.effort is not None or request.budget is None:
        return request.effort
    if request.budget <= _LOW:
        return "low"
    return "medium" if request.budget <= _MEDIUM else "high"
