"""An upstream's bytes as the events of the caller's API, in place of `everytoken.sse.SSEDecoder`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.errors import EventTooLargeError, EverytokenError
from everytoken.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everytoken.sse import ServerSentEvent
    from everytoken.translation.api import EventReader, EventWriter

__all__ = ["StreamBrokenError", "TranslatedStream"]


class StreamBrokenError(Exception):
    """A stream cannot be read any further. `events` are those before, `cause` says why."""

    def __init__(self, events: list[ServerSentEvent], cause: EverytokenError) -> None:
        super().__init__(cause.message)
        self.events = events
        self.cause = cause


class TranslatedStream:
    """The stream of one attempt."""

    __slots__ = ("_reader", "_sse", "_writer")

    def __init__(self, reader: EventReader, writer: EventWriter) -> None:
        self._sse = SSEDecoder()
        self._reader = reader
        self._writer = writer

    @property
    def terminal(self) -> bool:
        """Whether the upstream has said that the response is complete, though more may follow."""
        return self._reader.terminal

    @property
    def over(self) -> bool:
        """Whether it is complete, so that nothing that goes wrong now makes it less so."""
        return self._reader.over

    def receive_data(self, data: bytes) -> list[ServerSentEvent]:
        """Return the events that the bytes of the next read bring. Raises `StreamBrokenError`."""
        cause: EverytokenError | None = None
        events: Sequence[ServerSentEvent]
        try:
            events = self._sse.receive_data(data)
        except EventTooLargeError as error:
            events, cause = error.events, error
        reader, writer = self._reader, self._writer
        translated: list[ServerSentEvent] = []
        try:
            for event in events:
                if reader.done:
                    break
                found = reader.read(event)
                if found:
                    translated += writer.write(found)
        except EverytokenError as error:
            raise StreamBrokenError(translated, error) from error
        if cause is not None:
            raise StreamBrokenError(translated, cause)
        return translated

    def receive_eof(self) -> list[ServerSentEvent]:
        """Return the events that the end of the bytes brings. Raises `TruncatedError` when that is not a true end."""
        if self._reader.done:
            return []
        return self._writer.write(self._reader.receive_eof())
