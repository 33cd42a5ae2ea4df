"""What comes back, in events that belong to no API: every API's stream is read into them and written from them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = [
    "CLOSED",
    "Arguments",
    "Began",
    "CallBegan",
    "CallEnded",
    "Citation",
    "Closed",
    "Ended",
    "NeutralEvent",
    "Other",
    "Reason",
    "Reasoned",
    "Refused",
    "Sealed",
    "Usage",
    "Wrote",
]

Reason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "pause", "stop_sequence"]


class Began(msgspec.Struct, gc=False):
    """The response has begun. `created`: seconds since 1970, 0 where the upstream does not say."""

    id: str
    model: str
    created: int = 0


class Wrote(msgspec.Struct, gc=False):
    """More of the text. Text behind something else is new text where an API tells them apart."""

    text: str


class Closed(msgspec.Struct, gc=False):
    """The text, or the reasoning, is finished: what follows is another. Chat does not say so."""


class Reasoned(msgspec.Struct, gc=False):
    """More of the reasoning, or with `summary` of a summary of it."""

    text: str
    summary: bool = False


class Sealed(msgspec.Struct, gc=False):
    """The reasoning so far is signed by its provider, who alone can read that. It comes before its `Closed`."""

    signature: str


class Refused(msgspec.Struct, gc=False):
    """More of a refusal."""

    text: str


class CallBegan(msgspec.Struct, gc=False):
    """A tool call has begun. `index`: which of the calls of this response, from 0."""

    index: int
    id: str
    name: str
    custom: bool = False


class Arguments(msgspec.Struct, gc=False):
    """More of the arguments of a call: JSON text as the model writes it, or plain text of a custom tool."""

    index: int
    text: str


class CallEnded(msgspec.Struct, gc=False):
    """The arguments of a call are complete. Told of every call but one that a limit of tokens has cut."""

    index: int


class Citation(msgspec.Struct, gc=False):
    """A source of the text: from character `start` to `end` of what was written since the last `Closed`, if that is told."""

    url: str
    title: str = ""
    start: int | None = None
    end: int | None = None


class Other(msgspec.Struct):
    """What this form has no event for: a field of the upstream's API, such as `audio`, and its value. No API can say it."""

    field: str
    value: Any


class Usage(msgspec.Struct):
    """Tokens. `cached`, `written` (to a cache) are parts of `prompt`; `reasoning` is a part of `answer`. None: not said."""

    prompt: int | None = None
    answer: int | None = None
    cached: int | None = None
    written: int | None = None
    reasoning: int | None = None


class Ended(msgspec.Struct):
    """The response is complete, by the upstream's own end. `sequence`: the stop sequence that ended it.

    A `stop` may have a sequence too: servers of chat tell what a `stop` stopped at, which may also be a mark of the model.
    """

    reason: Reason
    usage: Usage | None = None
    sequence: str | None = None


NeutralEvent = (
    Began
    | Wrote
    | Closed
    | Reasoned
    | Sealed
    | Refused
    | CallBegan
    | Arguments
    | CallEnded
    | Citation
    | Other
    | Ended
)

CLOSED = Closed()
