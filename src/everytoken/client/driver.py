"""Drives one response in process: tells the recovery what happens, and has the shell do what it decides.

A generator of effects, so that both clients share the code; the shells (`sync`, `aio`) carry the effects out. Its time is
the shell's clock less the time that the caller kept us waiting: a busy caller does not make an upstream stall.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2

from everytoken.client.effects import Close, Deliver, Head, Open, Opened, Read, Sleep
from everytoken.client.events import encoder_for, tells_errors
from everytoken.client.failures import CALLERS_FAULT, as_ours, as_theirs
from everytoken.client.follow import Follower
from everytoken.client.heads import head_of, refusal
from everytoken.errors import ErrorEventError, EverytokenError, StatusError
from everytoken.recovery import Connect, Disconnect, End, Recovery, State
from everytoken.upstream.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from everytoken.client.asked import Asked
    from everytoken.client.effects import Effect, Result
    from everytoken.client.upstream import Upstream
    from everytoken.recovery import Policy

__all__ = ["Driver"]

_EVENT_STREAM = b"text/event-stream"


class Driver:
    """Makes one response out of as many attempts as it takes. It is the sink of the attempt's exchange."""

    def __init__(
        self,
        asked: Asked,
        recovery: Recovery,
        policy: Policy,
        clock: Callable[[], float],
        upstreams: Mapping[str, Upstream],
    ) -> None:
        """`upstreams`: those that are not where the caller sent the request, by name."""
        self._upstreams = upstreams
        self._asked = asked
        self._recovery = recovery
        self._policy = policy
        self._clock = clock
        self._away = 0.0  # seconds that the caller has kept us waiting
        self._exchange = Exchange(self, redactor=self._asked.redactor)
        self._opened: Opened | None = None
        self._has_head = False  # whether the caller has been given one
        self._encode = encoder_for(asked.dialect)
        self._records: list[bytes] = []
        self._count = 0  # records delivered
        self._patience = 0.0  # until when the read under way goes on

    def run(self) -> Generator[Effect, Result, None]:
        """Yield effects; raises `httpx2.TransportError` if the response ends incomplete."""
        recovery = self._recovery
        recovery.start(self._now())
        while True:
            yield from self._deliver()
            while recovery.decisions:
                decision = recovery.decisions.pop(0)
                if isinstance(decision, Connect):
                    stream = yield from self._connect(decision)
                    if stream is not None:
                        yield from Follower(self._asked, stream, self._policy, self._clock).run()
                        return
                    yield from self._deliver()
                elif isinstance(decision, Disconnect):
                    yield Close(decision.reusable)
                elif isinstance(decision, End):
                    yield from self._end(decision)
                    return
            if recovery.state is State.BACKING_OFF:
                yield Sleep(recovery.deadline + self._away)
                self._take(recovery.tick(max(self._now(), recovery.deadline)))
            else:
                self._receive((yield Read(self._until())))

    def _now(self) -> float:
        return self._clock() - self._away

    def _until(self) -> float:
        """Return until when to read: a read that times out ends its connection, so not before that is decided."""
        self._patience = self._recovery.patience(self._now())
        return self._patience + self._away

    # An attempt

    def _connect(self, decision: Connect) -> Generator[Effect, Result, httpx2.URL | None]:
        """Begin an attempt; return the URL to resume the response at, if an everytoken gateway serves it."""
        self._exchange = Exchange(self, redactor=self._asked.redactor)
        self._opened = None
        upstream = self._upstreams.get(decision.target.name)
        translation = decision.target.translation
        request = self._asked.attempt(
            decision.body,
            self._policy,
            streamed=decision.streamed,
            upstream=upstream,
            dialect=None if translation is None else translation.dialect,
        )
        result = yield Open(request, self._recovery.deadline + self._away, self._sent)
        if not isinstance(result, Opened):
            self._receive_error(result)
            return None
        self._recovery.connected(self._now())
        stream = self._asked.stream_of(result) if upstream is None else None
        if stream is not None and 200 <= result.status < 300:
            yield self._head(result)
            return stream
        self._opened = result
        self._exchange.on_head(result.status, result.headers)
        if not self._has_head and self._recovery.accepted and _is_event_stream(result):
            yield self._head(result)
        return None

    def _sent(self) -> float:
        self._recovery.connected(self._now())
        return self._until()

    def _receive(self, result: Result) -> None:
        if isinstance(result, bytes):
            if result:
                self._exchange.on_body(result)
            else:
                self._exchange.on_end()
            # Comments may have kept the connection busy past the deadline.
            self._take(self._recovery.tick(self._now()))
        else:
            self._receive_error(result)

    def _receive_error(self, error: httpx2.TransportError) -> None:
        if isinstance(error, CALLERS_FAULT):
            raise error
        recovery = self._recovery
        if isinstance(error, httpx2.TimeoutException):
            now = max(self._now(), recovery.deadline, self._patience)
            self._take(recovery.tick(now))
            while not recovery.decisions and recovery.deadline <= now:
                self._take(recovery.tick(now))
            if not recovery.decisions:
                # Its limit has moved since, and the connection is gone.
                self._take(recovery.fail(now, as_ours(error, begun=self._opened is not None)))
        else:
            self._exchange.on_error(as_ours(error, begun=self._opened is not None))

    # What the exchange reports (a `Sink`)

    def on_connected(self) -> None:
        """The request has been sent."""

    def on_accepted(self) -> None:
        """The upstream has responded with success."""
        self._recovery.accept(self._now())

    def on_data(self, data: bytes) -> None:
        """Take bytes of the stream."""
        self._take(self._recovery.receive_data(self._now(), data))

    def on_non_streaming(self, body: bytes) -> None:
        """Take the body of a response that is not streamed."""
        self._take(self._recovery.receive_non_streaming(self._now(), body))

    def on_eof(self) -> None:
        """The stream's bytes have ended."""
        self._take(self._recovery.receive_eof(self._now()))

    def on_error(self, error: EverytokenError) -> None:
        """The attempt has failed."""
        self._take(self._recovery.fail(self._now(), error))

    # What the caller gets

    def _take(self, records: Sequence[bytes]) -> None:
        self._records += records

    def _deliver(self) -> Generator[Effect, Result, None]:
        if self._records:
            if not self._has_head and self._opened is not None:
                yield self._head(self._opened)
            data = self._encode(self._records)
            self._count += len(self._records)
            self._records.clear()
            yield from self._hand_over(data)

    def _head(self, opened: Opened) -> Head:
        self._has_head = True
        return head_of(opened)

    def _hand_over(self, data: bytes) -> Generator[Effect, Result, None]:
        before = self._clock()
        yield Deliver(data)
        self._away += self._clock() - before

    def _end(self, decision: End) -> Generator[Effect, Result, None]:
        error = decision.error
        if error is None:
            yield Deliver(self._asked.dialect.end_mark)
            return
        cause = self._recovery.attempts[-1].cause if self._recovery.attempts else None
        if not self._has_head and self._opened is not None and isinstance(cause, StatusError):
            yield refusal(self._opened, error)
            yield Deliver(cause.body)
            return
        if self._has_head and tells_errors(self._asked.dialect):
            yield from self._tell()
        raise as_theirs(error, self._asked.request)

    def _tell(self) -> Generator[Effect, Result, None]:
        """Hand on the error event that the last stream ended in, if it did."""
        streams = [attempt for attempt in self._recovery.attempts if attempt.streamed]
        cause = streams[-1].cause if streams else None
        if isinstance(cause, ErrorEventError):
            told = cause.error if isinstance(cause.error, dict) else {"message": cause.message}
            yield Deliver(self._encode([self._asked.dialect.error({"error": told}, number=self._count)]))


def _is_event_stream(opened: Opened) -> bool:
    return any(name == b"content-type" and _EVENT_STREAM in value.lower() for name, value in opened.headers)
