"""One request that is passed on to one upstream: its body up, the answer down, neither faster than the other end takes it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from everytoken.errors import (
    RequestTooLargeError,
    ResponseTooLargeError,
    StalledError,
    StatusError,
    TruncatedError,
)
from everytoken.gateway.http import ClientGoneError, start
from everytoken.gateway.model_api import STREAM_HEADERS
from everytoken.gateway.passed_events import PassedEvents
from everytoken.gateway.server import direct_of
from everytoken.upstream.passage import Passed, Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from everytoken.errors import EverytokenError
    from everytoken.gateway.http import Request
    from everytoken.recovery import Policy
    from everytoken.upstream.exchange import Exchange

    Header = tuple[bytes, bytes]

__all__ = ["Passage"]

_FULL: Final = 256 * 1024  # bytes that wait for the caller before the upstream has to
_HEAD: Final = (
    15.0  # seconds after the upstream's head in which a failure can still become the answer's status
)
_RENAMED: Final = {b"x-request-id": b"x-upstream-request-id"}  # ours stays
_KEPT: Final = (b"content-type", b"content-disposition")
# What an upstream sends is not ours: as a page it must not be of our origin.
_OUR_OWN: Final = [(b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"sandbox")]


class Passage:
    """A sink for an answer of any kind, and what passes it on to the caller.

    `keep` chooses the headers that the caller gets besides those of the body; `marked`: an event stream ends in `[DONE]`.
    """

    def __init__(
        self,
        request: Request,
        passed: Passed,
        policy: Policy,
        *,
        name: str,
        max_response: int,
        redact: Callable[[str], str],
        keep: Callable[[Iterable[Header]], list[Header]],
        marked: bool,
    ) -> None:
        self._request = request
        self._passed = passed
        self._policy = policy
        self._name = name
        self._max_response = max_response
        self._redact = redact
        self._keep = keep
        self._marked = marked
        self._loop = asyncio.get_running_loop()
        self._exchange: Exchange | None = None
        self._wake: asyncio.Future[None] | None = None
        self._connected = self._accepted = self._ended = self._until_close = False
        self._head: tuple[int, list[Header]] = (0, [])
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._paused = False
        self._problem: BaseException | None = None
        self._sent_at: float | None = None  # when the request was on its way as a whole
        self.up = self.down = 0  # bytes of both bodies
        self.status = 0
        self.has_begun = False  # to take the caller's body, or to wait for the caller to leave

    # What the exchange reports

    def on_connected(self) -> None:
        """The request is on its way, or its head where the body follows."""
        self._connected = True
        self._notify()

    def on_head(self, status: int, headers: list[Header]) -> None:
        """Take the head; behind a redirect there is another."""
        self._head = status, headers
        if self._passed.method == "HEAD":
            # No body follows, whatever the head says of one, so the connection's parser would wait for it.
            self._accepted = self._ended = True
            self._notify()

    def on_accepted(self) -> None:
        """The upstream has responded with success."""
        protocol = None if self._exchange is None else self._exchange.protocol
        self._until_close = bool(getattr(protocol, "until_close", False))
        self._accepted = True
        self._notify()

    def on_data(self, data: bytes) -> None:
        """Keep some bytes of the body; have the upstream wait when they are many."""
        self.down += len(data)
        if self.down > self._max_response:
            self._fail(ResponseTooLargeError(f"the response is over {self._max_response} bytes"))
            return
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting >= _FULL and not self._paused and self._exchange is not None:
            self._paused = True
            self._exchange.pause()
        self._notify()

    def on_non_streaming(self, body: bytes) -> None:
        """Take a body in one piece."""
        self.on_data(body)
        self.on_eof()

    def on_eof(self) -> None:
        """The body has ended properly."""
        self._ended = True
        self._notify()

    def on_error(self, error: EverytokenError) -> None:
        """The attempt has failed."""
        self._fail(error)

    def _fail(self, problem: BaseException) -> None:
        if self._problem is None:
            self._problem = problem
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _wait(self, deadline: float) -> bool:
        """Wait for anything to be reported; return whether it was by `deadline`."""
        self._wake = self._loop.create_future()
        timer = self._loop.call_at(deadline, self._notify)
        try:
            await self._wake
        finally:
            self._wake = None
            timer.cancel()
        return self._loop.time() < deadline

    # What the gateway calls

    async def run(self, connect: Callable[[Passage], Exchange], *, max_body: int) -> None:
        """Pass the request on, and the answer back. Raises `ClientGoneError` and the error of the upstream.

        After an error the answer may have begun: see `Request.started`.
        """
        self._exchange = exchange = connect(self)
        caller: asyncio.Task[None] | None = None
        direct = direct_of(self._request)
        if direct is not None:
            # Also while the upstream takes nothing of the body, so that nobody asks for more of it.
            direct.gone = lambda: self._fail(ClientGoneError())
        try:
            if direct is not None and direct.is_gone:
                raise ClientGoneError
            await self._until(lambda: self._connected, self._policy.connect, "connect")
            self.has_begun = True
            caller = self._loop.create_task(self._serve_caller(exchange, max_body))
            await self._until(lambda: self._accepted, self._policy.non_streaming, "first-content")
            await self._answer()
        finally:
            exchange.release(reusable=self._ended and not exchange.uploads and self._passed.method != "HEAD")
            if direct is not None:
                direct.gone = None
            if caller is not None:
                caller.cancel()
                await asyncio.gather(caller, return_exceptions=True)

    async def _until(self, is_there: Callable[[], bool], seconds: float, phase: str) -> None:
        begun = self._loop.time()
        while not is_there():
            if self._problem is not None:
                raise self._problem
            if phase != "connect":
                if self._sent_at is None:  # the caller takes its time; its own limits count
                    await self._wait(self._loop.time() + seconds)
                    continue
                begun = self._sent_at
            if not await self._wait(begun + seconds) and not is_there():
                raise StalledError(f"upstream {self._name!r} did not answer in time", phase=phase)

    # The caller's side

    async def _serve_caller(self, exchange: Exchange, max_body: int) -> None:
        """Send the rest of the caller's body up, then see whether the caller leaves."""
        try:
            if self._passed.pieces:
                await self._upload(Upload(exchange, chunked=self._passed.length is None), max_body)
            self._sent_at = self._loop.time()
            self._notify()
            while (await self._request.receive())["type"] != "http.disconnect":
                pass
            self._fail(ClientGoneError())
        except Exception as problem:  # noqa: BLE001  # raised where the answer is passed on
            self._fail(problem)

    async def _upload(self, upload: Upload, max_body: int) -> None:
        data, more = self._passed.body or b"", True
        while True:
            self.up += len(data)
            if self.up > max_body:
                raise RequestTooLargeError(f"the body is over the limit of {max_body} bytes")
            try:
                async with asyncio.timeout(self._policy.thinking):
                    if not await upload.send(data):
                        return
            except TimeoutError as error:
                raise StalledError(f"upstream {self._name!r} does not take the body", phase="gap") from error
            if not more:
                upload.end()
                return
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            data, more = message.get("body", b""), message.get("more_body", False)

    async def _answer(self) -> None:
        status, headers = self._head
        if self._passed.method == "HEAD" and 300 <= status < 400:
            raise StatusError(f"the upstream answered with status {status}", upstream_status=status)
        named = dict(headers)
        media = named.get(b"content-type", b"").partition(b";")[0].strip().lower()
        events = None
        if media == b"text/event-stream" and self._passed.method != "HEAD":
            events = PassedEvents(self._redact, marked=self._marked)
        head = _shown(headers, self._keep, self._redact, self._request.id)
        head += STREAM_HEADERS if events is not None else _length(status, named)
        silent = self._loop.time()
        begins = silent + _HEAD
        tail = b""
        while True:
            problem = self._problem
            if problem is not None and not (self._request.started and self._pieces):
                raise problem
            data, ended = self._take(), self._ended
            if data:
                silent, tail = self._loop.time(), data[-64:]
            if data and events is not None:
                data = events.feed(data)
            if ended:
                data += self._end_of(events, media, tail)
            if not self._request.started and (data or ended or self._loop.time() >= begins):
                self.status = status
                await start(self._request, status, head)
            if data:
                await self._request.emit({"type": "http.response.body", "body": data, "more_body": True})
            if ended:
                await self._request.emit({"type": "http.response.body", "body": b""})
                return
            if not (self._pieces or self._ended or self._problem):
                limit = silent + self._policy.thinking
                if self._loop.time() >= limit:
                    raise StalledError(f"upstream {self._name!r} has stopped sending", phase="gap")
                await self._wait(limit if self._request.started else min(limit, begins))

    def _take(self) -> bytes:
        data, self._waiting = b"".join(self._pieces), 0
        self._pieces.clear()
        if self._paused and self._exchange is not None:
            self._paused = False
            self._exchange.resume()
        return data

    def _end_of(self, events: PassedEvents | None, media: bytes, tail: bytes) -> bytes:
        """Return what is left at the end of the bytes. Raises `TruncatedError` if it cannot be the end of the body."""
        if events is not None:
            return events.end(until_close=self._until_close)
        is_json = media == b"application/json" or media.endswith(b"+json")
        if self._until_close and is_json and not tail.rstrip().endswith((b"}", b"]")):
            raise TruncatedError("the connection broke in the middle of the response")
        return b""


def _shown(
    headers: list[Header],
    keep: Callable[[Iterable[Header]], list[Header]],
    redact: Callable[[str], str],
    own_id: str,
) -> list[Header]:
    """Return what is shown of a success: what describes the body, and what is passed down; `own_id` is the request's."""
    named = dict(headers)
    head: list[Header] = [(name, named[name]) for name in _KEPT if name in named]
    same = (b"x-upstream-request-id", own_id.encode())
    for name, value in keep(headers):
        line = _RENAMED.get(name, name), redact(value.decode("latin-1")).encode("latin-1", "replace")
        if line != same:
            head.append(line)
    return [*head, *_OUR_OWN]


def _length(status: int, named: dict[bytes, bytes]) -> list[Header]:
    """Return the length of a body that is passed on as it is, if it is known."""
    length = named.get(b"content-length", b"").strip()
    whole = named.get(b"content-encoding", b"identity").strip().lower() == b"identity"
    return [(b"content-length", length)] if length.isdigit() and whole and status != 204 else []
