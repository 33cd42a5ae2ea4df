"""What a fault is: a healthy response in, the steps of another one out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.testing.address import Address
    from everytoken.testing.answer import Answer
    from everytoken.testing.plan import Plan, Position
    from everytoken.testing.steps import Step

__all__ = ["ALL_POSITIONS", "POSITIONS", "Build", "Fault", "Kind", "fault"]

Build: TypeAlias = "Callable[[Plan, Position], Sequence[Step]]"

START = ("start",)
POSITIONS = ("start", "one", "middle", "last")
"""Before the first content, after one chunk, in the middle, one chunk before the end."""

ALL_POSITIONS = (*POSITIONS, "end")
"""The same, and after all content but before the finish reason."""


class Kind(StrEnum):
    """What a client must do about the fault."""

    BROKEN = "broken"
    """The answer is incomplete: recover it, or raise an explicit error."""
    REFUSED = "refused"
    """The upstream refuses: raise its error, do not try again."""
    HEALTHY = "healthy"
    """Odd, but the answer is complete: pass it on exactly."""


def _whole(plan: Plan, _position: Position) -> Sequence[Step]:
    return plan.whole()


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    `positions` are those at which the fault makes sense; `("start",)` means the whole response. A fault
    that is `streamed_only` leaves a request without `stream` alone. A fault with an `address` breaks the base URL
    instead of a response, and `rewrite` changes the answer before it is rendered.
    """

    name: str
    kind: Kind
    description: str
    build: Build = _whole
    positions: tuple[str, ...] = START
    streamed_only: bool = False
    address: Address | None = None
    rewrite: Callable[[Answer, Position], Answer] | None = None

    def applies(self, *, streamed: bool) -> bool:
        """Whether the fault changes a response of this form."""
        return self.address is None and (streamed or not self.streamed_only)


def fault(
    kind: Kind, positions: tuple[str, ...] = START, *, streamed_only: bool = False
) -> Callable[[Build], Fault]:
    """Make a fault of a function: its name, with dashes, is the fault's name, its docstring the description."""

    def decorate(build: Build) -> Fault:
        name = getattr(build, "__name__", "").replace("_", "-")
        return Fault(name, kind, build.__doc__ or "", build, positions, streamed_only=streamed_only)

    return decorate
