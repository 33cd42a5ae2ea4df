"""The driver of one response: upstream -> recovery -> journal. It outlives the response's readers.

A relay is the sink of its upstream connection. It passes events on to the response's `Recovery`, gives the records that
come back to the journal's writer, and carries out the decisions: all by plain calls. Time is the loop's.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from everytoken.errors import (
    CancelledError,
    EverytokenError,
    JournalError,
    ResponseTooLargeError,
    ResponseTooLongError,
    error_body,
    one_line,
)
from everytoken.recovery import Connect, Disconnect, End, State

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from everytoken.journal import Log, StreamInfo, Writer
    from everytoken.recovery import Recovery
    from everytoken.upstream import Connection, Upstream

__all__ = ["Relay", "name_of"]

logger = logging.getLogger("everytoken.relay")

_FOREVER = float("inf")
_MAX_LOGGED = 500  # characters of a message, which may be an upstream's whole error page


class Relay:
    """One response being written.

    `ended` is called once, when it is no longer written here. `grace` is how many seconds it continues without a
    reader, None for no limit. `accepted` is done when an upstream has accepted it, or it has ended.
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
    ) -> None:
        """`max_bytes`: what upstreams may send, over all attempts; `max_seconds`: how long it may take from now on."""
        self.stream_id = stream_id
        self.recovery = recovery
        self._writer = writer
        self._upstreams = upstreams
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # uvloop's handle of a timer that is due at once cannot tell its time
        self._readers = 0
        self._grace_timer: asyncio.TimerHandle | None = None
        self.grace = grace
        self._is_read_elsewhere = is_read_elsewhere
        self._asking: asyncio.Task[None] | None = None
        self._paused = False
        self._let_go = False
        self._abandoned = False
        self._received = 0
        self._max_bytes = max_bytes
        self._life = self._loop.call_later(max_seconds, self._is_too_long) if max_seconds < _FOREVER else None
        self.accepted: asyncio.Future[None] = self._loop.create_future()

    @property
    def log(self) -> Log:
        """The records written so far."""
        return self._writer.log

    @property
    def _name(self) -> str:
        return name_of(self.log.info)

    def start(self) -> None:
        """Begin the first attempt."""
        self._writer.when_fenced(self._fenced)
        self._tell(self.recovery.start)

    def resume(self, records: Sequence[bytes], cause: EverytokenError) -> None:
        """Begin behind `records`, which another writer delivered before `cause`."""
        self._writer.when_fenced(self._fenced)
        self._received = sum(map(len, records))
        self._tell(self.recovery.resume, records, cause)
        self.reader_came()
        self.reader_went()  # without a reader it ends like any other

    def _fenced(self) -> None:
        logger.warning("%s: this process can no longer write it", self._name)
        self.let_go()

    def let_go(self) -> None:
        """Stop writing without ending the response: another process continues it."""
        self._let_go = True
        self.stop()

    def stop(self) -> None:
        """Stop the response: its upstream connection is closed at once, and every reader gets the error."""
        self.recovery.stop(self._loop.time())
        self._carry_out()

    # Readers

    def reader_came(self) -> None:
        """Count a reader in: the response continues while there is one."""
        self._readers += 1
        if self._grace_timer is not None:
            self._grace_timer.cancel()
            self._grace_timer = None

    def reader_went(self) -> None:
        """Count a reader out; without any for the grace period, the response is stopped."""
        self._readers -= 1
        if self._readers == 0 and self.grace is not None and self.recovery.outcome is None:
            if self.grace == 0:
                self._abandon()
            else:
                self._grace_timer = self._loop.call_later(self.grace, self._grace_is_over)

    def _grace_is_over(self) -> None:
        self._grace_timer = None
        self._asking = self._loop.create_task(self._abandon_if_unread())

    async def _abandon_if_unread(self) -> None:
        try:
            elsewhere = await self._is_read_elsewhere(self.stream_id)
        except JournalError:
            elsewhere = True  # unknown, so it continues
        if self._readers == 0 and self.recovery.outcome is None and self.grace is not None:
            if elsewhere:
                self._grace_timer = self._loop.call_later(self.grace, self._grace_is_over)
            else:
                self._abandon()

    def _abandon(self) -> None:
        self._abandoned = True
        self.stop()

    # What the connection reports (a `Sink`)

    def on_connected(self) -> None:
        """The request is on its way."""
        self.recovery.connected(self._loop.time())
        self._carry_out()

    def on_accepted(self) -> None:
        """The upstream has accepted the request."""
        self.recovery.accept(self._loop.time())
        self._carry_out()
        if not self.accepted.done():
            self.accepted.set_result(None)

    def on_data(self, data: bytes) -> None:
        """Take bytes of the stream: the hot path, which continues in `_write`."""
        recovery = self.recovery
        records = recovery.receive_data(self._loop.time(), data)
        if records:
            self._write(records)
        self._received += len(data)
        if self._received > self._max_bytes:
            self._is_too_large()
        elif recovery.decisions:
            self._carry_out()

    def on_whole(self, body: bytes) -> None:
        """Take a response that was not streamed."""
        self._received += len(body)
        if self._received > self._max_bytes:
            self._is_too_large()
        else:
            self._tell(self.recovery.receive_whole, body)

    def _is_too_large(self) -> None:
        self._end_at_limit(ResponseTooLargeError(f"the response is larger than {self._max_bytes} bytes"))

    def _is_too_long(self) -> None:
        self._end_at_limit(ResponseTooLongError("the response has exceeded its maximum duration"))

    def _end_at_limit(self, error: EverytokenError) -> None:
        if self.recovery.state is State.LINGERING:
            self._tell(self.recovery.receive_eof)  # the response is complete: the excess is noise after it
        else:
            self._break_off(error)

    def on_eof(self) -> None:
        """The stream's bytes have ended."""
        self._tell(self.recovery.receive_eof)

    def on_error(self, error: EverytokenError) -> None:
        """The attempt has failed."""
        if type(error) is EverytokenError:
            self._break_off(error)  # internal error: the state may be corrupt, so do not resume
        else:
            self._tell(self.recovery.fail, error)

    # Decisions

    def _tell(self, tell: Callable[..., Sequence[bytes] | None], *args: Any) -> None:
        """Tell recovery what happened, and carry out its decisions. A bug ends the response instead of leaving it hanging."""
        try:
            records = tell(self._loop.time(), *args)
            if records:
                self._write(records)
            self._carry_out()
        except Exception:
            logger.exception("%s: internal error", self._name)
            self._break_off(EverytokenError("an internal error ended the response"))

    def _write(self, records: Sequence[bytes]) -> None:
        try:
            full = self._writer.append(records)
        except JournalError as error:
            logger.warning("%s: %s; this process stops writing", self._name, error.message)
            self.let_go()
            return
        if full and not self._paused:
            self._paused = True
            self.log.subscribe(self._has_room)
            if self._connection is not None:
                self._connection.pause()

    def _has_room(self) -> None:
        """Continue reading when the journal has stored what was pending."""
        if not self._writer.full:
            self._paused = False
            self.log.unsubscribe(self._has_room)
            if self._connection is not None:
                self._connection.resume()

    def _break_off(self, error: EverytokenError) -> None:
        self.recovery.stop(self._loop.time(), error)
        self._carry_out()

    def _carry_out(self) -> None:
        decisions = self.recovery.decisions
        while decisions:
            decision = decisions.popleft()
            if isinstance(decision, Connect):
                self._log_last_failure()
                upstream = self._upstreams[decision.target.name]
                self._connection = upstream.connect(
                    decision.body, self, streamed=decision.streamed, path=self.recovery.dialect.path
                )
            elif isinstance(decision, Disconnect):
                connection, self._connection = self._connection, None
                if connection is not None:
                    connection.release(reusable=decision.reusable)
            elif isinstance(decision, End):
                self._end(decision)
        self._arm()

    def _arm(self) -> None:
        """Keep one timer for the next deadline. If the deadline moves away, the timer stays and checks again when it fires."""
        deadline = self.recovery.deadline
        if deadline == float("inf"):
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return
        if self._timer is not None:
            if self._due <= deadline:
                return
            self._timer.cancel()
        self._due = deadline
        self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        # The loop may fire a timer a tick of its clock early.
        self._tell(lambda now: self.recovery.tick(max(self._due, now)))

    def _end(self, decision: End) -> None:
        if self._grace_timer is not None:
            self._grace_timer.cancel()
        if self._life is not None:
            self._life.cancel()
        if not self._let_go:
            self._log_end(decision)
            error = decision.error
            last = [] if error is None else [self.recovery.dialect.error(error_body(error))]
            try:
                self._writer.close(last, self.result())
            except JournalError as error:
                logger.warning("%s: %s; its end was not stored by this process", self._name, error.message)
        self._ended(self)
        if not self.accepted.done():
            self.accepted.set_result(None)

    def result(self) -> dict[str, Any]:
        """Return what the stream is closed with: the outcome, its error, the usage, and every attempt.

        All of it can be stored: values from an upstream were made storable when its attempt ended.
        """
        recovery = self.recovery
        origin = recovery.attempts[0].started if recovery.attempts else 0.0
        result: dict[str, Any] = {
            "outcome": recovery.outcome,
            **({} if recovery.error is None else error_body(recovery.error)),
            "usage": recovery.usage,
            "seed": recovery.seed,
            "attempts": [attempt.describe(origin) for attempt in recovery.attempts],
        }
        return result

    def _log_last_failure(self) -> None:
        attempts = self.recovery.attempts
        if len(attempts) > 1 and (cause := attempts[-2].cause) is not None:
            failed, following = attempts[-2:]
            logger.warning(
                "%s: attempt %d at %s failed: %s (%s); attempt %d: %s at %s from offset %d",
                self._name,
                failed.number,
                failed.upstream,
                one_line(cause.message)[:_MAX_LOGGED],
                cause.code,
                following.number,
                following.strategy,
                following.upstream,
                following.offset,
                extra={"stream_id": self.stream_id, "attempt": failed.describe(attempts[0].started)},
            )

    def _log_end(self, decision: End) -> None:
        error, recovery = decision.error, self.recovery
        level, told = logging.INFO, f"after {recovery.records} records"
        if error is not None and not isinstance(error, CancelledError):
            level, told = logging.WARNING, f"{told}: {one_line(error.message)[:_MAX_LOGGED]} ({error.code})"
        elif self._abandoned:
            told = f"{told}: nobody read it for {self.grace:g} s"
        if not logger.isEnabledFor(level):
            return
        logger.log(
            level,
            "%s: %s %s",
            self._name,
            decision.outcome,
            told,
            extra={"stream_id": self.stream_id, "result": self.result()},
        )


def name_of(info: StreamInfo) -> str:
    """Return a response's name in the log: its stream, and its request."""
    request_id = info.meta.get("request_id")
    return f"response {info.id} (request {request_id})" if request_id else f"response {info.id}"
