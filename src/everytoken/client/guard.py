"""Streams of Anthropic's Messages and OpenAI's Responses that are watched but not recovered.

These are the responses to requests that we do not understand, and those that run in the background. Their
SDKs take any end of the body for the end of the response. The bytes are passed to the caller as they arrive; the guard
checks that they contain the response's own end mark, and when they last had content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2
import msgspec

from everytoken.client.effects import Deliver, Head, Open, Opened, Read
from everytoken.client.failures import CALLERS_FAULT, as_ours, as_theirs
from everytoken.errors import EventTooLargeError, EverytokenError, StalledError, TruncatedError
from everytoken.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from everytoken.client.effects import Effect, Result
    from everytoken.recovery import Policy
    from everytoken.sse import ServerSentEvent

__all__ = ["Ending", "Guard"]

# How the path ends, and which events end the response. An error is an end: the SDKs report it.
_MARKS = {
    "/messages": ("message_stop", "error"),
    "/responses": ("response.completed", "response.failed", "response.incomplete", "error"),
}
# Anthropic's proxies ping too. The `keepalive` of Responses has a sequence number: it is sent by the model server, not by
# a proxy.
_NO_CONTENT = "ping"
_FOREVER = 365 * 86_400.0  # seconds: a socket does not accept infinity


class _Asked(msgspec.Struct):
    stream: bool = False


class _Typed(msgspec.Struct):
    type: str


class Ending:
    """Tells from the bytes of a response whether it is `complete`. Does no I/O and has no clock."""

    def __init__(self, marks: tuple[str, ...]) -> None:
        self.complete = False
        self._marks = marks
        self._decoder = SSEDecoder()

    @classmethod
    def of(cls, path: str) -> Ending | None:
        """Return the ending of responses at `path`, None if it is not known."""
        return next((cls(marks) for end, marks in _MARKS.items() if path.endswith(end)), None)

    def receive_data(self, data: bytes) -> bool:
        """Take the bytes of a read; return whether they had content: an event other than a ping.

        Raises `EventTooLargeError`.
        """
        if self.complete:
            return False
        names = [_name(event) for event in self._decoder.receive_data(data)]
        self.complete = any(name in self._marks for name in names)
        return any(name != _NO_CONTENT for name in names)

    def receive_eof(self) -> None:
        """Note the end of the bytes; raises `TruncatedError` if the response is not complete."""
        if not self.complete:
            raise TruncatedError(f"the stream ended without {self._marks[0]}")


class Guard:
    """Watches the response to one request: a driver like `Driver`, with one attempt."""

    def __init__(
        self, request: httpx2.Request, ending: Ending, policy: Policy, clock: Callable[[], float]
    ) -> None:
        self._request = request
        self._ending = ending
        # No later attempt follows a stall, and a model may be silent for minutes: so the caller's own limits apply.
        limits = request.extensions.get("timeout", {})
        self._connect = _seconds(limits.get("connect"))
        self._silence = _seconds(limits.get("read"))
        self._linger = policy.linger
        self._clock = clock
        self._phase = "connect"
        self._deadline = clock() + self._connect

    @classmethod
    def over(cls, request: httpx2.Request, policy: Policy, clock: Callable[[], float]) -> Guard | None:
        """Return a guard for the response to `request`, None unless it is a stream with a known end."""
        ending = Ending.of(request.url.path) if request.method == "POST" else None
        if ending is None:
            return None
        try:
            body = request.content
            asked = b'"stream"' in body and msgspec.json.decode(body, type=_Asked).stream
        except (httpx2.RequestNotRead, msgspec.DecodeError, RecursionError):
            return None  # for the server to judge
        return cls(request, ending, policy, clock) if asked else None

    def run(self) -> Generator[Effect, Result, None]:
        """Yield effects; without a `Head`, the response is passed on as it is.

        Raises `httpx2.TransportError` if the response ends incomplete.
        """
        self._request.headers["accept-encoding"] = (
            "identity"  # compression delays tokens, and hides them from us
        )
        opened = yield Open(self._request, self._deadline, self._sent)
        if not isinstance(opened, Opened):
            raise self._failure(opened, begun=False)
        if self._phase == "connect":
            self._sent()  # where the network is not watched, nothing has called it yet
        if not _is_plain_event_stream(opened):
            return
        yield Head(opened.status, opened.headers, opened.extensions)
        while data := self._received((yield Read(self._deadline))):
            before = self._clock()
            yield Deliver(data)
            self._deadline += self._clock() - before  # the server is not charged for the caller's time

    def _sent(self) -> float:
        self._await("first-content", self._silence)
        return self._deadline

    def _await(self, phase: str, seconds: float) -> None:
        self._phase = phase
        self._deadline = self._clock() + seconds

    def _received(self, result: Result) -> bytes:
        """Return the bytes for the caller, b"" at the end."""
        if not isinstance(result, bytes):
            if self._ending.complete:
                return b""  # the response is complete: a break does no harm now
            raise self._failure(result, begun=True)
        try:
            if not result:
                self._ending.receive_eof()
            elif self._ending.receive_data(result):
                self._await("gap", self._linger if self._ending.complete else self._silence)
            elif self._clock() >= self._deadline:  # pings may have kept the connection busy
                if self._ending.complete:
                    return b""
                raise self._stalled()
        except (TruncatedError, StalledError, EventTooLargeError) as error:
            raise as_theirs(error, self._request) from error
        return result

    def _failure(self, error: httpx2.TransportError, *, begun: bool) -> httpx2.TransportError:
        """Return what to raise for the HTTP client's `error`."""
        if isinstance(error, CALLERS_FAULT):
            return error
        ours: EverytokenError
        if isinstance(error, httpx2.TimeoutException):
            ours = self._stalled()
            ours.__cause__ = error
        else:
            ours = as_ours(error, begun=begun)
        return as_theirs(ours, self._request)

    def _stalled(self) -> StalledError:
        what = "connection" if self._phase == "connect" else "content"
        return StalledError(f"no {what} within the limit", phase=self._phase)


def _seconds(limit: Any) -> float:
    """Return a time-out of httpx2 in seconds; its None means no limit."""
    return _FOREVER if limit is None else float(limit)


def _name(event: ServerSentEvent) -> str:
    """Return the kind of an event: its name, or without one the `type` in its data."""
    if event.event != "message":
        return event.event
    try:
        return msgspec.json.decode(event.data, type=_Typed).type
    except (msgspec.DecodeError, RecursionError):
        return event.event


def _is_plain_event_stream(opened: Opened) -> bool:
    named = dict(opened.headers)
    media = named.get(b"content-type", b"").partition(b";")[0].strip().lower()
    packed = named.get(b"content-encoding", b"identity").strip().lower()
    return opened.status == 200 and media == b"text/event-stream" and packed in {b"", b"identity"}
