# Made from aio.py by tools/unasync.py; edit that one, then run: make unasync
"""`Client`: carries out a driver's effects with blocking calls."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx2

from everytoken.client.asked import ELSEWHERE
from everytoken.client.effects import Close, Deliver, Head, Open, Read, Sleep
from everytoken.client.heads import opened
from everytoken.client.shared import Shared
from everytoken.client.watch import WATCH, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from typing import Unpack

    from everytoken.client.effects import Effect, Result
    from everytoken.client.guard import Guard
    from everytoken.client.options import Options
    from everytoken.client.shared import Prefill
    from everytoken.client.upstream import Upstream
    from everytoken.recovery import Policy

__all__ = ["Client"]

_DRAIN = 0.01  # seconds to read the rest of a body after [DONE], so that its connection can be reused
_clock = time.monotonic


class Client(httpx2.Client):
    """An `httpx2.Client` whose streamed responses arrive complete, or raise.

    It takes the arguments of `httpx2.Client`, and the `policy` for recovering responses: streams (`POST` with
    `"stream": true`) of chat completions (to a path that ends in `/chat/completions`), of Anthropic's Messages (`/messages`)
    and of OpenAI's Responses (`/responses`). They follow the policy, not `timeout`. Where such a request cannot be sent
    twice, no later attempt is made: its stream keeps to `timeout`, in which pings do not count, and raises if it ends
    early. Everything else is passed through untouched.

    `prefill` says whether the upstream continues an assistant message that comes last ("yes", "no", or "auto": only once it
    has shown so). `upstreams` are asked, in this order, where the one of the request fails.
    """

    def __init__(
        self,
        *,
        policy: Policy | None = None,
        prefill: Prefill = "auto",
        upstreams: Sequence[Upstream] = (),
        **options: Unpack[Options],
    ) -> None:
        """`options` are those of `httpx2.Client`; the others are explained above."""
        super().__init__(**options)
        # Imports httpcore2, which is slow; by now httpx2 has imported it.
        from everytoken.client.network import watch_network  # noqa: PLC0415

        watch_network(self)
        self._shared = Shared(policy, prefill=prefill, upstreams=upstreams)

    def __del__(self) -> None:
        # Like the SDKs' own clients: most programs never close theirs.
        with suppress(Exception):
            self.close()

    def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: Any = httpx2.USE_CLIENT_DEFAULT,
        follow_redirects: Any = httpx2.USE_CLIENT_DEFAULT,
    ) -> httpx2.Response:
        """Send a request.

        Raises `httpx2.TransportError`, with an `EverytokenError` as its cause if recovery has given up. Reading the
        response raises the same.
        """
        asked = self._shared.asked(request)
        if asked is None:
            guard = self._shared.guard(request, _clock)
            if guard is not None:
                return self._send_guarded(guard, stream=stream, auth=auth, follow_redirects=follow_redirects)
            return super().send(request, stream=stream, auth=auth, follow_redirects=follow_redirects)

        def send(attempt: httpx2.Request) -> httpx2.Response:
            # A redirect could send our caller's credentials elsewhere.
            return super(Client, self).send(
                attempt,
                stream=True,
                auth=None if attempt.extensions.get(ELSEWHERE) else auth,
                follow_redirects=False,
            )

        body = _Body(self._shared.driver(asked, _clock).run(), send)
        try:
            head = body.begin()
        except httpx2.TransportError as error:
            self._shared.failed(asked, error)
            raise
        response = body.response(request, head)
        if not stream:
            response.read()
        return response

    def _send_guarded(
        self, guard: Guard, *, stream: bool, auth: Any, follow_redirects: Any
    ) -> httpx2.Response:
        def send(request: httpx2.Request) -> httpx2.Response:
            return super(Client, self).send(
                request, stream=True, auth=auth, follow_redirects=follow_redirects
            )

        response = _Body(guard.run(), send).passed_on()
        if not stream:
            response.read()
        return response


class _Body(httpx2.SyncByteStream):
    """The body of a response, as the driver produces it."""

    def __init__(
        self,
        steps: Generator[Effect, Result, None],
        send: Callable[[httpx2.Request], httpx2.Response],
    ) -> None:
        self._steps = steps
        self._send = send
        self._started = _clock()
        self._response: httpx2.Response | None = None
        self._attempt: httpx2.Response | httpx2.SyncByteStream | None = None
        self._reads: Iterator[bytes] | None = None
        self._watch: Watch | None = None
        self._closed = False

    def begin(self) -> Head:
        """Return the head of the response."""
        head = self._next()
        assert isinstance(head, Head)
        return head

    def response(self, request: httpx2.Request, head: Head) -> httpx2.Response:
        """Return the response with this body."""
        self._response = httpx2.Response(
            head.status, headers=head.headers, stream=self, request=request, extensions=head.extensions
        )
        return self._response

    def passed_on(self) -> httpx2.Response:
        """Return the attempt's own response; its bytes pass through here if the driver wants to see them."""
        watched = self._next() is not None
        response, self._attempt = self._attempt, None
        assert isinstance(response, httpx2.Response)
        if watched and response.is_stream_consumed:  # by a hook or a mock: check it now
            for _ in self:
                pass
        elif watched:
            stream = response.stream
            assert isinstance(stream, httpx2.SyncByteStream)
            self._reads = (data for data in stream if data)
            self._attempt, response.stream, self._response = stream, self, response
        return response

    def __iter__(self) -> Iterator[bytes]:
        while (given := self._next()) is not None:
            assert isinstance(given, Deliver)
            yield given.data

    def close(self) -> None:
        """Close the connection at once."""
        self._closed = True
        self._steps.close()
        self._close(reusable=False)
        if self._response is not None:
            self._response.elapsed = timedelta(seconds=_clock() - self._started)

    def _next(self) -> Head | Deliver | None:
        """Carry out effects until there is something for the caller."""
        result: Result = None
        try:
            while True:
                effect = self._steps.send(result)
                if isinstance(effect, (Head, Deliver)):
                    return effect
                result = self._perform(effect)
        except StopIteration:
            if self._closed:  # closed by another thread: the response has not ended
                raise httpx2.StreamClosed from None
            return None
        except BaseException:
            self.close()
            raise

    def _perform(self, effect: Effect) -> Result:
        if isinstance(effect, Read):
            return self._read(effect.deadline)
        if isinstance(effect, Open):
            return self._open(effect)
        if isinstance(effect, Close):
            return self._close(reusable=effect.reusable)
        assert isinstance(effect, Sleep)
        return time.sleep(max(0.0, effect.until - _clock()))

    def _open(self, effect: Open) -> Result:
        self._watch = Watch(_clock, effect.deadline, effect.sent)
        token = WATCH.set(self._watch)
        try:
            self._attempt = response = self._send(effect.request)
        except httpx2.TransportError as error:
            return error
        finally:
            WATCH.reset(token)
        consumed = response.is_stream_consumed
        self._reads = _once(response.content) if consumed else response.iter_raw()
        return opened(response)

    def _read(self, deadline: float) -> Result:
        assert self._watch is not None
        assert self._reads is not None
        self._watch.deadline = deadline
        token = WATCH.set(self._watch)
        try:
            return next(self._reads, b"")
        except httpx2.TransportError as error:
            return error
        finally:
            WATCH.reset(token)

    def _close(self, *, reusable: bool) -> None:
        response, self._attempt = self._attempt, None
        if response is None:
            return
        if reusable:
            end = _clock() + _DRAIN
            while isinstance(data := self._read(end), bytes) and data and _clock() < end:
                pass
        with suppress(httpx2.TransportError):
            response.close()


def _once(body: bytes) -> Iterator[bytes]:
    """Yield the body of a response that has been read already."""
    yield body
