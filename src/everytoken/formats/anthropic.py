"""Records as an Anthropic event stream: each event is named after the `type` in its data, and nothing follows the last.

`event:`, then `data:` with the record as it came, then `id:` with the offset behind it. The id stands last, because a
client may commit it as soon as it has read the line, and must not lose the data then. Anthropic's SDKs skip an event
without a name, and pay no attention to ids and comments.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from everytoken.formats.output import Ending, OutputFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["KEEP_ALIVE", "AnthropicEvents", "encode", "encode_without_ids"]

KEEP_ALIVE: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
"""A sign of life as Anthropic's API gives it; its SDKs' time-outs count events, not comments."""

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_LF: Final = 10
_CR: Final = 13

_EVENT: Final = b"event: %b\ndata: %b\nid: %016d\n\n"
_EVENT_WITHOUT_ID: Final = b"event: %b\ndata: %b\n\n"
_DELTA: Final = b"content_block_delta"
_DELTAS: Final = (b'{"type":"content_block_delta"', b'{"type": "content_block_delta"')
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class _Typed(msgspec.Struct):
    type: Any = None


_decode = msgspec.json.Decoder(_Typed).decode


def encode(records: Sequence[bytes], offset: int) -> bytes:
    """Return `records` as events; `offset` is the number of records before the first of them.

    A record with line ends in it becomes several `data:` lines, which a decoder joins with LF again.
    """
    if len(records) == 1:
        record = records[0]
        if record.startswith(_DELTAS) and not (_LF in record or _CR in record):
            return _EVENT % (_DELTA, record, offset + 1)
    return b"".join(
        [
            _EVENT % (_name(record), _lines(record), number)
            for number, record in enumerate(records, offset + 1)
        ]
    )


def encode_without_ids(records: Sequence[bytes], offset: int) -> bytes:  # noqa: ARG001  # it is nowhere shown
    """Return `records` as events without `id:` lines, as Anthropic's own are."""
    return b"".join([_EVENT_WITHOUT_ID % (_name(record), _lines(record)) for record in records])


class AnthropicEvents(OutputFormat):
    """Records as named events.

    The records of a response that completed end in `message_stop`, those of any other in an `error`, so nothing has to be
    added. `greets`: send a ping as the first event when there is nothing to send yet: proxies hold the head back until
    there is a byte. `ids`: whether events have an `id:` line.
    """

    keep_alive = KEEP_ALIVE

    def __init__(self, *, greets: bool = True, ids: bool = True) -> None:
        self._greets = greets
        if not ids:
            self.push = encode_without_ids  # decided once, not for each record

    def begin(self) -> bytes:
        """Return the greeting."""
        return KEEP_ALIVE if self._greets else b""

    push = staticmethod(encode)

    def end(self, result: Mapping[str, Any]) -> Ending:  # noqa: ARG002  # the last record tells it
        """Return nothing: the last record has told how it ended."""
        return Ending()


def _name(record: bytes) -> bytes:
    """Return the `type` of a record, as far as it can be the name of an event."""
    if record.startswith(_DELTAS):
        return _DELTA
    try:
        kind = _decode(record).type
    except (msgspec.DecodeError, RecursionError):
        return b"message"
    return kind.encode() if isinstance(kind, str) and _NAME.fullmatch(kind) else b"message"


def _lines(record: bytes) -> bytes:
    return b"\ndata: ".join(_LINE_END.split(record)) if _LF in record or _CR in record else record
