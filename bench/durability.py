"""Durability: what a reader notices of a break, and what the journals take."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from contextlib import ExitStack, aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests import plug_nodes as plug

from bench import processes, relaying
from bench.relaying import CALM, FEW, Point, Results, Run
from bench.stacks import Absent, everytoken, redis
from bench.stats import Spread, quantile

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

RESUMES = 50
KILLS = 3
LEASE = 2.0  # s, of the nodes on Redis
BEGUN = 30  # chunks a reader has got when its gateway is killed; the model repeats them at once
STORED = Point("stored", 300, 200, 0, 0.0)
MEMORY = "everytoken"
JOURNALS = {"SQLite": "everytoken, SQLite", "Redis": "everytoken, Redis"}  # and the stack that relays with it


@dataclass
class Durability:
    """What was measured of one journal."""

    resume_ms: list[float] = field(default_factory=list)
    takeover_ms: list[float] = field(
        default_factory=list
    )  # process start (SQLite) or kill (Redis) -> new record
    start_ms: list[float] = field(default_factory=list)  # of that, until the process was ready; SQLite only
    bytes_per_chunk: float = 0.0


class Upstream(plug.Upstream):
    """Sends the first chunks at once and the others one every ms."""

    def __init__(self) -> None:
        super().__init__(chunks=20_000, pace=0.001)

    async def pause(self, number: int) -> None:
        if number >= BEGUN:
            try:
                await super().pause(number)
            except asyncio.CancelledError:
                # All is measured and the loop ends; a stream server's task that is cancelled would complain.
                raise ConnectionAbortedError from None


class Resumer:
    """A reader that keeps trying, wherever there is a gateway."""

    def __init__(self, prompt: str) -> None:
        self._body = {"model": "plug", "stream": True, "messages": [{"role": "user", "content": prompt}]}
        self._location = ""
        self.offset = 0

    async def read(self, url: str, until: int) -> None:
        """Read until record `until` is there."""
        while self.offset < until:
            with suppress(OSError, asyncio.IncompleteReadError):
                async with aclosing(self._events(url)) as events:
                    async for part in events:
                        if isinstance(part, dict):
                            if part[":status"] != "200":
                                break
                            self._location = part.get("location", self._location)
                            continue
                        self.offset = int(part[1])
                        if self.offset >= until:
                            return
            await asyncio.sleep(0.005)

    def _events(self, url: str) -> AsyncGenerator[dict[str, str] | tuple[str, str], None]:
        if self._location:
            headers = {"last-event-id": f"{self.offset:016d}"}
            return plug.request(url, "GET", f"{self._location}/events", headers, None)
        return plug.request(url, "POST", "/v1/chat/completions", {}, self._body)


async def restarts(found: Durability, directory: Path) -> None:
    """Kill a gateway over SQLite and start it again."""
    async with Upstream() as upstream:
        node = plug.Node("--upstream", upstream.url, "--journal", f"sqlite:///{directory}/takeover.sqlite")
        try:
            await node.start()
            await resumes(found, node.url)
            for number in range(KILLS):
                reader = Resumer(f"restart {number}")
                await reader.read(node.url, BEGUN + 10)
                await node.kill()
                began = time.monotonic()
                reading = asyncio.create_task(reader.read(node.url, reader.offset + 1))
                await node.start()
                found.start_ms.append((time.monotonic() - began) * 1000)
                await reading
                found.takeover_ms.append((time.monotonic() - began) * 1000)
        finally:
            await node.kill()


async def replacements(found: Durability, directory: Path, redis_url: str) -> None:
    """Kill one of two gateways over Redis."""
    config = directory / "everytoken.toml"
    config.write_text(f"lease = {LEASE}\n", encoding="utf-8")
    async with Upstream() as upstream:
        options = ("--upstream", upstream.url, "--journal", redis_url, "--config", str(config))
        nodes = [plug.Node(*options) for _ in range(2)]
        try:
            await asyncio.gather(*(node.start() for node in nodes))
            await resumes(found, nodes[0].url)
            for number in range(KILLS):
                killed, other = nodes[number % 2], nodes[1 - number % 2]
                reader = Resumer(f"replacement {number}")
                await reader.read(killed.url, BEGUN + 10)
                await killed.kill()
                began = time.monotonic()
                await reader.read(other.url, reader.offset + 1)
                found.takeover_ms.append((time.monotonic() - began) * 1000)
                await killed.start()
        finally:
            await asyncio.gather(*(node.kill() for node in nodes))


async def resumes(found: Durability, url: str) -> None:
    """Break a reader's connection off in the middle, and time the first byte of the next."""
    reader = Resumer("resume")
    await reader.read(url, BEGUN + 10)
    for _ in range(RESUMES):
        reader.offset = BEGUN - 10
        began = time.monotonic()
        await reader.read(url, reader.offset + 1)
        found.resume_ms.append((time.monotonic() - began) * 1000)


