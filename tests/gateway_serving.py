"""A gateway on a loopback port in the test's own loop, an upstream moved by hand, and a client that sees every byte."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uvicorn

from everytoken.gateway import Config, Gateway, UpstreamConfig
from everytoken.gateway.making import configured_upstream
from everytoken.gateway.server import DirectProtocol
from everytoken.gateway.tls import TlsServer
from everytoken.testing import ScriptedUpstream, VirtualTimeLoop

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from everytoken.journal import Journal

HELLO = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}


def event(content: str = "", *, finish: str | None = None, **more: Any) -> bytes:
    """Return one chunk as an event."""
    choice = {"index": 0, "delta": {"content": content} if content else {}, "finish_reason": finish}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps({**chunk, **more}, ensure_ascii=False).encode()


def limit() -> asyncio.Timeout:
    """Return a limit for what must happen: a test that waits for ever says where."""
    return asyncio.timeout(2000 if isinstance(asyncio.get_running_loop(), VirtualTimeLoop) else 10)


FINISH = event(finish="stop") + b"data: [DONE]\n\n"


class ManualAttempt:
    """One attempt at the manual upstream."""

    def __init__(self, body: dict[str, Any], sink: Any) -> None:
        self.body = body
        self.sink = sink
        self.released = asyncio.Event()

    def accept(self) -> None:
        self.sink.on_connected()
        self.sink.on_accepted()

    def send(self, *contents: str) -> None:
        for content in contents:
            self.sink.on_data(event(content))

    def finish(self) -> None:
        self.sink.on_data(FINISH)

    def release(self, *, reusable: bool) -> None:
        self.released.set()

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass


class ManualUpstream:
    """An upstream without a network: the test says what it does."""

    name = "manual"

    def __init__(self) -> None:
        self.attempts: list[ManualAttempt] = []
        self._arrived = asyncio.Event()

    def connect(self, body: dict[str, Any], sink: Any, *, streamed: bool, path: str = "") -> ManualAttempt:
        attempt = ManualAttempt(body, sink)
        self.attempts.append(attempt)
        self._arrived.set()
        return attempt

    async def attempt(self, number: int = 0) -> ManualAttempt:
        async with limit():
            while len(self.attempts) <= number:
                self._arrived.clear()
                await self._arrived.wait()
        return self.attempts[number]

    def redact(self, text: str) -> str:
        return text

    async def models(self) -> list[dict[str, Any]]:
        return []

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass


@dataclass
class Answer:
    """An answer as it came: `frames` are the HTTP chunks; `complete` tells whether its end was a proper one."""

    status: int
    headers: dict[str, str]
    frames: list[bytes] = field(default_factory=list)
    complete: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.frames)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        return self.json["error"]

    @property
    def events(self) -> list[tuple[str, str | None]]:
        """The data of every event, and its id."""
        found = []
        for block in self.body.decode().replace(": keep-alive\n", "").split("\n\n")[:-1]:
            fields = [line.partition(": ") for line in block.split("\n")]
            data = "\n".join(value for name, _, value in fields if name == "data")
            found.append((data, next((value for name, _, value in fields if name == "id"), None)))
        return found

    @property
    def text(self) -> str:
        """The text of the chunks."""
        chunks = [json.loads(data) for data, _ in self.events if data != "[DONE]"]
        return "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk.get("choices", ()))


class Wire:
    """One connection of a client that does no more than it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int) -> AsyncIterator[Wire]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()

    def send(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        version: str = "1.1",
    ) -> None:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        lines = {
            "Host": "test",
            **({} if data is None else {"Content-Length": str(len(data))}),
            **(headers or {}),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.writer.write(f"{method} {path} HTTP/{version}\r\n{head}\r\n".encode("latin-1") + (data or b""))

    async def head(self) -> Answer:
        async with limit():
            head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        fields = [line.partition(": ") for line in lines]
        return Answer(int(first.split()[1]), {name.lower(): value for name, _, value in fields})

    async def frame(self) -> bytes | None:
        """Return the next HTTP chunk; None at the proper end. Raises `IncompleteReadError` at any other."""
        async with limit():
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        return data if size else None

    async def rest(self, answer: Answer, *, bodyless: bool = False) -> Answer:
        """Read an answer to its end, whatever the end is."""
        if bodyless or answer.status in (204, 304):
            answer.complete = True
        elif "content-length" in answer.headers:
            answer.frames.append(await self.reader.readexactly(int(answer.headers["content-length"])))
            answer.complete = True
        else:
            try:
                while (frame := await self.frame()) is not None:
                    answer.frames.append(frame)
                answer.complete = True
            except (asyncio.IncompleteReadError, ConnectionResetError):
                pass
        return answer

    async def answer(self, *, bodyless: bool = False) -> Answer:
        return await self.rest(await self.head(), bodyless=bodyless)


@dataclass
class Served:
    """A gateway that is being served."""

    gateway: Gateway
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request on a connection of its own and read the whole answer."""
        async with Wire.to(self.port) as wire:
            wire.send(method, path, body, headers)
            return await wire.answer(bodyless=method == "HEAD")

    async def until_idle(self) -> None:
        """Wait until no response is being written."""
        async with limit():
            while len(self.gateway.relays):  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)


@asynccontextmanager
async def served(
    app: Any,
    *,
    http: Any = DirectProtocol,
    tls: ssl.SSLContext | None = None,
    buffers: int = 0,
    **options: Any,
) -> AsyncIterator[int]:
    """Serve an ASGI application with uvicorn in this loop; yield the port.

    `buffers`: bytes that the kernel is to hold of a connection in each direction; 0: as many as it likes, which may be
    megabytes.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF) if buffers else ():
        listening.setsockopt(socket.SOL_SOCKET, option, buffers)
    config = uvicorn.Config(
        app,
        http=http,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        lifespan="off",
        **options,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[] if tls else [listening])
    if tls:
        server.servers.append(TlsServer(server, listening, tls))
    try:
        yield listening.getsockname()[1]
    finally:
        # What `server.shutdown` does, without its pauses.
        for accepting in server.servers:
            accepting.close()
        for connection in list(server.server_state.connections):
            if connection.transport is not None:  # its TLS handshake is over
                connection.transport.abort()
        while server.server_state.tasks:
            await asyncio.wait(set(server.server_state.tasks))
        for accepting in server.servers:
            await accepting.wait_closed()
        listening.close()


def over(*upstreams: Any, kept_in: Journal | None = None, **settings: Any) -> Gateway:
    """Return a gateway over some upstreams: scripted ones, manual ones, or their configuration."""
    configured = []
    made: dict[str, Any] = {}
    for number, upstream in enumerate(upstreams):
        if isinstance(upstream, ManualUpstream):
            configured.append(UpstreamConfig(name=upstream.name, url="http://manual"))
            made[upstream.name] = upstream
            continue
        if isinstance(upstream, ScriptedUpstream):
            one = UpstreamConfig(name=f"scripted-{number}", url=upstream.base_url)
        else:
            one = upstream
        configured.append(one)
        made[one.name] = configured_upstream(one)
    return Gateway(Config(upstream=configured, **settings), made, kept_in)


@asynccontextmanager
async def serving(*upstreams: Any, buffers: int = 0, **settings: Any) -> AsyncIterator[Served]:
    """Serve a gateway over some upstreams, as `everytoken serve` does; `buffers` as for `served`."""
    async with over(*upstreams, **settings) as gateway, served(gateway, buffers=buffers) as port:
        yield Served(gateway, port)
