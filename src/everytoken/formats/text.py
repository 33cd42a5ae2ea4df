"""The plain text of `POST /api/chat`: the text of a response as UTF-8, in writes that stand on their own.

The reader is a browser that calls `decoder.decode(value)` on each read and keeps no state in between. So every
write begins and ends between words where there are any, never inside a character, and is at most 16 KiB long: what is
longer is likely to be cut by a server, a proxy or TCP. They may still join and split writes; nothing here can forbid it.

Plain text has no room for an error: an interruption is a last visible line, after which the connection has to be aborted.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any

from everytoken.errors import one_line
from everytoken.formats.output import Ending, OutputFormat
from everytoken.formats.texts import text_reader
from everytoken.smoothing import Smoother

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["PlainText", "TextWriter"]

_MAX_HOLD_CHARS = 256
_BYTES_PER_CHAR = 4  # at most, in UTF-8
_MIN_WRITE = 64  # below that, a family of emoji does not fit into a write
_SLICE = 8 * 1024  # characters segmented in one turn of the loop: a few milliseconds


class PlainText(OutputFormat):
    """The text of a response, of the first choice if there are several, by words. What did not complete ends in a visible line, and is then aborted.

    A long text is segmented in several ticks, so that other readers have their turn in between. `dialect`: the name of
    that of the records.
    """

    media_type = b"text/plain; charset=utf-8"

    def __init__(self, dialect: str | None = None) -> None:
        self._text = text_reader(dialect)
        self._writer = TextWriter()
        self._slices: deque[str] = deque()  # not segmented yet
        self._writes: deque[bytes] = deque()  # segmented, and not sent yet

    def push(self, records: Sequence[bytes], offset: int) -> bytes:  # noqa: ARG002  # text has no offsets
        """Take the text; `tick` returns it."""
        text = self._text(records)
        if text:
            self._slices.extend([text[at : at + _SLICE] for at in range(0, len(text), _SLICE)])
            self.due = -inf
        return b""

    def tick(self, now: float) -> bytes:
        """Return the next write that is due."""
        if not self._writes:
            writer = self._writer
            self._writes += writer.push(self._slices.popleft(), now) if self._slices else writer.tick(now)
        write = self._writes.popleft() if self._writes else b""
        self.due = -inf if self._writes or self._slices else self._writer.deadline()
        return write

    def end(self, result: Mapping[str, Any]) -> Ending:
        """Return what is left; what did not complete says so."""
        if result.get("outcome") == "completed":
            return Ending(self._writer.finish())
        reason = (result.get("error") or {}).get("message") or "the response did not complete"
        return Ending(self._writer.interrupted(reason), clean=False)


class TextWriter:
    """Turn the text of one response into writes.

    `hold`: seconds after the last push at which held text goes out. `max_write`: bytes in a write, 64 or more.
    A lone surrogate, which has no UTF-8, becomes U+FFFD; two halves that meet become their character.
    """

    def __init__(self, *, hold: float = 0.2, max_write: int = 16_384) -> None:
        if max_write < _MIN_WRITE:
            raise ValueError(f"max_write must be at least {_MIN_WRITE} bytes, not {max_write}")
        max_hold_chars = min(_MAX_HOLD_CHARS, max_write // (2 * _BYTES_PER_CHAR))
        self._smoother = Smoother("word", hold=hold, max_hold_chars=max_hold_chars)
        self._max_write = max_write
        # What the smoother returns is at most what it held and what it was given: so much always fits.
        self._step = max_write // _BYTES_PER_CHAR - max_hold_chars
        self._line_started = False

    def push(self, text: str, now: float) -> list[bytes]:
        """Take the next part of the text; return the writes that are due at `now` (seconds on any clock)."""
        if text:
            self._line_started = text[-1] != "\n"
        return self._writes(self._pieces(text, now))

    def deadline(self) -> float | None:
        """Return when to call `tick` if nothing more comes; None when nothing waits for it."""
        return self._smoother.deadline()

    def tick(self, now: float) -> list[bytes]:
        """Return the writes whose time has passed at `now`."""
        return self._writes([self._smoother.tick(now)])

    def finish(self) -> list[bytes]:
        """Return what is left: the response is completed."""
        return self._writes([self._smoother.finish()])

    def interrupted(self, reason: str) -> list[bytes]:
        """Return what is left and a last line `[interrupted: reason]`; the caller then aborts the connection."""
        line = f"[interrupted: {one_line(reason)}]"
        pieces = self._pieces(f"\n{line}" if self._line_started else line, now=0)
        return self._writes([*pieces, self._smoother.finish()])

    def _pieces(self, text: str, now: float) -> Iterator[str]:
        for start in range(0, len(text), self._step):
            yield self._smoother.push(text[start : start + self._step], now)

    def _writes(self, pieces: Iterable[str]) -> list[bytes]:
        """Encode the pieces, and join them as long as a write may be."""
        writes: list[bytes] = []
        for piece in pieces:
            data = _encode(piece)
            if writes and len(writes[-1]) + len(data) <= self._max_write:
                writes[-1] += data
            elif data:
                writes.append(data)
        return writes


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
