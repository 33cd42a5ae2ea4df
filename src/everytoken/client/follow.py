"""Follow a response that a gateway keeps: complete events only; after a break, resume at the last offset.

The gateway watches the model server and recovers, so this does not. It sends a keep-alive every 15 seconds; when even
those stop, the connection is dead.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import httpx2

from everytoken.client.effects import Close, Deliver, Open, Opened, Read, Sleep
from everytoken.client.events import encoder_for, tells_errors
from everytoken.client.failures import as_ours, as_theirs
from everytoken.errors import (
    TABLE,
    ErrorEventError,
    EverytokenError,
    MalformedEventError,
    StalledError,
    StatusError,
    TruncatedError,
)
from everytoken.sse import SSEDecoder, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from everytoken.client.asked import Asked
    from everytoken.client.effects import Effect, Result
    from everytoken.recovery import Policy

__all__ = ["Follower"]

_SILENCE = 45.0  # seconds without a byte: three keep-alives
_RECONNECTING = (
    30.0  # seconds from a break until we give up: enough for a restart, half of the gateway's grace period
)
_MAX_DOUBLINGS = 16
_GONE = {404: ": the gateway does not know this response", 410: ": the gateway no longer keeps this response"}


class Follower:
    """Reads the response at `stream`, whose first connection is already open."""

    def __init__(self, asked: Asked, stream: httpx2.URL, policy: Policy, clock: Callable[[], float]) -> None:
        self._asked = asked
        self._stream = stream
        self._policy = policy
        self._clock = clock
        dialect = asked.dialect
        self._history = dialect.history()
        self._decoder = dialect.decoder(asked.wanted, self._history, first=True, usage=True)
        self._events = SSEDecoder()
        self._offset = ""
        self._told: EverytokenError | None = None

    def run(self) -> Generator[Effect, Result, None]:
        """Yield effects; raises `httpx2.TransportError` if the response ends incomplete."""
        failures = 0
        last_progress = self._clock()
        while True:
            result = yield Read(self._clock() + _SILENCE)
            if isinstance(result, bytes) and result:
                data = self._receive(result)
                if data:
                    yield Deliver(data)
                    failures, last_progress = 0, self._clock()
                if self._decoder.done:
                    yield Close(reusable=True)
                    yield Deliver(self._end())
                    return
                if self._told is None:
                    continue
                if not isinstance(self._told, MalformedEventError):
                    raise as_theirs(self._told, self._asked.request)
            yield Close(reusable=False)
            cause = self._told or self._cause(result)
            self._told = None
            if failures == 0:
                last_progress = self._clock()
            failures = yield from self._reconnect(failures, last_progress + _RECONNECTING, cause)
            if self._decoder.done:
                yield Deliver(self._end())
                return

    def _receive(self, data: bytes) -> bytes:
        """Take the bytes of a read; return the events for the caller. An error that they report is kept."""
        events: list[bytes] = []
        decoder = self._decoder
        try:
            for event in self._events.receive_data(data):
                chunk = decoder.read(event)
                if chunk is not None:
                    events.append(encode(event))
                if decoder.done:
                    break
                self._offset = event.id
        except EverytokenError as error:
            if isinstance(error, ErrorEventError) and tells_errors(self._asked.dialect):
                events.append(encode(event))
            self._told = _with_the_gateways_code(error)
        return b"".join(events)

    def _end(self) -> bytes:
        """Return the end of the response: its mark, or its last events, which a decoder keeps until all have come."""
        dialect = self._asked.dialect
        if dialect.end_mark or self._decoder.shown_usage:
            return dialect.end_mark
        usage = self._decoder.usage
        kept = dialect.closing(self._asked.wanted, self._history, None, usage=usage, attempts=[])
        return encoder_for(dialect)(kept)

    def _cause(self, result: Result) -> EverytokenError:
        if isinstance(result, httpx2.TimeoutException):
            error: EverytokenError = StalledError("the gateway has stopped sending", phase="gap")
            error.__cause__ = result
            return error
        if isinstance(result, httpx2.TransportError):
            return as_ours(result, begun=True)
        return TruncatedError("the gateway's connection ended before the response did")

    def _reconnect(
        self, failures: int, give_up: float, cause: EverytokenError
    ) -> Generator[Effect, Result, int]:
        """Resume the response at the offset; return the number of tries in a row.

        If nothing is left to read, `done` of the decoder is set instead.
        """
        policy = self._policy
        while True:
            pause: float = policy.backoff * 2 ** min(failures, _MAX_DOUBLINGS)
            pause = min(pause, policy.backoff_max) * (0.5 + 0.5 * random.random())  # noqa: S311
            if self._clock() + pause > give_up:
                raise as_theirs(cause, self._asked.request)
            yield Sleep(self._clock() + pause)
            failures += 1
            request = self._asked.resumption(self._stream, self._offset, policy, _SILENCE)
            result = yield Open(
                request, self._clock() + policy.connect, lambda: self._clock() + policy.first_content
            )
            if not isinstance(result, Opened):
                continue
            if result.status == 200:
                self._events = SSEDecoder()
                return failures
            yield Close(reusable=False)
            if result.status == 204:
                if not self._decoder.terminal:
                    raise as_theirs(cause, self._asked.request)
                self._decoder.done = True
                return failures
            if result.status < 500 and result.status not in policy.retry_statuses:
                lost = StatusError(
                    f"{cause.message}; resuming failed with status {result.status}"
                    + _GONE.get(result.status, ""),
                    upstream_status=result.status,
                )
                lost.__cause__ = cause
                raise as_theirs(lost, self._asked.request)


def _with_the_gateways_code(error: EverytokenError) -> EverytokenError:
    """Give an error that the gateway reports its own code: the gateway knows more about the cause."""
    told = error.error if isinstance(error, ErrorEventError) else None
    code = told.get("code") if isinstance(told, dict) else None
    if isinstance(code, str) and code in TABLE:
        error.code = code  # type: ignore[misc]  # the gateway has the same table
    return error