def used_memory(redis_url: str) -> int:
    """Return the bytes of memory that a Redis server uses."""
    target = urlsplit(redis_url)
    with socket.create_connection((target.hostname, target.port), 5) as client:
        client.sendall(b"INFO memory\r\n")
        said = b""
        while b"\r\nused_memory_human" not in said:
            said += client.recv(65536)
    return int(said.partition(b"used_memory:")[2].split()[0])


def stored(journal: str, upstream_url: str, size: Callable[[], int]) -> float:
    """Relay many chunks and return by how much `size` has grown for each."""
    with processes.relay(everytoken("--journal", journal), upstream_url) as (url, _):
        before = size()
        run = relaying.load(url, upstream_url, STORED, None)
        return (size() - before) / run.chunks


def sqlite_journal(directory: Path, upstream_url: str) -> Durability:
    found = Durability()
    asyncio.run(restarts(found, directory))

    def size() -> int:
        return sum(file.stat().st_size for file in directory.glob("stored.sqlite*"))

    found.bytes_per_chunk = stored(f"sqlite:///{directory}/stored.sqlite", upstream_url, size)
    return found


def redis_journal(directory: Path, upstream_url: str) -> Durability:
    found = Durability()
    with redis(directory) as url:
        asyncio.run(replacements(found, directory, url))
        found.bytes_per_chunk = stored(url, upstream_url, lambda: used_memory(url))
    return found


def run() -> tuple[dict[str, Durability], dict[str, str]]:
    """Measure both journals; return what was found, and why others were not measured."""
    found: dict[str, Durability] = {}
    absent: dict[str, str] = {}
    for name, measure in (("SQLite", sqlite_journal), ("Redis", redis_journal)):
        print(f"durability with {name} …", flush=True)
        with ExitStack() as around:
            directory = Path(around.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            try:
                found[name] = measure(directory, around.enter_context(processes.upstream()))
            except Absent as reason:
                absent[name] = str(reason)
    return found, absent


def markdown(results: Results, found: dict[str, Durability], absent: dict[str, str]) -> str:
    """Return the section of the page."""
    head = ["journal", "resume, ms", "takeover, ms", "bytes per chunk"]
    head += [
        f"delivery later by, {point.responses} responses, ms: {what}"
        for point in (CALM, FEW)
        for what in ("median", "p99")
    ]
    rows = [[name, *_figures(one), *_delays(results, JOURNALS[name])] for name, one in found.items()]
    rows += [[name, f"skipped: {why}", *["–"] * (len(head) - 2)] for name, why in absent.items()]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return f"{_how()}\n\n" + "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _how() -> str:
    return (
        f"Resume: a reader's connection is broken off in the middle of a response and it comes back with "
        f"`Last-Event-ID`, from connecting to the first event; median of {RESUMES}, and p99. Takeover, median "
        f"(least–greatest) of {KILLS}: the gateway is killed (`kill -9`) in the middle of a response; until a reader "
        f"that keeps trying gets its next new record. With SQLite from the start of the next process, of which the "
        f"figure in brackets is the start of the program; with Redis from the kill, another node takes over "
        f"when the lease of {LEASE:g} s has run out. The model repeats its {BEGUN} chunks at once. Bytes: by how much "
        f"the SQLite file and its WAL, or the memory of Redis, have grown after {STORED.responses} × {STORED.chunks} "
        f"chunks of about 240 bytes. Delivery: the added time per chunk of the tables above, less that of the journal in "
        f"memory in the same repetition; of the loads that leave the machine room, for where a stack falls behind it is the "
        f"queue that is measured."
    )


def _figures(one: Durability) -> list[str]:
    takeover, start = Spread.of(one.takeover_ms), Spread.of(one.start_ms)
    shown = "–" if takeover is None else takeover.text(0)
    if start is not None:
        shown += f" [start {start.median:.0f}]"
    resume = f"{quantile(one.resume_ms, 0.5):.1f}, p99 {quantile(one.resume_ms, 0.99):.1f}"
    return [resume, shown, f"{one.bytes_per_chunk:.0f}"]


def _delays(results: Results, stack: str) -> list[str]:
    return [
        _later(results, stack, point, value)
        for point in (CALM, FEW)
        for value in (lambda run: run.under_way_ms, lambda run: run.under_way_p99_ms)
    ]


def _later(results: Results, stack: str, point: Point, value: Callable[[Run], float]) -> str:
    pairs = zip(results.of(stack, point), results.of(MEMORY, point), strict=False)
    spread = Spread.of(value(durable) - value(memory) for durable, memory in pairs)
    return "–" if spread is None else spread.text(2)


if __name__ == "__main__":
    print(markdown(Results(), *run()))
