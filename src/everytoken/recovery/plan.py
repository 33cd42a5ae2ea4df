"""The next attempt, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everytoken.recovery.policy import Strategy, Target

__all__ = ["Plan"]


@dataclass(slots=True)
class Plan:
    """The next attempt: whom to ask, what, and how long to wait before it (seconds).

    `overlap`: how many delivered characters a prefill leaves out, for the upstream to prove itself by; None where it
    is trusted. `added`: the body carries our own fields. `last_resort`: it does without streaming because that
    keeps breaking. `continues`: the model that has written the delivered text, if this one is another.
    """

    target: Target
    strategy: Strategy
    streamed: bool
    body: dict[str, Any]
    overlap: int | None = None
    wait: float = 0.0
    added: bool = False
    last_resort: bool = False
    continues: str = ""

    @property
    def kind(self) -> str:
        """What is not tried a second time when it has turned out not to be faithful."""
        return "proof" if self.overlap is not None else self.strategy
