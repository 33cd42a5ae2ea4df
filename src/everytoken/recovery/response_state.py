"""What is known of one response while it is being made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from everytoken.dialects.registry import dialect_named
from everytoken.recovery.planner import Planner
from everytoken.recovery.transcript import Transcript
from everytoken.recovery.transitions import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.dialects.dialect import Dialect, Request
    from everytoken.errors import EverytokenError
    from everytoken.recovery.attempt import Attempt
    from everytoken.recovery.breaker import Breaker
    from everytoken.recovery.decisions import Decision
    from everytoken.recovery.live import LiveAttempt
    from everytoken.recovery.plan import Plan
    from everytoken.recovery.policy import LearnedCapabilities, Outcome, Target

__all__ = ["ResponseState"]

_FOREVER = float("inf")


@dataclass(slots=True, weakref_slot=True)
class ResponseState:
    """The request, its attempts, what was delivered, and how it has ended; `Recovery` explains the attributes."""

    request: Request
    targets: Sequence[Target]
    seed: int | None
    jitter: Callable[[], float]
    experience: Callable[[Target], LearnedCapabilities]
    breaker: Breaker
    redact: Callable[[str], str] = str
    hedging: bool = False  # whether the driver can have two attempts at a time
    created: int = 0  # when the response began, in seconds since 1970, for an API that has to tell
    decisions: list[Decision] = field(default_factory=list)  # a few at most, and a deque is 600 bytes
    attempts: list[Attempt] = field(default_factory=list)
    accepted: bool = False
    outcome: Outcome | None = None
    error: EverytokenError | None = None
    usage: dict[str, Any] | None = None
    dialect: Dialect = field(init=False)
    transcript: Transcript = field(init=False)
    _planner: Planner = field(init=False)
    _lives: tuple[LiveAttempt, ...] = ()
    _hedges: int = 0
    _state: State = State.BACKING_OFF  # while no attempt is live
    _due: tuple[float, Plan] | None = None  # when the next attempt is to begin, and which

    def __post_init__(self) -> None:
        """Set up what depends on the arguments."""
        self.dialect = dialect_named(self.request.dialect)
        self.transcript = Transcript(self.dialect)
        self._planner = Planner(
            dialect=self.dialect,
            request=self.request,
            targets=self.targets,
            seed=self.seed,
            breaker=self.breaker,
            experience=self.experience,
            transcript=self.transcript,
            policy=self.targets[0].policy,
        )

    @property
    def records(self) -> int:
        """How many records were delivered."""
        return self.transcript.records

    @property
    def deadline(self) -> float:
        """When to call `tick`."""
        if not self._lives:
            return _FOREVER if self._due is None else self._due[0]
        deadline = self._lives[0].deadline
        if len(self._lives) > 1:
            deadline = min(deadline, self._lives[1].deadline)
        return deadline if self._due is None else min(deadline, self._due[0])
