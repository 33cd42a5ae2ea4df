"""What is waited for from one attempt, and for how long."""

from __future__ import annotations

from everytoken.recovery.transitions import TRANSITIONS, Event, State

__all__ = ["Waiting"]

_LISTENING = (State.STREAMING, State.WAITING, State.LINGERING)


class Waiting:
    """Where an attempt stands. All times are seconds of the driver's clock.

    `state`; `deadline`; `gap` (seconds that may pass between two pieces of content); `limit` (of what is waited for now)
    since `mark`; `suspected` (whether it has passed); `replaceable` (whether another attempt could take its place; None: not
    looked at); `steady` (whether it streams, alone and in time, so that content does no more than move the deadline);
    `last_bytes` (when the last came, or None).
    """

    __slots__ = (
        "deadline",
        "gap",
        "last_bytes",
        "limit",
        "mark",
        "replaceable",
        "state",
        "steady",
        "suspected",
    )

    def __init__(self) -> None:
        self.state = State.CONNECTING
        self.deadline = self.gap = self.limit = self.mark = 0.0
        self.steady = self.suspected = False
        self.replaceable: bool | None = None
        self.last_bytes: float | None = None

    def to(self, event: Event) -> None:
        """Change the state."""
        self.state, _ = TRANSITIONS[self.state, event]

    def wait(self, now: float, limit: float) -> None:
        """Begin to wait for something that may take `limit` seconds."""
        self.mark, self.limit, self.deadline = now, limit, now + limit

    def may_think(self, thinking: float) -> bool:
        """Move a deadline that has passed while bytes keep coming, for `thinking` seconds in all; return whether."""
        if self.steady:
            self.mark, self.steady = self.deadline - self.gap, False
        last = self.last_bytes
        if last is None or last <= self.mark:
            return False
        later = min(last + self.limit, self.mark + thinking)
        moved, self.deadline = later > self.deadline, max(later, self.deadline)
        return moved

    @property
    def is_listening(self) -> bool:
        """Whether bytes of a response may come."""
        return self.state in _LISTENING
