"""A model server that costs next to nothing: sends numbered, time-stamped chunks, paced or flat out.

Paced responses sit on one timer wheel of 1 ms slots. A response's first chunk goes out at once and the next
ones in a slot of its own choosing, so that the responses are not in lock-step.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections import deque
from typing import cast

import httptools
import uvloop

from bench.chunks import MODEL, PATHS, RENDERED, Order, read_order

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
TICK = 0.001
APIS = {path: api for api, path in PATHS.items()}


def json_answer(body: object, status: bytes = b"200 OK") -> bytes:
    data = json.dumps(body).encode()
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (
        status,
        len(data),
    )
    return head + data


# The relays ask these before they trust an upstream.
ANSWERS = {
    "/v1/models": json_answer(
        {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": MODEL}]}
    ),
    "/health": json_answer({"status": "ok"}),
    "/server_info": json_answer({"model_path": MODEL}),
    "/get_server_info": json_answer({"model_path": MODEL}),
    "/model_info": json_answer({"model_path": MODEL}),
    "/get_model_info": json_answer({"model_path": MODEL}),
}
NOT_FOUND = json_answer(
    {"error": {"message": "not found", "type": "invalid_request_error"}}, b"404 Not Found"
)


class Response:
    """One response being sent."""

    def __init__(self, order: Order, transport: asyncio.Transport, api: str) -> None:
        self.order = order
        self.transport = transport
        self.paused = False
        self._rendered = RENDERED[api](order.response)
        self._number = 0

    def send_next(self) -> bool:
        """Send one chunk; return whether there are more."""
        if self.transport.is_closing():
            return False
        chunk = self._rendered.chunk(self._number, time.monotonic_ns() // 1000)
        self.transport.write(chunk if self._number else self._rendered.begin() + chunk)
        self._number += 1
        return self._number < self.order.chunks

    def send_end(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self._rendered.end())


class Sender:
    """Sends every response's chunks when they are due."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._wheel: dict[int, list[Response]] = {}  # tick -> responses due then
        self._tick = 0
        self._started = 0.0
        self._flat: deque[Response] = deque()
        self._held: list[Response] = []

    def start(self, response: Response) -> None:
        interval = response.order.interval_ms
        if interval == 0:
            if not self._flat:
                self._loop.call_soon(self._pump)
            self._flat.append(response)
        elif response.send_next():
            if not self._wheel:
                self._started, self._tick = self._loop.time(), 0
                self._loop.call_later(TICK, self._turn)
            # The first gap is a random part of the interval more than one: nobody shares a phase by design.
            self._due(self._tick + interval + random.randrange(interval), response)
        else:
            self._finish(response)

    def release(self) -> None:
        """End the responses that were told to stay open."""
        held, self._held = self._held, []
        for response in held:
            response.send_end()

    def _due(self, tick: int, response: Response) -> None:
        self._wheel.setdefault(tick, []).append(response)

    def _turn(self) -> None:
        now = int((self._loop.time() - self._started) / TICK)
        while self._tick <= now:
            for response in self._wheel.pop(self._tick, ()):
                if response.send_next():
                    self._due(self._tick + response.order.interval_ms, response)
                else:
                    self._finish(response)
            self._tick += 1
        if self._wheel:
            self._loop.call_at(self._started + self._tick * TICK, self._turn)

    def _pump(self) -> None:
        for _ in range(len(self._flat)):
            response = self._flat.popleft()
            waits = response.paused and not response.transport.is_closing()
            if waits or response.send_next():
                self._flat.append(response)
            else:
                self._finish(response)
        if all(response.paused for response in self._flat):
            if self._flat:
                self._loop.call_later(TICK, self._pump)
        else:
            self._loop.call_soon(self._pump)

    def _finish(self, response: Response) -> None:
        if response.order.hold:
            self._held.append(response)
        else:
            response.send_end()


class Connection(asyncio.Protocol):
    """One connection of a relay (or of the load generator itself)."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body = b""
        self._response: Response | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def pause_writing(self) -> None:
        if self._response:
            self._response.paused = True

    def resume_writing(self) -> None:
        if self._response:
            self._response.paused = False

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        path = self._url.decode().partition("?")[0]
        api = APIS.get(path)
        if api is not None:
            self._transport.write(STREAM_HEAD)
            self._response = Response(read_order(self._body), self._transport, api)
            self._sender.start(self._response)
        elif path == "/release":
            self._sender.release()
            self._transport.write(json_answer({}))
        else:
            self._transport.write(ANSWERS.get(path, NOT_FOUND))


async def serve() -> None:
    """Serve until SIGTERM; print the URL once ready."""
    loop = asyncio.get_running_loop()
    sender = Sender(loop)
    server = await loop.create_server(lambda: Connection(sender), "127.0.0.1", 0, backlog=1024)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(serve())
