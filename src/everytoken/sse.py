"""Server-Sent Events: bytes in, events out, and an event as bytes.

`SSEDecoder` follows section 9.2.6 of the WHATWG HTML standard ("Interpreting an event stream") to the letter, for
any split of the bytes into reads. An event is out with its last byte, the cost is linear in the bytes received, and
what is kept between two reads is limited. Nothing here touches a socket or a clock.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

import msgspec

from everytoken.errors import EventTooLargeError, LocalProtocolError

__all__ = ["MAX_BYTES", "MAX_RETRY", "SSEDecoder", "ServerSentEvent", "encode"]

MAX_BYTES: Final = 16 * 1024 * 1024
"""Default limit of a line and of an event's data: far above any chunk (inline images are the largest), far below
what hurts when a peer never ends a line."""

MAX_RETRY: Final = 2**53 - 1
"""Longest reconnection time, in milliseconds; more digits mean this. It is exact in JavaScript too."""

_LARGE: Final = 4096  # bytes of a read from which on runs of blank lines are looked for
_BLANK: Final = re.compile(rb"\n{3,}")
_MANY: Final = 256  # lines in one read: no answer, but a flood of comments

_BOM: Final = b"\xef\xbb\xbf"


class ServerSentEvent(msgspec.Struct, frozen=True, gc=False):
    """One event, immutable.

    `event`: its type, "message" when none was given. `data`: its lines joined with LF. `id`: the last event ID in
    force when it was dispatched, "" if there is none. `retry`: the reconnection time in force then, in milliseconds,
    or None if the stream has named none.
    """

    # A Struct without cycle collection (it holds only strings and an integer) is made in a third of the time of
    # a named tuple and a tenth of that of a frozen dataclass.
    event: str = "message"
    data: str = ""
    id: str = ""
    retry: int | None = None


class SSEDecoder:
    """Turn the bytes of one event stream into its events.

    `last_event_id` and `retry` are what a reconnecting client needs: the last event ID string, which changes only
    when a block ends (so that an id never gets ahead of its data), and the reconnection time in milliseconds or None,
    which changes with its line.

    A decoder serves one stream. A line of more than `max_line_bytes`, or an event with more than `max_event_bytes`
    of data, fails it for good.
    """

    # fmt: off
    __slots__ = (
        "_closed", "_data", "_event", "_failure", "_fresh", "_head", "_id",
        "_line", "_max_common_bytes", "_max_event_bytes", "_max_line_bytes", "_name", "_skip_lf", "_special",
        "_start", "last_event_id", "retry",
    )
    # fmt: on

    def __init__(self, *, max_line_bytes: int = MAX_BYTES, max_event_bytes: int = MAX_BYTES) -> None:
        self.last_event_id = self._id = ""
        self.retry: int | None = None
        self._max_line_bytes = max_line_bytes
        self._max_event_bytes = max_event_bytes
        # Blocks that are together no longer than this cannot break either limit.
        self._max_common_bytes = min(max_line_bytes, max_event_bytes)
        # The standard's three buffers; `data` and the unfinished line are bytearrays, which grow in amortised
        # constant time per byte and cost no object per piece.
        self._data = bytearray()
        self._event = b""
        self._line = bytearray()
        # True between two blocks: the three buffers are as a block finds them (a line may have begun).
        self._fresh = True
        # How a block begins whose event has the name of the last that was read whole, and that name.
        self._head = b""
        self._name = ""
        # The first bytes as long as they may become a BOM; None behind them.
        self._start: bytes | None = b""
        # The last read ended in CR, which has counted as a line end; an LF that comes now belongs to it.
        self._skip_lf = False
        self._failure: str | None = None
        self._closed = False
        # True while any of the four before asks for attention: one look per read instead of four.
        self._special = True

    def receive_data(self, data: bytes) -> list[ServerSentEvent]:
        """Return the events that `data`, the bytes of the next read, made complete.

        Raises `EventTooLargeError` when a line or an event goes over its limit (its `events` holds what this read
        had completed before), and again at every later call. Raises `LocalProtocolError` after `receive_eof`.
        """
        if self._special:
            data = self._prepare(data)
        # On this hot path operators stand where methods would read better: they cost a third of the call.
        if 13 in data:
            # From here on every line end is one LF. A CR at the end of the read ends its line at once.
            self._special = self._skip_lf = data[-1] == 13
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        elif (
            # Nearly every read of a model that is writing: one event, whole, and nothing but its data.
            data[:6] == b"data: "
            and data.find(b"\n") == len(data) - 2
            and data[-1] == 10
            and self._fresh
            and not self._line
            and len(data) <= self._max_common_bytes
        ):
            value = data[6:-2].decode("utf-8", "replace")
            return [ServerSentEvent("message", value, self.last_event_id, self.retry)]
        elif (
            # Messages and Responses name their events.
            data[:7] == b"event: "
            and data[-2:] == b"\n\n"
            and self._fresh
            and not self._line
            and len(data) <= self._max_common_bytes
        ):
            head = self._head  # of a model that is writing: the name of the event before
            size = len(head)
            if head and data[:size] == head and data.find(b"\n", size) == len(data) - 2:
                value = data[size:-2].decode("utf-8", "replace")
                return [ServerSentEvent(self._name, value, self.last_event_id, self.retry)]
            if named := _named_blocks(data, self.last_event_id, self.retry):
                self._name = named[-1].event
                self._head = b"event: %b\ndata: " % self._name.encode()
                return named
        events: list[ServerSentEvent] = []
        if not self._fresh:
            # Finish the open block line by line, to be quick behind it.
            end = data.find(b"\n\n") + 2
            if end == 1:
                self._lines(data, events)
                return events
            self._lines(data[:end], events)
            data = data[end:]
        rest = b""
        if data[-2:] != b"\n\n":
            end = data.rfind(b"\n\n") + 2
            if end == 1:
                self._lines(data, events)
                return events
            data, rest = data[:end], data[end:]
        if self._line:
            # Its block ends in this read, so no byte is moved here twice.
            data = bytes(self._line) + data
            self._line.clear()
        if not self._common_blocks(data, events):
            self._lines(data, events)
        if rest:
            self._lines(rest, events)
        return events

    def receive_eof(self) -> list[ServerSentEvent]:
        """Return the events that the end of the stream made complete: none, for an unfinished event is discarded.

        Raises `EventTooLargeError` if the decoder has failed before.
        """
        if self._failure:
            raise EventTooLargeError(self._failure)
        self._closed = self._special = True
        self._forget()
        return []

    def _prepare(self, data: bytes) -> bytes:
        """Do what is needed at the start of the stream, behind a CR, and after the end; return the bytes to read."""
        if self._failure:
            raise EventTooLargeError(self._failure)
        if self._closed:
            raise LocalProtocolError("This event stream has ended: a decoder serves one stream.")
        if self._start is not None:
            data = self._start + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._start = data
                return b""
            self._start = None
            data = data.removeprefix(_BOM)
        elif self._skip_lf and data:
            self._skip_lf = False
            data = data.removeprefix(b"\n")
        self._special = self._skip_lf
        return data

    def _common_blocks(self, data: bytes, events: list[ServerSentEvent]) -> bool:
        """Read `data`, whole blocks from the first byte to the last, if all have the shape nearly all streams have.

        That is a `data: ` line with, in all blocks or in none, an `id: ` line behind it. Returns False, and has done
        nothing, if there is anything else.
        """
        if len(data) > self._max_common_bytes:
            return False
        if data[:6] != b"data: ":
            named = _named_blocks(data, self.last_event_id, self.retry) if data[:7] == b"event: " else []
            events += named
            return bool(named)
        # Decoding it all gives what decoding each line gives: an invalid sequence ends before a line end.
        text = data[6:-2].decode("utf-8", "replace")
        retry = self.retry
        if "\n" not in text:
            events.append(ServerSentEvent("message", text, self.last_event_id, retry))
            return True
        # The separator takes the next block's field name along, so that each part is the data already.
        parts = text.split("\n\ndata: ")
        if "\n" not in parts[0]:
            last_id = self.last_event_id
            found = [ServerSentEvent("message", part, last_id, retry) for part in parts if "\n" not in part]
            if len(found) < len(parts):
                return False
        else:
            if "\0" in text:
                return False
            found = []
            for part in parts:
                value, separator, last_id = part.partition("\nid: ")
                if not separator or "\n" in value or "\n" in last_id:
                    return False
                found.append(ServerSentEvent("message", value, last_id, retry))
            self.last_event_id = self._id = last_id
        events += found
        return True

    def _lines(self, data: bytes, events: list[ServerSentEvent]) -> None:
        """Read `data` line by line, add what it completes to `events`, and keep the unfinished line."""
        if len(data) > _LARGE and b"\n\n\n" in data:
            data = _BLANK.sub(b"\n\n", data)  # a blank line behind a blank line changes nothing
        lines = data.split(b"\n")
        rest = lines.pop()
        if self._line and lines:
            self._line += lines[0]
            lines[0] = bytes(self._line)
            self._line.clear()
        if len(lines) > _MANY and len(data) <= self._max_line_bytes:
            lines = _lasting(lines, has_data=bool(self._data) or b"data" in data)
        for line in lines:
            if not line:
                self._dispatch(events)
                continue
            if len(line) > self._max_line_bytes:
                self._fail("line", self._max_line_bytes, events)
            if line[:6] == b"data: ":
                self._data += line[6:]
                self._data += b"\n"
            else:
                self._field(line)
            if len(self._data) - 1 > self._max_event_bytes:
                self._fail("event", self._max_event_bytes, events)
        if rest:
            if len(self._line) + len(rest) > self._max_line_bytes:
                self._fail("line", self._max_line_bytes, events)
            self._line += rest
        self._fresh = not (self._data or self._event or self._id is not self.last_event_id)

    def _field(self, line: bytes) -> None:
        """Read a line that is not blank: put its value where the standard wants it."""
        name, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            self._data += value
            self._data += b"\n"
        elif name == b"event":
            self._event = value
        elif name == b"id":
            if 0 not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():  # of bytes: ASCII digits only, and at least one
            # int() is quadratic and refuses thousands of digits; 17 of them are over the maximum already.
            digits = value.lstrip(b"0")[:17]
            self.retry = min(int(digits or b"0"), MAX_RETRY)

    def _dispatch(self, events: list[ServerSentEvent]) -> None:
        """End a block. Without data it is no event, but its id counts; its event type is forgotten."""
        self.last_event_id = self._id
        if self._data:
            self._data.pop()  # the LF behind the last line
            event = self._event.decode("utf-8", "replace") if self._event else "message"
            events.append(ServerSentEvent(event, self._data.decode("utf-8", "replace"), self._id, self.retry))
            self._data.clear()
        self._event = b""

    def _fail(self, what: str, limit: int, events: list[ServerSentEvent]) -> NoReturn:
        """Fail for good, handing over what this read had completed."""
        self._failure = f"The {what} is longer than {limit} bytes."
        self._special = True
        self._forget()
        raise EventTooLargeError(self._failure, events=events)

    def _forget(self) -> None:
        """Give back the memory of everything unfinished."""
        self._line.clear()
        self._data.clear()


def _lasting(lines: list[bytes], *, has_data: bool) -> list[bytes]:
    """Return what counts of very many lines; the first may have begun in an earlier read, and be too long.

    Comments do not, nor does a line that only says again what the one before said, unless it is data. Of blocks without
    data only ids and times are left.
    """
    if not has_data and lines[0][:4] != b"data" and b"" in lines[1:]:
        last = len(lines) - 1 - lines[::-1].index(b"")
        kept = [line for line in lines[1:last] if line[:2] == b"id" or line[:5] == b"retry"]
        lines = [lines[0], *kept, *lines[last:]]
    told = zip(lines[1:], lines, strict=False)
    return [
        lines[0],
        *(line for line, old in told if line[:1] != b":" and (line != old or line[:4] == b"data")),
    ]


def _named_blocks(data: bytes, last_id: str, retry: int | None) -> list[ServerSentEvent]:
    """Read whole blocks that are an `event: ` line and a `data: ` line each, as Messages and Responses send them.

    Returns nothing if there is anything else.
    """
    found = []
    for block in data[:-2].decode("utf-8", "replace").split("\n\n"):
        name, _, value = block.partition("\n")
        if name[:7] != "event: " or len(name) == 7 or value[:6] != "data: " or "\n" in value:
            return []
        found.append(ServerSentEvent(name[7:], value[6:], last_id, retry))
    return found


def encode(event: ServerSentEvent) -> bytes:
    """Return `event` as the bytes of one block, `id:` being its last line.

    The id comes last because some clients take it over as they read it, and must not do that before the data.
    What is at its default (type "message", no id, no retry) is not written, so the reader keeps what was in force.

    Decoding gives back what was encoded; what the format cannot carry raises `LocalProtocolError`: CR in the data
    (LF starts another `data:` line), CR, LF or NUL in the id, CR or LF in the type or an empty type, a reconnection
    time below 0 or above `MAX_RETRY`, and lone surrogates.
    """
    lines = []
    if event.event != "message":
        if not event.event or "\n" in event.event or "\r" in event.event:
            raise LocalProtocolError("An event type must not be empty and must not hold a line end.")
        lines.append(f"event: {event.event}\n")
    if event.retry is not None:
        if not 0 <= event.retry <= MAX_RETRY:
            raise LocalProtocolError(
                f"A reconnection time is 0 to {MAX_RETRY} milliseconds, not {event.retry}."
            )
        lines.append(f"retry: {event.retry}\n")
    if "\r" in event.data:
        raise LocalProtocolError(
            "An event's data must not hold a CR: the reader would take it for a line end."
        )
    lines.append("data: " + event.data.replace("\n", "\ndata: ") + "\n")
    if event.id:
        if "\0" in event.id or "\n" in event.id or "\r" in event.id:
            raise LocalProtocolError("An event ID must not hold a line end or NUL.")
        lines.append(f"id: {event.id}\n")
    lines.append("\n")
    try:
        return "".join(lines).encode()
    except UnicodeEncodeError as error:
        raise LocalProtocolError("An event is Unicode text: a lone surrogate cannot be sent.") from error
