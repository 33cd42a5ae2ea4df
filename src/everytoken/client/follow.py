"""Follow a response that everytoken keeps: whole events only, and after a break from the last offset on.

The gateway watches the model and recovers, so nothing of that is done here. It sends a keep-alive every 15 seconds; when
not even that comes, the connection is dead.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import httpx2

from everytoken.client.effects import Close, Deliver, Open, Opened, Read, Sleep
from everytoken.client.failures import as_ours, as_theirs
from everytoken.dialects.openai_chat import ChatDecoder
from everytoken.errors import (
    TABLE,
    ErrorEventError,
    EverytokenError,
    MalformedEventError,
    StalledError,
    StatusError,
    TruncatedError,
)
from everytoken.formats.openai import DONE
from everytoken.sse import SSEDecoder, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from everytoken.client.asked import Asked
    from everytoken.client.effects import Effect, Result
    from everytoken.recovery import Policy

__all__ = ["Follower"]

_SILENCE = 45.0  # seconds without a byte: three keep-alives
_RECONNECTING = (
    30.0  # seconds from a break until we give up: a restart, and half of the gateway's grace period
)
_MAX_DOUBLINGS = 16
_GONE = {404: ": it does not know this response", 410: ": it no longer keeps this response"}


class Follower:
    """Reads the response at `stream`, whose first connection is open already."""

    def __init__(self, asked: Asked, stream: httpx2.URL, policy: Policy, clock: Callable[[], float]) -> None:
        self._asked = asked
        self._stream = stream
        self._policy = policy
        self._clock = clock
        self._chat = ChatDecoder(choices=asked.chat.choices)
        self._events = SSEDecoder()
        self._offset = ""
        self._told: EverytokenError | None = None

    def run(self) -> Generator[Effect, Result, None]:
        """Yield what is to be done; raises `httpx2.TransportError` when the response ends without being whole."""
        failures = 0
        last_progress = self._clock()
        while True:
            result = yield Read(self._clock() + _SILENCE)
            if isinstance(result, bytes) and result:
                data = self._receive(result)
                if data:
                    yield Deliver(data)
                    failures, last_progress = 0, self._clock()
                if self._chat.done:
                    yield Close(reusable=True)
                    yield Deliver(DONE)
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
            if self._chat.done:
                yield Deliver(DONE)
                return

    def _receive(self, data: bytes) -> bytes:
        """Take the bytes of a read; return the events that are for the caller. What they tell of an error is kept."""
        events: list[bytes] = []
        chat = self._chat
        try:
            for event in self._events.receive_data(data):
                chunk = chat.receive_event(event)
                if chat.done:
                    break
                if chunk is not None:
                    events.append(encode(event))
                self._offset = event.id
        except EverytokenError as error:
            self._told = _with_the_gateways_code(error)
        return b"".join(events)

    def _cause(self, result: Result) -> EverytokenError:
        if isinstance(result, httpx2.TimeoutException):
            error: EverytokenError = StalledError("the gateway has fallen silent", phase="gap")
            error.__cause__ = result
            return error
        if isinstance(result, httpx2.TransportError):
            return as_ours(result, begun=True)
        return TruncatedError("the gateway's answer ended before the response")

    def _reconnect(
        self, failures: int, give_up: float, cause: EverytokenError
    ) -> Generator[Effect, Result, int]:
        """Open the response again at the offset; return how many times in a row that has been tried now.

        When all of it has come, there is nothing to open, and `chat.done` is set.
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
                if not self._chat.terminal:
                    raise as_theirs(cause, self._asked.request)
                self._chat.done = True
                return failures
            if result.status < 500 and result.status not in policy.retry_statuses:
                lost = StatusError(
                    f"{cause.message}; the gateway answers {result.status} when asked to go on"
                    + _GONE.get(result.status, ""),
                    upstream_status=result.status,
                )
                lost.__cause__ = cause
                raise as_theirs(lost, self._asked.request)


def _with_the_gateways_code(error: EverytokenError) -> EverytokenError:
    """Give an error that the gateway has told us its own code: it knows better what has happened, and who stopped what."""
    told = error.error if isinstance(error, ErrorEventError) else None
    code = told.get("code") if isinstance(told, dict) else None
    if isinstance(code, str) and code in TABLE:
        error.code = code  # type: ignore[misc]  # it is everytoken that we follow: the same table
    return error
