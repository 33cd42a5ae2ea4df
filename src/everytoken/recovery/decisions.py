"""What recovery decides, as values for its driver."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everytoken.errors import EverytokenError
    from everytoken.recovery.policy import Outcome, Target

__all__ = ["Connect", "Decision", "Disconnect", "End", "Rearm"]


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a connection to `target` and send it `body`; `streamed` says which kind of response it asks for.

    `attempt` is the number by which what comes over the connection is reported.
    """

    target: Target
    body: dict[str, Any]
    streamed: bool
    attempt: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Let go of the connection of `attempt`; it may be used again only if `reusable`."""

    reusable: bool
    attempt: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Rearm:
    """The deadline has come nearer: a timer for the old one would fire too late."""


@dataclass(frozen=True, slots=True)
class End:
    """The response has ended. `error` is None exactly when `outcome` is `completed`."""

    outcome: Outcome
    error: EverytokenError | None


Decision = Connect | Disconnect | Rearm | End
