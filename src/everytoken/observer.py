"""What happens, as values, for metrics, traces and other logs.

An observer is anything that can be called with an event. It is called in the event loop and must return at once. There
are no events for single chunks. `at` is in seconds since 1970, every other time in seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AttemptAccepted",
    "AttemptBegun",
    "AttemptEnded",
    "AttemptHeaders",
    "CircuitClosed",
    "CircuitOpened",
    "Commit",
    "Event",
    "FirstContent",
    "Observer",
    "Observers",
    "PassedOn",
    "ReaderCame",
    "ReaderResumed",
    "ReaderWent",
    "Refused",
    "ResponseBegun",
    "ResponseEnded",
    "ResponseHandedOver",
    "Seam",
]

logger = logging.getLogger("everytoken.observer")


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=True):
    """What all events have: when it happened."""

    at: float


class ResponseBegun(Event, frozen=True, kw_only=True):
    """This process begins to write a response: a new one, or one behind the `offset` at which it was taken over.

    `response` is its stream id, `request_id` that of the request it answers, `owner` the id of the caller's key. `streamed`:
    whether the caller asked for a stream. `traceparent`, `tracestate`: the caller's trace (W3C Trace Context), "" without one
    or where `pass_up` leaves it out.
    """

    response: str
    request_id: str
    owner: str
    dialect: str
    model: str
    offset: int | None = None
    streamed: bool = True
    traceparent: str = ""
    tracestate: str = ""


class AttemptBegun(Event, frozen=True, kw_only=True):
    """An upstream is asked, for the first time or again behind `offset`."""

    response: str
    attempt: int
    upstream: str
    strategy: str
    streamed: bool
    offset: int


class AttemptAccepted(Event, frozen=True, kw_only=True):
    """The upstream has answered with success, `seconds` after it was asked."""

    response: str
    attempt: int
    seconds: float


class FirstContent(Event, frozen=True, kw_only=True):
    """The first new content of an attempt is stored and can be read, `seconds` after its upstream was asked.

    Repetitions by another attempt are not new.
    """

    response: str
    attempt: int
    seconds: float


class Seam(Event, frozen=True, kw_only=True):
    """Another attempt continues the response from `offset` on. Sent with its `FirstContent`.

    `seconds`: since the attempt before it ended. Where that one was only suspected, and this one begun beside it: since this
    one began.
    """

    response: str
    attempt: int
    upstream: str
    strategy: str
    offset: int
    seconds: float = 0.0


class AttemptEnded(Event, frozen=True, kw_only=True):
    """An attempt is over. `cause` and `message` are the error's code and text, None if it did not fail.

    `usage` is what the upstream has reported, `seconds` how long the attempt took.
    """

    response: str
    attempt: int
    upstream: str
    strategy: str
    cause: str | None
    message: str | None
    usage: dict[str, Any] | None
    seconds: float


class Commit(Event, frozen=True, kw_only=True):
    """The journal has stored `bytes` of records for so many `streams` at once, in `seconds`; then readers have been told.

    `journal` is the name of its class. A journal in memory has no commits.
    """

    journal: str
    streams: int
    bytes: int
    seconds: float


class CircuitOpened(Event, frozen=True, kw_only=True):
    """An upstream has failed too often for a model, and is set aside for `seconds`; then one request tries it.

    Told once, however often it fails before it answers again.
    """

    upstream: str
    model: str
    seconds: float


class CircuitClosed(Event, frozen=True, kw_only=True):
    """An upstream that was set aside for a model answers again."""

    upstream: str
    model: str


class ReaderCame(Event, frozen=True, kw_only=True):
    """A response that this process writes has a reader more, which makes `readers`."""

    response: str
    readers: int


class ReaderWent(Event, frozen=True, kw_only=True):
    """A response that this process writes has a reader less, which leaves `readers`."""

    response: str
    readers: int


class ReaderResumed(Event, frozen=True, kw_only=True):
    """A reader has come back to a response, of any process, and resumes behind `offset`.

    One that polls comes back with every request, and is not told of. `offset` is 0 where a format is made anew each time.
    """

    response: str
    offset: int


class Refused(Event, frozen=True, kw_only=True):
    """A request was answered with an error that is not the end of a response. `code` is that of `everytoken.errors.TABLE`.

    What is refused before it is a request, such as a connection too many, is not told of.
    """

    request_id: str
    code: str
    status: int
    path: str


class PassedOn(Event, frozen=True, kw_only=True):
    """An upstream was asked for something that the gateway only passes on, such as embeddings; there is no response.

    `api` is `embeddings`, `completions`, `rerank`, `moderations`, `images`, `audio` or `other`. `outcome` is `completed`,
    `cancelled` (the caller has left) or `failed`; `error` is the code of what failed, if it has one. `status` is what the caller was sent, 0
    if nothing was. `up`, `down`: bytes of both bodies. `seconds`: since the upstream was asked.
    """

    request_id: str
    upstream: str
    model: str
    api: str
    outcome: str
    error: str | None
    status: int
    up: int
    down: int
    seconds: float


class ResponseHandedOver(Event, frozen=True, kw_only=True):
    """This process writes the response no more; it has not ended, another process continues it."""

    response: str
    seconds: float


class ResponseEnded(Event, frozen=True, kw_only=True):
    """A response has ended, `seconds` after this process began to write it.

    `error` and `message` are the error's code and text, None if it is completed. `usage` is that of all attempts together.
    `first_content`: seconds until there was something new to read, None if there never was. `received`: bytes that upstreams
    have sent. `readers`: how many have come. `gap_median`, `gap_longest`: seconds between two reads that brought something
    new, None with fewer than two. `told`: the attempts as the response's metadata has them.
    """

    response: str
    dialect: str
    outcome: str
    error: str | None
    message: str | None
    usage: dict[str, Any] | None
    attempts: int
    records: int
    seconds: float
    first_content: float | None
    received: int = 0
    readers: int = 0
    gap_median: float | None = None
    gap_longest: float | None = None
    told: list[dict[str, Any]] = []


Observer = Callable[[Event], object]
"""Is called with each event.

