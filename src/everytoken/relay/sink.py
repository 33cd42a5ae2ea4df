"""What one attempt's connection reports, on its way to the recovery and the journal: the hot path's first half."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from everytoken.errors import EverytokenError, JournalError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from everytoken.journal import Writer
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
    def cannot_write(self, error: JournalError) -> None: ...
    def break_off(self, error: EverytokenError) -> None: ...


class AttemptSink:
    """The `Sink` of the attempt with a number."""

    __slots__ = ("_append", "_live", "_note", "_time", "number", "relay")

    def __init__(self, relay: _Relay, number: int) -> None:
        self.relay = relay
        self.number = number
        self._append = relay.writer.append
        self._live = relay.recovery.attempt(number)
        self._time = relay.loop.time
        self._note = None if relay.gaps is None else relay.gaps.note

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

    def on_data(self, data: bytes) -> None:
        """Take bytes of the stream."""
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
            return
        if steady is not None:
            if not steady.steady:
                relay.tell(recovery.settle, self.number)
        elif recovery.decisions:
            relay.carry_out()

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
