"""Watches an event stream that is passed on: whole events only, and an end only where the stream has ended."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from everytoken.errors import EventTooLargeError, TruncatedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PassedEvents"]

_BLANK: Final = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_DATA: Final = re.compile(rb"(?:\A|(?<=[\r\n]))data:[ \t]?([^\r\n]*)")
_ENDS: Final = (
    ".done",
    ".completed",
    ".failed",
    ".incomplete",
    "message_stop",
)  # of the types of last events
_MAX_EVENT: Final = 16 * 1024 * 1024  # bytes: as everywhere


class PassedEvents:
    """Takes the bytes of a stream as they come, and gives whole events. Errors in them go through `redact`.

    `marked`: the stream has not ended without `data: [DONE]`, as of completions.
    """

    def __init__(self, redact: Callable[[str], str], *, marked: bool) -> None:
        self._redact = redact
        self._marked = marked
        self._rest = bytearray()
        self._looked = 0
        self._last = b""

    def feed(self, data: bytes) -> bytes:
        """Return the events that are complete now. Raises `EventTooLargeError`."""
        self._rest += data
        done = 0
        # Up to three bytes before may belong to the blank line.
        for match in _BLANK.finditer(self._rest, max(0, self._looked - 3)):
            done = match.end()
        self._looked = len(self._rest)
        if not done:
            if len(self._rest) > _MAX_EVENT:
                raise EventTooLargeError(f"an event of the upstream is over {_MAX_EVENT} bytes")
            return b""
        events = bytes(self._rest[:done])
        del self._rest[:done]
        self._looked = len(self._rest)
        if b"data:" in events:
            last = events.rfind(b"data:")
            before = max(
                events.rfind(b"\n\n", 0, last),
                events.rfind(b"\r\n\r\n", 0, last),
                events.rfind(b"\r\r", 0, last),
            )
            self._last = events[max(before, 0) :]
        if b"error" in events:
            shown = events.decode("utf-8", "surrogateescape")
            clean = self._redact(shown)
            if clean != shown:
                return clean.encode("utf-8", "surrogateescape")
        return events

    def end(self, *, until_close: bool) -> bytes:
        """Return what is left at the end of the bytes; `until_close`: a cut would have looked the same.

        Raises `TruncatedError` for a stream that has not ended.
        """
        rest = bytes(self._rest)
        if _DATA.search(rest) is not None:
            if _data_of(rest) != b"[DONE]":  # some servers leave out the blank line behind their last event
                raise TruncatedError("the upstream's event stream was cut in the middle of an event")
            self._last = rest
        if (self._marked or until_close) and not self._has_ended():
            raise TruncatedError("the upstream's event stream has ended without its end mark")
        return rest

    def _has_ended(self) -> bool:
        """Whether the last event is an end: the mark, an error, or what says so by its type."""
        data = _data_of(self._last)
        if data == b"[DONE]":
            return True
        try:
            value = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        if not isinstance(value, dict):
            return False
        kind = value.get("type")
        if value.get("error") is not None or kind == "error":
            return True
        return not self._marked and isinstance(kind, str) and kind.endswith(_ENDS)


def _data_of(event: bytes) -> bytes:
    return b"\n".join(_DATA.findall(event)).strip()
