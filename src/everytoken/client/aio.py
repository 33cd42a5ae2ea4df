"""`AsyncClient`: carries out a driver's effects in an event loop."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import httpx2

from everytoken.client.asked import ELSEWHERE
from everytoken.client.effects import Close, Deliver, Head, Open, Read, Sleep
from everytoken.client.heads import opened
from everytoken.client.shared import Shared
from everytoken.client.watch import WATCH, Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
    from typing import Unpack

    from everytoken.client.effects import Effect, Result
    from everytoken.client.guard import Guard
    from everytoken.client.options import AsyncOptions
    from everytoken.client.shared import Prefill
    from everytoken.client.upstream import Upstream
    from everytoken.recovery import Policy

__all__ = ["AsyncClient"]

_DRAIN = 0.01  # seconds to read the rest of a body after [DONE], so that its connection can be reused
_clock = anyio.current_time


class AsyncClient(httpx2.AsyncClient):
    """An `httpx2.AsyncClient` whose streamed responses arrive complete, or raise.

    It takes the arguments of `httpx2.AsyncClient`, and the `policy` for recovering responses: streams (`POST` with
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
        **options: Unpack[AsyncOptions],
    ) -> None:
        """`options` are those of `httpx2.AsyncClient`; the others are explained above."""
        super().__init__(**options)
        # Imports httpcore2, which is slow; by now httpx2 has imported it.
        from everytoken.client.network import watch_network  # noqa: PLC0415

        watch_network(self)
        self._shared = Shared(policy, prefill=prefill, upstreams=upstreams)

    async def send(
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
                return await self._send_guarded(
                    guard, stream=stream, auth=auth, follow_redirects=follow_redirects
                )
            return await super().send(request, stream=stream, auth=auth, follow_redirects=follow_redirects)

        async def send(attempt: httpx2.Request) -> httpx2.Response:
            # A redirect could send our caller's credentials elsewhere.
            return await super(AsyncClient, self).send(
                attempt,
                stream=True,
                auth=None if attempt.extensions.get(ELSEWHERE) else auth,
                follow_redirects=False,
            )

        body = _Body(self._shared.driver(asked, _clock).run(), send)
        try:
            head = await body.begin()
        except httpx2.TransportError as error:
            self._shared.failed(asked, error)
            raise
        response = body.response(request, head)
        if not stream:
            await response.aread()
        return response

    async def _send_guarded(
        self, guard: Guard, *, stream: bool, auth: Any, follow_redirects: Any
    ) -> httpx2.Response:
        async def send(request: httpx2.Request) -> httpx2.Response:
            return await super(AsyncClient, self).send(
                request, stream=True, auth=auth, follow_redirects=follow_redirects
            )

        response = await _Body(guard.run(), send).passed_on()
        if not stream:
            await response.aread()
        return response


class _Body(httpx2.AsyncByteStream):
    """The body of a response, as the driver produces it."""

    def __init__(
        self,
        steps: Generator[Effect, Result, None],
        send: Callable[[httpx2.Request], Awaitable[httpx2.Response]],
    ) -> None:
        self._steps = steps
        self._send = send
        self._started = _clock()
        self._response: httpx2.Response | None = None
        self._attempt: httpx2.Response | httpx2.AsyncByteStream | None = None
        self._reads: AsyncIterator[bytes] | None = None
        self._watch: Watch | None = None
        self._closed = False

    async def begin(self) -> Head:
        """Return the head of the response."""
        head = await self._next()
        assert isinstance(head, Head)
        return head

    def response(self, request: httpx2.Request, head: Head) -> httpx2.Response:
        """Return the response with this body."""
        self._response = httpx2.Response(
            head.status, headers=head.headers, stream=self, request=request, extensions=head.extensions
        )
        return self._response

    async def passed_on(self) -> httpx2.Response:
        """Return the attempt's own response; its bytes pass through here if the driver wants to see them."""
        watched = await self._next() is not None
        response, self._attempt = self._attempt, None
        assert isinstance(response, httpx2.Response)
        if watched and response.is_stream_consumed:  # by a hook or a mock: check it now
            async for _ in self:
                pass
        elif watched:
            stream = response.stream
            assert isinstance(stream, httpx2.AsyncByteStream)
            self._reads = (data async for data in stream if data)
            self._attempt, response.stream, self._response = stream, self, response
        return response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (given := await self._next()) is not None:
            assert isinstance(given, Deliver)
            yield given.data

    async def aclose(self) -> None:
        """Close the connection at once."""
        self._closed = True
        self._steps.close()
        await self._close(reusable=False)
        if self._response is not None:
            self._response.elapsed = timedelta(seconds=_clock() - self._started)

    async def _next(self) -> Head | Deliver | None:
        """Carry out effects until there is something for the caller."""
        result: Result = None
        try:
            while True:
                effect = self._steps.send(result)
                if isinstance(effect, (Head, Deliver)):
                    return effect
                result = await self._perform(effect)
        except StopIteration:
            if self._closed:  # closed by another task: the response has not ended
                raise httpx2.StreamClosed from None
            return None
        except GeneratorExit:
            raise  # the coroutine is being discarded: nothing can be awaited
        except BaseException:
            # A cancelled task closes its connection before it ends.
            with anyio.CancelScope(shield=True):
                await self.aclose()
            raise

    async def _perform(self, effect: Effect) -> Result:
        if isinstance(effect, Read):
            return await self._read(effect.deadline)
        if isinstance(effect, Open):
            return await self._open(effect)
        if isinstance(effect, Close):
            return await self._close(reusable=effect.reusable)
        assert isinstance(effect, Sleep)
        return await anyio.sleep(max(0.0, effect.until - _clock()))

    async def _open(self, effect: Open) -> Result:
        self._watch = Watch(_clock, effect.deadline, effect.sent)
        token = WATCH.set(self._watch)
        try:
            self._attempt = response = await self._send(effect.request)
        except httpx2.TransportError as error:
            return error
        finally:
            WATCH.reset(token)
        consumed = response.is_stream_consumed
        self._reads = _once(response.content) if consumed else response.aiter_raw()
        return opened(response)

    async def _read(self, deadline: float) -> Result:
        assert self._watch is not None
        assert self._reads is not None
        self._watch.deadline = deadline
        token = WATCH.set(self._watch)
        try:
            return await anext(self._reads, b"")
        except httpx2.TransportError as error:
            return error
        finally:
            WATCH.reset(token)

    async def _close(self, *, reusable: bool) -> None:
        response, self._attempt = self._attempt, None
        if response is None:
            return
        if reusable:
            end = _clock() + _DRAIN
            while isinstance(data := await self._read(end), bytes) and data and _clock() < end:
                pass
        with suppress(httpx2.TransportError):
            await response.aclose()


async def _once(body: bytes) -> AsyncIterator[bytes]:
    """Yield the body of a response that has been read already."""
    yield body
