"""An upstream's answer in one piece, as the records of a caller's dialect that it would have been as a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from everytoken.sse import ServerSentEvent

if TYPE_CHECKING:
    from everytoken.dialects.dialect import Dialect
    from everytoken.translation.api import EventReader, EventWriter

__all__ = ["translated_answer"]

_DONE = "[DONE]"


def translated_answer(
    body: bytes, upstream: Dialect, reader: EventReader, writer: EventWriter
) -> list[bytes]:
    """Return the records of the answer in `body`, which is one of `upstream`'s.

    `reader` reads `upstream`, with `omits_end`: a JSON document that is complete is an end. `writer` writes the caller's
    dialect. Raises `NotAnEventStreamError`, `ErrorEventError` and `UntranslatableError`.
    """
    written: list[ServerSentEvent] = []
    for record in upstream.records_in(body):
        written += writer.write(
            reader.read(ServerSentEvent("message", record.decode("utf-8", "surrogatepass")))
        )
    if not reader.done:
        written += writer.write(reader.read(ServerSentEvent("message", _DONE)))
    return [event.data.encode() for event in written if event.data != _DONE]
