"""A server that speaks Anthropic's Messages, as far as a client needs it to read one answer; it is moved by hand."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
USAGE = {"input_tokens": 1, "output_tokens": 1}
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": "any", "content": [], "usage": USAGE}


@dataclass
class Exchange:
    """One request, and what it is answered."""

    path: str
    body: dict[str, Any]
    writer: asyncio.StreamWriter

    def _event(self, kind: str, **more: Any) -> None:
        data = f"event: {kind}\ndata: {json.dumps({'type': kind, **more})}\n\n".encode()
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    def accept(self) -> None:
        self.writer.write(HEAD)
        self._event("message_start", message=MESSAGE)
        self._event("content_block_start", index=0, content_block={"type": "text", "text": ""})

    def send(self, *texts: str) -> None:
        for text in texts:
            self._event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def finish(self) -> None:
        self._event("content_block_stop", index=0)
        self._event("message_delta", delta={"stop_reason": "end_turn"}, usage=USAGE)
        self._event("message_stop")
        self.end()

    def fail(self) -> None:
        self._event("error", error={"type": "overloaded_error", "message": "Overloaded"})
        self.end()

    def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        self.writer.close()


class AnthropicServer:
    """The requests that have come, in their order."""

    def __init__(self) -> None:
        self.port = 0
        self.attempts: list[Exchange] = []
        self._arrived = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        assert length is not None
        body = json.loads(await reader.readexactly(int(length[1])))
        self.attempts.append(Exchange(head.split(b" ")[1].decode(), body, writer))
        self._arrived.set()

    async def attempt(self, number: int = 0) -> Exchange:
        while len(self.attempts) <= number:
            self._arrived.clear()
            await self._arrived.wait()
        return self.attempts[number]


@asynccontextmanager
async def anthropic_server() -> AsyncIterator[AnthropicServer]:
    """Serve on a free port."""
    served = AnthropicServer()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        for exchange in served.attempts:
            exchange.writer.transport.abort()
