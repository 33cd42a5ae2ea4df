"""The readers: open many responses, check every chunk, time what arrives. Run as a process of its own.

Prints JSON lines: `{"at": "open"}` when every response has begun, `{"at": "held"}` when every chunk of every
response has arrived, and at last `{"at": "done", …}` with what was measured.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import time
from array import array
from typing import cast
from urllib.parse import urlsplit

import httptools
import uvloop

from bench.chunks import KEY, PATHS, Checker, Order, request_body
from bench.stats import quantile


class Tally:
    """What all readers together have seen."""

    def __init__(self, responses: int) -> None:
        self._responses = responses
        self._open = self._full = 0
        self.first_us = array("q")  # request sent -> first chunk
        self.under_way_us = array("q")  # chunk sent by the upstream -> chunk here
        self.errors: list[str] = []

    def opened(self, waited_us: int) -> None:
        self.first_us.append(waited_us)
        self._open += 1
        if self._open == self._responses:
            say({"at": "open"})

    def filled(self) -> None:
        self._full += 1
        if self._full == self._responses:
            say({"at": "held"})

    def ended(self, errors: list[str]) -> None:
        self.errors += errors


class Reader(asyncio.Protocol):
    """One response being read."""

    def __init__(self, order: Order, host: str, tally: Tally, api: str) -> None:
        self._order, self._host, self._tally, self._api = order, host, tally, api
        self._checker = Checker(order, api)
        self._parser = httptools.HttpResponseParser(self)
        self._now_us = 0
        self.over = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        body = request_body(self._order, self._api)
        head = (
            f"POST {PATHS[self._api]} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
            f"Accept: text/event-stream\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._asked_us = time.monotonic_ns() // 1000
        self._transport.write(head.encode() + body)

    def data_received(self, data: bytes) -> None:
        self._now_us = time.monotonic_ns() // 1000
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end([f"response {self._order.response}: {error}"])

    def on_body(self, body: bytes) -> None:
        was_empty, had_all = self._checker.received == 0, self._checker.has_all
        under_way = self._tally.under_way_us
        for sent_us in self._checker.receive_data(body):
            under_way.append(self._now_us - sent_us)
        if was_empty and self._checker.received:
            self._tally.opened(self._now_us - self._asked_us)
        if self._checker.has_all and not had_all:
            self._tally.filled()

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        self._checker.receive_eof()
        self._end([f"status {status}"] if status != 200 else self._checker.errors)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end([f"response {self._order.response}: connection lost ({exc})"])

    def _end(self, errors: list[str]) -> None:
        if not self.over.is_set():
            self.over.set()
            self._tally.ended(errors)
            self._transport.close()


def say(what: dict[str, object]) -> None:
    print(json.dumps(what), flush=True)


async def load(url: str, orders: list[Order], ramp: float | None, limit: float, api: str) -> None:
    """Read all responses, opened evenly over `ramp` seconds, or, without a ramp, one after the other."""
    loop = asyncio.get_running_loop()
    target = urlsplit(url)
    tally = Tally(len(orders))
    started = loop.time()

    async def read(order: Order, wait: float) -> None:
        await asyncio.sleep(wait)
        reader = Reader(order, target.netloc, tally, api)
        try:
            await loop.create_connection(lambda: reader, str(target.hostname), target.port or 80)
        except OSError as error:
            tally.ended([f"response {order.response}: {error}"])
        else:
            await reader.over.wait()

    try:
        async with asyncio.timeout(limit), asyncio.TaskGroup() as tasks:
            for number, order in enumerate(orders):
                if ramp is None:
                    await read(order, 0)
                else:
                    tasks.create_task(read(order, ramp * (number + random.random()) / len(orders)))
    except TimeoutError:
        tally.errors.append(f"not over after {limit:.0f} s")
    say({"at": "done", "seconds": loop.time() - started, **summary(tally)})


def summary(tally: Tally) -> dict[str, object]:
    return {
        "chunks": len(tally.under_way_us),
        "ttft_ms": quantile(tally.first_us, 0.5) / 1000,
        "under_way_ms": quantile(tally.under_way_us, 0.5) / 1000,
        "under_way_p99_ms": quantile(tally.under_way_us, 0.99) / 1000,
        "errors": len(tally.errors),
        "first_errors": tally.errors[:3],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Open many responses and check every chunk.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--responses", type=int, required=True)
    parser.add_argument("--chunks", type=int, required=True)
    parser.add_argument("--interval-ms", type=int, default=0)
    parser.add_argument("--hold", action="store_true")
    parser.add_argument("--ramp", type=float)
    parser.add_argument("--api", choices=list(PATHS), default="chat")
    parser.add_argument("--limit", type=float, default=60.0)
    options = parser.parse_args()
    orders = [Order(n, options.chunks, options.interval_ms, options.hold) for n in range(options.responses)]
    gc.disable()  # a collection in here would be measured as the relay's latency
    uvloop.run(load(options.url, orders, options.ramp, options.limit, options.api))


if __name__ == "__main__":
    main()
