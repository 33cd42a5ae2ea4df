"""The states of a response, and what leads from one to another: the whole table.

`docs/architecture.md` shows it as a diagram, made from here by `tools/transitions_docs.py`.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["TRANSITIONS", "Event", "State"]


class State(enum.Enum):
    """Where the response stands. Every state but ENDED has a deadline."""

    __hash__ = object.__hash__  # enum's own is a call in Python, for each look into the table

    BACKING_OFF = "backing-off"
    """Nothing is being asked: the next attempt begins at the deadline."""

    CONNECTING = "connecting"
    """The request is not on its way yet."""

    WAITING = "waiting"
    """It is, and nothing of the response has come from this attempt."""

    STREAMING = "streaming"
    """There is content, and more is expected."""

    LINGERING = "lingering"
    """Readers have the whole response; usage and the end mark may follow."""

    ENDED = "ended"
    """There is an outcome, and nothing follows."""


class Event(enum.Enum):
    """What makes a response change its state."""

    __hash__ = object.__hash__

    BEGIN = "begin"
    """An attempt is due."""

    CONNECTED = "connected"
    CONTENT = "content"
    FINISH = "finish"
    """The response has ended by what the upstream says, and the stream has not."""

    COMPLETE = "complete"
    """A true end has come, and everything delivered before has come again."""

    FAULT = "fault"
    """The attempt has failed, and another one may follow later."""

    RETRY = "retry"
    """The same, and the other one begins at once."""

    GIVE_UP = "give up"
    """Nothing is left to try, it cannot be continued, or it was stopped."""


_S, _E = State, Event
_ATTEMPT = (_S.CONNECTING, _S.WAITING, _S.STREAMING, _S.LINGERING)

TRANSITIONS: Final[dict[tuple[State, Event], tuple[State, tuple[str, ...]]]] = {
    (_S.BACKING_OFF, _E.BEGIN): (_S.CONNECTING, ("Connect",)),
    (_S.BACKING_OFF, _E.GIVE_UP): (_S.ENDED, ("End",)),
    # What was taken over lacked nothing but its end.
    (_S.BACKING_OFF, _E.COMPLETE): (_S.ENDED, ("End",)),
    (_S.CONNECTING, _E.CONNECTED): (_S.WAITING, ()),
    (_S.WAITING, _E.CONTENT): (_S.STREAMING, ()),
    (_S.LINGERING, _E.CONTENT): (_S.STREAMING, ()),
    (_S.WAITING, _E.FINISH): (_S.LINGERING, ()),
    (_S.STREAMING, _E.FINISH): (_S.LINGERING, ()),
    **{(state, _E.COMPLETE): (_S.ENDED, ("Disconnect", "End")) for state in _ATTEMPT[1:]},
    # From LINGERING only where more has come behind a finish reason. Otherwise the response is whole, and nothing that goes
    # wrong then makes it less so.
    **{(state, _E.FAULT): (_S.BACKING_OFF, ("Disconnect",)) for state in _ATTEMPT},
    **{(state, _E.RETRY): (_S.CONNECTING, ("Disconnect", "Connect")) for state in _ATTEMPT},
    **{(state, _E.GIVE_UP): (_S.ENDED, ("Disconnect", "End")) for state in _ATTEMPT},
}
"""State and event to the next state, and the decisions that the driver is handed. What is not here does not happen."""
