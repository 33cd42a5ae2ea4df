"""What an API needs in order to be translated: four functions, each in a module of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from everytoken.sse import ServerSentEvent
    from everytoken.translation.events import NeutralEvent
    from everytoken.translation.request import NeutralRequest

__all__ = ["EventReader", "EventWriter", "TranslatedApi"]


class EventReader(Protocol):
    """Reads the stream of one attempt, by the rules of its dialect's own decoder.

    `terminal`: it has said that it is complete, though more may follow. `over`: it is complete, so that nothing that goes
    wrong now makes it less so. `done`: nothing more is to be read.
    """

    @property
    def terminal(self) -> bool:
        """See above."""

    @property
    def over(self) -> bool:
        """See above."""

    @property
    def done(self) -> bool:
        """See above."""

    def read(self, event: ServerSentEvent) -> Sequence[NeutralEvent]:
        """Return what an event brings. `Ended` is returned once, when `done`. Raises what the decoder raises."""

    def receive_eof(self) -> Sequence[NeutralEvent]:
        """Record that the bytes have ended; return what is still to be told. Raises `TruncatedError`."""


class EventWriter(Protocol):
    """Writes the stream of one attempt as a server of its API would."""

    def write(self, events: Sequence[NeutralEvent]) -> list[ServerSentEvent]:
        """Return the events of the API. Raises `UntranslatableError` for what it cannot say."""


@dataclass(frozen=True, slots=True)
class TranslatedApi:
    """An API that can be translated, from and to.

    `name`: its dialect's. `read_request` returns a caller's request, `write_request` the body of one; both raise
    `InvalidRequestError`, whose `param` names the caller's field. `reader(omits_end=…)` returns a reader of the stream of one
    attempt; `omits_end` as for a dialect's decoder. `writer(request, created=…)` returns a writer for a caller whose request
    was `request`; `created`: when the response began, in seconds since 1970, for an upstream that does not say.
    """

    name: str
    read_request: Callable[[Mapping[str, Any]], NeutralRequest]
    write_request: Callable[[NeutralRequest], dict[str, Any]]
    reader: Callable[..., EventReader]
    writer: Callable[..., EventWriter]