One that has an attribute `wants_commits` which is false does not make the journal measure its commits. One that has
`handlers`, a mapping from kinds of events to what is called with them, is told of these kinds only, in that way.
"""


AttemptHeaders = Callable[[str, int, Mapping[str, str] | None], dict[str, str]]
"""From a response, the number of its attempt and the headers that are to be sent, to those that are sent."""


class Observers:
    """Several observers as one. False while there is none.

    `attempt_headers` is called when they have been told of an attempt: a tracer has it continue its trace.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        self._observers = tuple(observers)
        self._handlers: dict[type[Event], tuple[Observer, ...]] = {}
        self.attempt_headers: AttemptHeaders | None = None

    def __bool__(self) -> bool:
        return bool(self._observers)

    @property
    def want_commits(self) -> bool:
        """Whether one of them is to be told of commits, which costs something with each."""
        return any(getattr(observer, "wants_commits", True) for observer in self._observers)

    def add(self, observer: Observer) -> None:
        """Have `observer` told as well: of responses that begin from here on, of commits if the gateway starts later."""
        self._observers = (*self._observers, observer)
        self._handlers = {}

    def of(self, kind: type[Event]) -> tuple[Observer, ...]:
        """Return what is to be called with events of a kind: where that is nothing, none has to be made."""
        found = self._handlers.get(kind)
        if found is None:
            each = (_handler(observer, kind) for observer in self._observers)
            found = self._handlers[kind] = tuple(handler for handler in each if handler is not None)
        return found

    def tell(self, event: Event) -> None:
        """Tell every observer. One that fails is logged, and the others are told."""
        for handle in self.of(type(event)):
            try:
                handle(event)
            except Exception:
                logger.exception("an observer failed at %s", type(event).__name__)


def _handler(observer: Observer, kind: type[Event]) -> Observer | None:
    handlers: Mapping[type[Event], Observer] | None = getattr(observer, "handlers", None)
    return observer if handlers is None else handlers.get(kind)
