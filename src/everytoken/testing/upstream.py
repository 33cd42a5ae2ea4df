"""A model server that follows a script, down to the bytes and the TCP flags.

It runs in the event loop of the test (`async with`) or in a thread of its own (`with`), always on a loopback port.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from everytoken.testing.address import BrokenAddress
from everytoken.testing.answer import Answer
from everytoken.testing.connection import Connection, ReceivedRequest
from everytoken.testing.fault import Fault
from everytoken.testing.faults import find_fault
from everytoken.testing.messages import count_tokens, plan_message
from everytoken.testing.plan import Position, plan_answer, to_json
from everytoken.testing.responses import plan_response
from everytoken.testing.steps import Status, Step

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["FaultRule", "ReceivedRequest", "ScriptedUpstream"]

Script: TypeAlias = Sequence[Step]
FaultRule: TypeAlias = tuple[int | Literal["always"], Fault | str, Position]
"""Which attempt (from 0, or `"always"`), which fault (or its name), and where in the answer."""

APIS = {
    "chat": ("/chat/completions", plan_answer),
    "messages": ("/messages", plan_message),
    "responses": ("/responses", plan_response),
}
"""The APIs by name: the end of the path of an attempt, and what renders an answer there."""

_BACKLOG = 4096  # a thousand clients may connect at the same moment


class ScriptedUpstream:
    """A model server that follows a script and breaks where a fault says.

    `answer` is an `Answer`, its text, a script (steps, the same for every attempt), or a function from the request to a
    script. `faults` says what breaks: `[(0, "reset", "middle")]` breaks the first attempt in the middle of the answer
    and leaves the others healthy. An attempt is a `POST` to a path that ends with `/chat/completions`, with `/messages` for
    the same answer in Anthropic's Messages, or with `/responses` for that in OpenAI's Responses; everything else is not
    counted.

    `apis` are the APIs that it offers, `chat`, `messages` and `responses`; the paths of others are unknown to it.

    `sleep` is called for waits, with seconds; the default is `asyncio.sleep`, which follows a virtual-time loop.
    """

    def __init__(
        self,
        answer: Answer | str | Script | Callable[[ReceivedRequest], Script] = Answer(),  # noqa: B008  # frozen
        *,
        faults: Sequence[FaultRule] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        apis: Collection[str] = tuple(APIS),
    ) -> None:
        self._plans = dict(APIS[name] for name in apis)
        self._rules = [(when, find_fault(fault), position) for when, fault, position in faults]
        self._script = None if isinstance(answer, Answer | str) else answer
        self.answer = (
            Answer(answer) if isinstance(answer, str) else answer if isinstance(answer, Answer) else Answer()
        )
        for _, fault, position in self._rules:
            self.answer = fault.rewrite(self.answer, position) if fault.rewrite else self.answer
        self.host = host
        self.port = port
        self.sleep = sleep
        self.requests: list[ReceivedRequest] = []
        """Every request, in order of arrival."""
        self.open_connections: set[Connection] = set()
        self.connection_count = 0
        """Connections accepted so far."""
        self._attempts = 0
        self._variants: dict[tuple[str, Any], int] = {}
        self._failures: list[BaseException] = []
        self._arrived = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()
        self._broken_address: BrokenAddress | None = None
        self._thread: _Thread | None = None

    @property
    def text(self) -> str:
        """The complete text of the healthy answer."""
        return self.answer.text

    @property
    def attempts(self) -> list[ReceivedRequest]:
        """The requests that were attempts."""
        return [request for request in self.requests if request.attempt is not None]

    @property
    def healthy_url(self) -> str:
        """The base URL of the server itself, without any fault of the address."""
        return f"http://{self.host}:{self.port}/v1"

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The base URLs to configure, in order.

        Usually one. A fault of the address (refused, DNS, TLS) on only the first attempt gives two: the broken one, then the
        healthy one to fail over to.
        """
        if self._broken_address is None:
            return (self.healthy_url,)
        always = any(when == "always" and fault.address for when, fault, _ in self._rules)
        return (
            (self._broken_address.base_url,) if always else (self._broken_address.base_url, self.healthy_url)
        )

    @property
    def base_url(self) -> str:
        """The first of `base_urls`."""
        return self.base_urls[0]

    async def wait_for_attempt(self, count: int = 1) -> ReceivedRequest:
        """Wait until `count` attempts have arrived and return the last of those."""
        while len(self.attempts) < count:
            self._arrived.clear()
            await self._arrived.wait()
        return self.attempts[count - 1]

    def script_for(self, request: ReceivedRequest) -> Script:
        """Record `request` and return the steps that answer it."""
        self.requests.append(request)
        path = request.path.partition("?")[0]
        if request.method == "POST" and path.endswith(tuple(self._plans)):
            request.attempt = self._attempts
            self._attempts += 1
            self._arrived.set()
            return self._attempt(request)
        counts = "/messages" in self._plans and path.endswith("/messages/count_tokens")
        if request.method == "POST" and counts:
            body = request.json if isinstance(request.json, dict) else {}
            return [Status(200, body=to_json(count_tokens(body)).encode())]
        if request.method == "GET" and path.endswith("/models"):
            model = {"id": self.answer.model, "object": "model", "created": 0, "owned_by": "everytoken"}
            return [Status(200, body=to_json({"object": "list", "data": [model]}).encode())]
        return [Status(404, body=b'{"error":{"message":"no such path","type":"invalid_request_error"}}')]

    def _attempt(self, request: ReceivedRequest) -> Script:
        if self._script is not None:
            return self._script(request) if callable(self._script) else self._script
        if not isinstance(request.json, dict):
            return [
                Status(400, body=b'{"error":{"message":"not a JSON object","type":"invalid_request_error"}}')
            ]
        assert request.attempt is not None
        answer = self.answer.variant(self._variant(request.attempt, request.json))
        request.text = answer.text
        path = request.path.partition("?")[0]
        render = next(render for end, render in self._plans.items() if path.endswith(end))
        plan = render(answer, request.json, number=request.attempt, now=time.time())
        if isinstance(plan, Status):
            return [plan]
        for when, fault, position in self._rules:
            if when in (request.attempt, "always") and fault.applies(streamed=plan.streamed):
                request.fault = fault.name
                if not plan.streamed:
                    plan = replace(plan, head=replace(plan.head, framing="chunked"))
                return fault.build(plan, position)
        return plan.whole()

    def _variant(self, attempt: int, body: dict[str, Any]) -> int:
        if self.answer.needs_seed:
            seed = body.get("seed")
            key = ("no seed", attempt) if seed is None else ("seed", seed)
            return self._variants.setdefault(key, len(self._variants))
        return 0 if self.answer.deterministic else attempt

    def connected(self, connection: Connection) -> None:
        """Record a new connection; called by the connection."""
        self.connection_count += 1
        self.open_connections.add(connection)
        self._tasks.add(connection.task)
        connection.task.add_done_callback(self._ended)

    def disconnected(self, connection: Connection) -> None:
        """Forget a lost connection; called by the connection."""
        self.open_connections.discard(connection)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failures.append(failure)

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self), self.host, self.port, backlog=_BACKLOG)
        self._stack.push_async_callback(self._close, server)
        self.port = server.sockets[0].getsockname()[1]
        for _, fault, _ in self._rules:
            if fault.address is not None and self._broken_address is None:
                self._broken_address = await self._stack.enter_async_context(
                    BrokenAddress(fault.address, self.host)
                )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if error is None and self._failures:
            raise self._failures[0]

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        for connection in tuple(self.open_connections):
            connection.abort()
        await server.wait_closed()

    def __enter__(self) -> Self:
        self._thread = _Thread(self)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._thread is not None
        self._thread.stop()


class _Thread:
    """An event loop in a thread of its own, for callers without one."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self._upstream = upstream
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scripted-upstream", daemon=True)
        self._failure: BaseException | None = None

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that asked
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        async with self._upstream:
            self._ready.set()
            await self._stop.wait()
