"""What one attempt's connection reports, on its way to the recovery and the journal: the hot path's first half."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

from everytoken.errors import EverytokenError, JournalError
from everytoken.journal.stream import FULL
from everytoken.native import parts
from everytoken.recovery import transcript

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from everytoken.journal import Writer
    from everytoken.native import ShortPath
    from everytoken.recovery import Recovery
    from everytoken.relay.gaps import Gaps

    Headers = list[tuple[bytes, bytes]]
    KeepHead = Callable[[Headers], Headers]
    """From the headers of an upstream's response, names in lower case, to those that are kept."""

__all__ = ["AttemptSink"]


class _Relay(Protocol):
    recovery: Recovery
    writer: Writer
    loop: asyncio.AbstractEventLoop
    received: int
    gaps: Gaps | None
    look_at: int

    def tell(self, tell: Any, *args: Any) -> None: ...
    def carry_out(self) -> None: ...
    def pause(self) -> None: ...
    def is_accepted(self, attempt: int) -> None: ...
    def head_came(self, attempt: int, headers: Headers) -> None: ...
    def is_too_large(self) -> bool: ...
    def write(self, records: Sequence[bytes]) -> None: ...
    def cannot_write(self, error: JournalError) -> None: ...
    def break_off(self, error: EverytokenError) -> None: ...


class AttemptSink:
    """The `Sink` of the attempt with a number."""

    __slots__ = ("_append", "_live", "_note", "_short", "_time", "number", "relay")

    def __init__(self, relay: _Relay, number: int) -> None:
        self.relay = relay
        self.number = number
        self._append = relay.writer.append
        self._live = relay.recovery.attempt(number)
        self._time = relay.loop.time
        self._note = None if relay.gaps is None else relay.gaps.note
        self._short: ShortPath | Literal[False] | None = None  # False: it has none; None: not looked at

    def on_connected(self) -> None:
        """The request is on its way."""
        self.relay.recovery.connected(self._time(), self.number)
        self.relay.carry_out()

    def on_head(self, status: int, headers: Headers) -> None:  # noqa: ARG002  # `Sink` has it
        """The head of the upstream's response, whatever its status."""
        self.relay.head_came(self.number, headers)

    def on_accepted(self) -> None:
        """The upstream has answered with success."""
        self.relay.recovery.accept(self._time(), self.number)
        self.relay.is_accepted(self.number)

    def on_data(self, data: bytes) -> ShortPath | None:
        """Take bytes of the stream; return what may take the next ones if they are like these."""
        relay = self.relay
        recovery = relay.recovery
        live = self._live
        steady = live if live is not None and live.steady else None
        now = self._time()
        if steady is not None:
            records = steady.receive_data(now, data)
        else:
            records = recovery.receive_data(now, data, self.number)
        if records:
            if self._note is not None:
                self._note(now)
            try:
                if self._append(records):
                    relay.pause()
            except JournalError as error:
                relay.cannot_write(error)
        relay.received += len(data)
        if relay.received > relay.look_at and relay.is_too_large():
            return None
        if steady is not None:
            if not steady.steady:
                relay.tell(recovery.settle, self.number)
            elif parts.short_path is not None:
                return self._shorten(data, records)
        elif recovery.decisions:
            relay.carry_out()
        return None

    def _shorten(self, data: bytes, records: list[bytes]) -> ShortPath | None:
        assert parts.short_path is not None
        if self._short is None:
            self._short = parts.short_path(self, self.relay.writer, transcript.LIMIT, FULL) or False
        return self._short.learn(data, records) if self._short else None

    def on_non_streaming(self, body: bytes) -> None:
        """Take a response in one piece."""
        relay = self.relay
        relay.received += len(body)
        if not (relay.received > relay.look_at and relay.is_too_large()):
            relay.tell(relay.recovery.receive_non_streaming, body, self.number)

    def on_eof(self) -> None:
        """The stream's bytes have ended."""
        self.relay.tell(self.relay.recovery.receive_eof, self.number)

    def on_error(self, error: EverytokenError) -> None:
        """The attempt has failed."""
        if type(error) is EverytokenError:
            self.relay.break_off(error)  # internal error: the state may be corrupt, so do not resume
        else:
            self.relay.tell(self.relay.recovery.fail, error, self.number)
