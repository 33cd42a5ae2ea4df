"""One response from the reads of its upstream's socket to the writes to its reader's, without either socket: the test says what
is read, and where one read ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import everytoken
from everytoken.dialects.openai_chat import ChatRequest
from everytoken.formats.openai import OpenAIEvents
from everytoken.gateway.follow import Follower, ReaderConnection
from everytoken.gateway.server import EXTENSION, Direct
from everytoken.journal.memory import MemoryJournal
from everytoken.native import parts
from everytoken.recovery import Policy, Target
from everytoken.redaction import Redactor
from everytoken.relay import Relays
from everytoken.upstream.exchange import Exchange
from everytoken.upstream.protocol import HttpProtocol
from gateway_serving import HELLO, ManualUpstream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from everytoken.formats.output import OutputFormat
    from everytoken.relay.response import Relay

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
PACKAGE = str(Path(everytoken.__file__).parent)
TURNS = 4  # of the loop, after which everything that was begun is done: nothing waits for time or a socket


def framed(body: bytes) -> bytes:
    """Return `body` as one HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(body), body)


class Transport:
    """A connection's transport, as far as one is needed."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.written: list[bytes] = []
        self.calls: list[str] = []
        self.closed = False

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")

    def abort(self) -> None:
        self.closed = True

    close = abort


class PipedUpstream(ManualUpstream):
    """An upstream with one connection, whose reads are a test's."""

    name = "piped"

    def __init__(self) -> None:
        super().__init__()
        self.transport = Transport()
        self.connected = asyncio.Event()
        pool: Any = SimpleNamespace(opened=lambda _: None, idle=lambda _: None, lost=lambda _: None)
        self.protocol = HttpProtocol(pool)
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)  # type: ignore[arg-type]

    def connect(self, body: dict[str, Any], sink: Any, **_: Any) -> Exchange:  # type: ignore[override]
        exchange = Exchange(sink, redactor=Redactor([]), later=asyncio.get_running_loop().call_soon)
        assert self.protocol.send(b"POST", exchange, retry=None)
        exchange.on_sent()
        self.connected.set()
        return exchange

    def read(self, data: bytes) -> None:
        """Have the transport read `data`."""
        if not self.transport.closed:
            self.transport.protocol.data_received(data)


class Response:
    """One response, and its reader."""

    def __init__(self, relay: Relay, upstream: PipedUpstream, output: OutputFormat) -> None:
        self.relay = relay
        self.upstream = upstream
        self.written: list[bytes] = []
        self.flow = SimpleNamespace(write_paused=False)
        self.broken = False
        live: Any = relay.recovery.attempt(1)
        assert live is not None
        self.live = live
        cycle: Any = SimpleNamespace(
            flow=self.flow,
            transport=SimpleNamespace(write=self._write, is_closing=lambda: False),
            send=self._write,
            disconnected=False,
            chunked_encoding=True,
            response_complete=False,
        )
        request: Any = SimpleNamespace(scope={"extensions": {EXTENSION: Direct(cycle)}}, send=cycle.send)
        self.client = ReaderConnection(request)
        self.follower = Follower(self.client, relay.log, output)
        self.task = asyncio.ensure_future(self.follower.run())

    def _write(self, data: bytes) -> None:
        if self.broken:
            raise OSError("the transport is broken")
        self.written.append(data)

    async def close(self) -> None:
        """Stop it, and let go of its reader."""
        self.relay.stop()
        await turns()
        self.task.cancel()

    @property
    def state(self) -> dict[str, Any]:
        """All that a chunk changes."""
        live, transcript, log = self.live, self.relay.recovery.transcript, self.relay.log
        return {
            "quiet": live.quiet,
            "steady": live.steady,
            "content": live.content,
            "last bytes": live.last_bytes,
            "deadline": live.deadline,
            "quiet since": self.follower._quiet_since,
            "text": transcript.text,
            "recent": list(transcript._recent),
            "chunks": transcript.chunks,
            "delivered": transcript.records,
            "first": transcript.first,
            "received": self.relay.received,
            "records": list(log.records[0 : log.tail]),
            "packed": log.records.dump(log.tail),
            "tail": log.tail,
            "newest": list(log._newest),
            "closed": log.closed,
            "result": (log.info.result or {}).get("outcome"),
            "offset": self.follower.offset,
            "failure": repr(self.follower._failure),
            "calls": list(self.upstream.transport.calls),
        }


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def begun(output: OutputFormat | None = None, request: Any = None, **options: Any) -> Response:
    """Return a response whose upstream has sent its head; to a chat completion if there is no other `request`."""
    upstream: Any = PipedUpstream()
    target = Target(name="piped", policy=Policy(attempts=1))
    relays = Relays({"piped": upstream}, lambda _: [target], MemoryJournal(), **options)
    relay = await relays.begin(request or ChatRequest(HELLO))
    await upstream.connected.wait()
    response = Response(relay, upstream, output or OpenAIEvents())
    upstream.read(HEAD)
    await turns()
    return response


async def read_all(
    reads: Sequence[bytes], *, short: bool, output: OutputFormat | None = None, request: Any = None
) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Return the state after each of these reads, and what the reader was written. A read takes place every second."""
    assert parts.use(wanted=short) is short
    loop: Any = asyncio.get_running_loop()
    now = 1000.0
    loop.time = lambda: now
    try:
        response = await begun(output, request)
        states = []
        for data in reads:
            now += 1
            response.upstream.read(data)
            await turns()
            states.append(response.state)
        if not response.relay.over.done():
            response.relay.stop()
        await turns()
        response.task.cancel()
        return states, response.written
    finally:
        del loop.time
        parts.use(wanted=True)


def calls_of(read: Callable[[], None]) -> list[str]:
    """Return the Python functions of ours that `read` calls."""
    called: list[str] = []

    def note(frame: Any, what: str, _: Any) -> None:
        if what == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            called.append(frame.f_code.co_qualname)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        read()
    finally:
        sys.setprofile(before)
    return called
