"""Records as the Durable Streams protocol sends them: one JSON array or plain bytes, and data and control events.

The protocol keeps its cursor beside the data, in a control event after each data event; a reader that is cut off
between the two would read the data again. So data events end in an `id:` line with the same offset, as the last line
before the blank one: a reader that resumes by `Last-Event-ID` has the data and its offset together, or neither.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from everytoken.errors import InvalidRequestError
from everytoken.formats.output import Ending, OutputFormat
from everytoken.json.bounds import MAX_VALUES, has_too_many_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from everytoken.formats.output import Source

    Encoding = Literal["json", "text", "base64"]

__all__ = [
    "KEEP_ALIVE",
    "DurableEvents",
    "body",
    "control_event",
    "data_event",
    "encoding_of",
    "is_json",
    "media_type",
    "split_messages",
    "whole",
]

KEEP_ALIVE: Final = b": keep-alive\n"
"""A comment line without a blank line, so that nobody takes it for an event."""

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_messages = msgspec.json.Decoder(list[msgspec.Raw]).decode
_message = msgspec.json.Decoder(msgspec.Raw).decode
_CHARSETS: Final = {"utf-8", "utf8", "us-ascii"}
_WAITS_FOR: Final = (
    (0xC0, 0xE0, 2),
    (0xE0, 0xF0, 3),
    (0xF0, 0xF8, 4),
)  # first bytes of a character, its length


def is_json(content_type: str) -> bool:
    """Whether records of this type are JSON messages (protocol section 9.1)."""
    return media_type(content_type) == "application/json"


def encoding_of(content_type: str) -> Encoding:
    """Return how records of this type stand in events: only UTF-8 text can be there as it is (section 5.8)."""
    if is_json(content_type):
        return "json"
    if not media_type(content_type).startswith("text/"):
        return "base64"
    _, found, charset = content_type.lower().partition("charset=")
    return "text" if not found or charset.split(";")[0].strip().strip('"') in _CHARSETS else "base64"


def split_messages(body: bytes) -> list[bytes]:
    """Return the messages of a JSON body: the elements if it is an array, each as it was written, or the one value.

    Raises `InvalidRequestError` when it is not JSON (section 9.1), or has too many values to be taken apart.
    """
    if has_too_many_values(body):
        raise InvalidRequestError(f"the body has more than {MAX_VALUES:,} values")
    try:
        body.decode()
        if body.lstrip(b" \t\r\n").startswith(b"["):
            return [bytes(message) for message in _messages(body)]
        return [bytes(_message(body))]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequestError(f"the body cannot be read as JSON: {error}") from error


def body(records: Sequence[bytes], *, json: bool) -> bytes:
    """Return the body of a response with `records`: an array of messages, or the bytes one after the other."""
    return b"[%b]" % b",".join(records) if json else b"".join(records)


def data_event(records: Sequence[bytes], offset: int, encoding: Encoding) -> bytes:
    """Return `records` as one data event; `offset` is the number of records up to and with the last of them.

    An event cannot hold a CR: in text, as in the white space of JSON, it becomes LF, which ends a line just so.
    """
    data = body(records, json=encoding == "json")
    if encoding == "base64":
        data = base64.b64encode(data)
    lines = _LINE_END.split(data)
    # A parser takes one space off the beginning of a line; those who test for `data:{` want none.
    shown = b"\n".join(b"data: " + line if line.startswith(b" ") else b"data:" + line for line in lines)
    return b"event: data\n%b\nid: %016d\n\n" % (shown, offset)


def control_event(offset: int, cursor: int, *, up_to_date: bool, closed: bool) -> bytes:
    """Return a control event: where to continue, whether that is the tail, and whether the stream has ended there."""
    rest = b',"streamClosed":true' if closed else b',"streamCursor":"%d"' % cursor
    if up_to_date:
        rest += b',"upToDate":true'
    return b'event: control\ndata:{"streamNextOffset":"%016d"%b}\nid: %016d\n\n' % (offset, rest, offset)


class DurableEvents(OutputFormat):
    """Records as pairs of a data and a control event, each pair in one piece.

    `offset`: where the reader begins. `cursor` returns the cursor of a control event sent now. Text is never cut inside
    a character: a record that ends in half of one is held back until the rest has come, or nothing follows.
    """

    keep_alive = KEEP_ALIVE

    def __init__(self, source: Source, offset: int, encoding: Encoding, cursor: Callable[[], int]) -> None:
        self._source = source
        self._offset = offset  # after the last record sent
        self._encoding = encoding
        self._cursor = cursor
        self._held: list[bytes] = []
        self._ended = False  # whether the reader has been told

    def begin(self) -> bytes:
        """Return a control event: the reader learns where it is."""
        return self._control()

    def push(self, records: Sequence[bytes], offset: int) -> bytes:
        """Return the events for some records."""
        source = self._source
        if self._encoding == "text":
            records = [*self._held, *records]
            count = whole(records)
            if source.closed and self._offset + len(records) == source.tail:
                count = len(records)
            records, self._held = records[:count], records[count:]
            if not records:
                return b""
            offset = self._offset
        self._offset = offset + len(records)
        return data_event(records, self._offset, self._encoding) + self._control()

    def end(self, result: Mapping[str, Any]) -> Ending:  # noqa: ARG002  # the protocol knows no outcomes
        """Return what is left, and that the stream has ended."""
        if self._ended:
            return Ending()
        held, self._held = self._held, []
        self._offset += len(held)
        data = data_event(held, self._offset, self._encoding) if held else b""
        return Ending([data + self._control()])

    def _control(self) -> bytes:
        at_tail = self._offset == self._source.tail
        self._ended = at_tail and self._source.closed
        return control_event(self._offset, self._cursor(), up_to_date=at_tail, closed=self._ended)


def whole(records: Sequence[bytes]) -> int:
    """Return how many of `records`, which are text, can be sent without cutting a character in two.

    0 when the last one ends inside a character that began in the first: the rest of it has to be waited for.
    """
    for count in range(len(records), 0, -1):
        if not _is_cut(b"".join([record[-3:] for record in records[max(0, count - 3) : count]])):
            return count
    return 0


def _is_cut(end: bytes) -> bool:
    for back, byte in enumerate(reversed(end[-3:]), 1):
        if 0x80 <= byte < 0xC0:
            continue  # it belongs to a character that began further ahead
        return any(low <= byte < high and back < length for low, high, length in _WAITS_FOR)
    return False


def media_type(content_type: str) -> str:
    """Return a content type without its parameters, in lower case: what two types are compared by."""
    return content_type.partition(";")[0].strip().lower()
