"""What an API needs in order to be translated: four functions, each in a module of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from everytoken.sse import ServerSentEvent
    from everytoken.translation.events import NeutralEvent
    from everytoken.translation.request import NeutralRequest

__all__ = ["EventReader", "EventWriter", "TranslatedApi"]


class EventReader(Protocol):
    """Reads the stream of one attempt, by the rules of its dialect's own decoder.

    `terminal`: it has said that it is complete, though more may follow. `done`: nothing more is to be read.
    """

    @property
    def terminal(self) -> bool:
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


class TranslatedApi(Protocol):
    """An API that can be translated, from and to."""

    name: str
    """Its dialect's."""

    def read_request(self, body: Mapping[str, Any]) -> NeutralRequest:
        """Return a caller's request. Raises `InvalidRequestError`, whose `param` names the field."""

    def write_request(self, request: NeutralRequest) -> dict[str, Any]:
        """Return the body of a request. Raises `InvalidRequestError`, whose `param` names the caller's field."""

    def reader(self, *, omits_end: bool = False) -> EventReader:
        """Return a reader of an upstream's stream. `omits_end`: see `everytoken.dialects.dialect.Dialect.decoder`."""

    def writer(self, request: Mapping[str, Any], *, created: int = 0) -> EventWriter:
        """Return a writer for a caller whose request was `request`.

        `created`: when the response began, in seconds since 1970, for an upstream that does not say.
        """
