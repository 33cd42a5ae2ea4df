"""What everything that observes a gateway adds to a chunk, by itself: `python tests/chunk_cost.py` prints it as JSON.

Two gateways in one process take turns, one with everything off and one with everything on, over upstreams and readers
without sockets. The time of a turn on a shared machine varies by more than what is looked for; the difference between
two turns, one right behind the other, does so by much less, and its median over many pairs less still.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from everytoken.dialects.openai_chat import ChatRequest
from everytoken.formats.openai import OpenAIEvents
from everytoken.journal.sqlite import SqliteJournal
from gateway_serving import HELLO, ManualUpstream, event, over
from otlp_receiver import Collector
from piped import HEAD, PipedUpstream, Response, framed, turns

CHUNKS: Final = 50  # of each response, in one turn
PAIRS: Final = 60
SHARED: Final = (1, 20)  # responses, whose chunks share a commit
OFF: Final[dict[str, Any]] = {"metrics": "off", "keep_log": 0.0}
ON: Final[dict[str, Any]] = {"metrics": "open", "keep_log": 604_800.0, "log_format": "json", "otel": True}


class Upstream(ManualUpstream):
    """Has a connection of its own for each response."""

    name = "piped"

    def __init__(self) -> None:
        super().__init__()
        self.made: list[PipedUpstream] = []

    def connect(self, body: dict[str, Any], sink: Any, **more: Any) -> Any:
        self.made.append(PipedUpstream())
        return self.made[-1].connect(body, sink, **more)


class Side:
    """One of the two gateways, and the responses that it relays."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self.upstream = Upstream()
        self.gateway = over(
            self.upstream, kept_in=SqliteJournal(directory / "journal.sqlite"), max_response=2**40, **settings
        )
        self.responses: list[Response] = []

    async def begin(self, count: int) -> None:
        """Begin so many responses, in place of those before."""
        await self.end()
        for _ in range(count):
            relay = await self.gateway.relays.begin(ChatRequest(HELLO))
            while len(self.upstream.made) <= len(self.responses):  # noqa: ASYNC110  # its task has its turn
                await asyncio.sleep(0)
            upstream = self.upstream.made[-1]
            self.responses.append(Response(relay, upstream, OpenAIEvents()))
            upstream.read(HEAD)
        for _ in range(5):  # it is plain from then on
            await self.turn(1)

    async def turn(self, chunks: int) -> None:
        """Relay so many chunks of each response; those of the same moment share a commit."""
        data = framed(event("plain "))
        for _ in range(chunks):
            for response in self.responses:
                response.upstream.read(data)
            await turns()

    async def end(self) -> None:
        for response in self.responses:
            await response.close()
        self.responses, self.upstream.made = [], []


async def taken(side: Side) -> float:
    """Return the seconds of this thread that a turn takes."""
    before = time.thread_time()
    await side.turn(CHUNKS)
    return time.thread_time() - before


async def measure(pairs: int = PAIRS) -> list[dict[str, float]]:
    """Return, for each number of responses, what a chunk takes with everything off, and what it takes more; in µs."""
    found = []
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = stack.enter_context(Collector()).url
        sides = []
        for name, settings in (("off", OFF), ("on", ON)):
            (directory / name).mkdir()
            side = Side(directory / name, settings)
            await side.gateway.start()
            stack.push_async_callback(side.gateway.stop)
            stack.push_async_callback(side.end)
            sides.append(side)
        for count in SHARED:
            for side in sides:
                await side.begin(count)
            gc.collect()
            gc.disable()  # whose turn a collection falls into is chance
            off, more = [], []
            for number in range(pairs):
                first, second = sides if number % 2 else sides[::-1]
                times = {first: await taken(first), second: await taken(second)}
                off.append(times[sides[0]])
                more.append(times[sides[1]] - times[sides[0]])
            gc.enable()
            each = 1e6 / (count * CHUNKS)
            found.append(
                {
                    "responses": count,
                    "off": round(statistics.median(off) * each, 2),
                    "more": round(statistics.median(more) * each, 2),
                }
            )
    return found


if __name__ == "__main__":
    json.dump(asyncio.run(measure()), sys.stdout)
    sys.stdout.write("\n")
