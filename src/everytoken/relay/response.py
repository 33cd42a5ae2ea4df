"""The driver of one response: upstream -> recovery -> journal. It outlives the response's readers.

What the connections of its attempts report (`everytoken.relay.sink`) goes to the response's `Recovery`, the records that
come back go to the journal's writer, and the decisions are carried out: all of it plain calls. Time is the loop's.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from everytoken.errors import (
    EverytokenError,
    JournalError,
    ResponseTooLargeError,
    ResponseTooLongError,
    error_body,
)
from everytoken.recovery import Connect, Disconnect, End, State
from everytoken.relay.heads import head_of, passed_on, translated
from everytoken.relay.logs import log_attempt, log_end, name_of, result_of
from everytoken.relay.readers import Readers
from everytoken.relay.sink import AttemptSink
from everytoken.relay.timer import DeadlineTimer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from everytoken.journal import Log, Writer
    from everytoken.recovery import Recovery
    from everytoken.relay.events import ResponseEvents
    from everytoken.relay.sink import Headers, KeepHead
    from everytoken.upstream import Connection, Upstream

__all__ = ["Relay"]

logger = logging.getLogger("everytoken.relay")

_LOOK = 64 * 1024  # bytes received between two looks, if there is something to look at


class _Received:
    """Bytes received of a response; `look_at`: how many there may be before somebody looks."""

    __slots__ = ("look_at", "received")

    look_at: int
    received: int


class Relay(_Received):
    """One response being written.

    `ended` is called once, when it is not written here any more. `grace` is how many seconds it goes on without a
    reader, None for ever. `accepted` is done when an upstream has accepted it, or it has ended; `over` when it is not
    written here any more. `events` are told of what happens; None while nobody listens.
    """

    def __init__(
        self,
        stream_id: str,
        recovery: Recovery,
        writer: Writer,
        upstreams: Mapping[str, Upstream],
        *,
        ended: Callable[[Relay], None],
        grace: float | None,
        is_read_elsewhere: Callable[[str], Awaitable[bool]],
        max_bytes: int,
        max_seconds: float,
        events: ResponseEvents | None = None,
        keep_head: KeepHead,
    ) -> None:
        """`max_bytes`: what upstreams may send, over all attempts; `max_seconds`: how long it may take from now on."""
        self.stream_id = stream_id
        self.recovery = recovery
        self.writer = writer
        self.loop = asyncio.get_running_loop()
        self.received = 0  # bytes, of all attempts
        self.max_bytes = max_bytes
        self._upstreams = upstreams
        self._ended = ended
        self._connections: dict[int, Connection] = {}  # by the attempt's number: two while one is suspected
        self._timer = DeadlineTimer(self.loop, self._on_deadline)
        self.readers = Readers(
            stream_id, grace=grace, is_read_elsewhere=is_read_elsewhere, abandon=self._abandon
        )
        self._paused = self._let_go = self._abandoned = False
        self._latest = self.loop.time() + max_seconds
        self._events = events
        self.gaps = None if events is None else events.gaps
        self.look_at = max_bytes if events is None else min(max_bytes, _LOOK)  # bytes received
        self._keep_head = keep_head
        self._heads: dict[int, Headers] = {}  # by the attempt's number
        self.accepted: asyncio.Future[None] = self.loop.create_future()
        self.over: asyncio.Future[None] = self.loop.create_future()

    @property
    def log(self) -> Log:
        """The records written so far."""
        return self.writer.log

    def start(self) -> None:
        """Begin the first attempt."""
        if self._events is not None:
            self._events.begun()
        self.writer.when_fenced(self._fenced)
        self.tell(self.recovery.start)

    def resume(self, records: Sequence[bytes], cause: EverytokenError) -> None:
        """Begin behind `records`, which another writer has delivered until `cause`."""
        if self._events is not None:
            self._events.begun(len(records))
        self.writer.when_fenced(self._fenced)
        self.received = sum(map(len, records))
        self.tell(self.recovery.resume, records, cause)
        self.readers.wait()  # if nobody comes for it, it ends as any other

    def _fenced(self) -> None:
        logger.warning("%s: this process can no longer write it", name_of(self.log.info))
        self.let_go()

    def let_go(self) -> None:
        """Stop writing without ending the response: another process continues it."""
        self._let_go = True
        self.stop()

    def stop(self) -> None:
        """Stop the response: its upstream connection is closed at once, every reader is told."""
        self.break_off(None)

    # Readers

    def reader_came(self) -> None:
        """Count a reader in: while there is one, the response goes on."""
        self.readers.came()
        if self._events is not None:
            self._events.reader_came(self.readers.count)

    def reader_went(self) -> None:
        """Count a reader out; without any for the grace period, the response is stopped."""
        if self._events is not None:
            self._events.reader_went(self.readers.count - 1)
        self.readers.went()

    def _abandon(self) -> None:
        self._abandoned = True
        self.stop()

    # What the sinks of the attempts need

    def is_accepted(self, attempt: int) -> None:
        """An upstream has answered with success."""
        if self._events is not None:
            self._events.attempt_accepted(attempt)
        self.carry_out()
        if not self.accepted.done():
            self.accepted.set_result(None)

    def head_came(self, attempt: int, headers: Headers) -> None:
        """The head of an attempt's response has come."""
        self._heads[attempt] = self._keep_head(headers)

    @property
    def head(self) -> Headers:
        """What is kept of the head of the attempt that answers, or answered last; empty without any."""
        return head_of(self.recovery.attempts, self._heads)

    def is_too_large(self) -> bool:
        """Look at what has been received: end the response if that is more than it may be, and return whether it is."""
        if self.received > self.max_bytes:
            self._end_at_limit(ResponseTooLargeError(f"the response is larger than {self.max_bytes} bytes"))
        elif self.gaps is not None:
            self.gaps.fold()
            self.look_at = min(self.max_bytes, self.received + _LOOK)
        return self.received > self.max_bytes

    def _end_at_limit(self, error: EverytokenError) -> None:
        if self.recovery.state is State.LINGERING:
            # The response is whole: what is too much is only noise behind it.
            self.tell(self.recovery.receive_eof)
        else:
            self.break_off(error)

    def pause(self) -> None:
        """Read no more until the journal has stored what waits."""
        if not self._paused:
            self._paused = True
            self.log.subscribe(self._has_room)
            for connection in self._connections.values():
                connection.pause()

    def _has_room(self) -> None:
        """Continue reading when the journal has stored what was pending."""
        if not self.writer.full:
            self._paused = False
            self.log.unsubscribe(self._has_room)
            for connection in list(self._connections.values()):
                connection.resume()

    def cannot_write(self, error: JournalError) -> None:
        """Let go of the response: this process cannot write it any more."""
        logger.warning("%s: %s; this process stops writing", name_of(self.log.info), error.message)
        self.let_go()

    # Decisions

    def tell(self, tell: Callable[..., Sequence[bytes] | None], *args: Any) -> None:
        """Tell the recovery what happened, and do what it decides. A bug ends the response, it does not leave it hanging."""
        try:
            if records := tell(self.loop.time(), *args):
                self.write(records)
            self.carry_out()
        except Exception:
            logger.exception("%s: a bug in everytoken", name_of(self.log.info))
            self.break_off(EverytokenError("an internal error broke the response off"))

    def write(self, records: Sequence[bytes]) -> None:
        """Append records; read no more if too much waits."""
        try:
            if self.writer.append(records):
                self.pause()
        except JournalError as error:
            self.cannot_write(error)

    def break_off(self, error: EverytokenError | None) -> None:
        """End the response with `error`; None: it was stopped."""
        self.recovery.stop(self.loop.time(), error)
        self.carry_out()

    def carry_out(self) -> None:
        """Do what the recovery has decided."""
        decisions = self.recovery.decisions
        while decisions:
            decision = decisions.pop(0)
            if isinstance(decision, Connect):
                log_attempt(self.log.info, self.recovery.attempts)
                self._connect(decision)
            elif isinstance(decision, Disconnect):
                connection = self._connections.pop(decision.attempt, None)
                if connection is not None:
                    connection.release(reusable=decision.reusable)
                if self._events is not None:
                    self._events.attempt_ended(decision.attempt)
            elif isinstance(decision, End):
                self._end(decision)
        if not self.over.done():
            self._timer.arm(min(self.recovery.deadline, self._latest))

    def _connect(self, decision: Connect) -> None:
        number = decision.attempt
        target = decision.target
        upstream, headers = self._upstreams[target.name], self.log.info.meta.get("headers")
        dialect = self.recovery.dialect
        if target.translation is not None:
            headers = translated(headers, dialect, target.translation.dialect)
            dialect = target.translation.dialect
        if self._events is not None:
            headers = self._events.attempt_begun(number, headers)
        connection = upstream.connect(
            decision.body,
            AttemptSink(self, number),
            streamed=decision.streamed,
            path=dialect.path,
            **passed_on(upstream, headers),
        )
        self._connections[number] = connection
        if self._paused:
            connection.pause()

    def _on_deadline(self, now: float) -> None:
        if now >= self._latest:
            self._end_at_limit(ResponseTooLongError("the response has exceeded its maximum duration"))
        else:
            self.tell(lambda _: self.recovery.tick(now))

    def _end(self, decision: End) -> None:
        # Both refer to this response, which would wait for the garbage collector.
        self.readers.end()
        self._timer.stop()
        result = result_of(self.recovery)
        if not self._let_go:
            log_end(self.log.info, self.recovery, result, self.readers.grace if self._abandoned else None)
            last: list[bytes] = []
            if (error := decision.error) is not None:
                last.append(self.recovery.dialect.error(error_body(error), number=self.recovery.records))
            try:
                self.writer.close(last, result)
            except JournalError as error:
                logger.warning(
                    "%s: %s; its end was not stored by this process", name_of(self.log.info), error.message
                )
        self._ended(self)
        if not self.accepted.done():
            self.accepted.set_result(None)
        if not self.over.done():
            self.over.set_result(None)
        if self._events is not None:
            self._events.ended(result["attempts"], handed_over=self._let_go, received=self.received)
