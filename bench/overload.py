"""Admission: what a gateway with so many places does when more is asked of it than it can take.

`python -m bench --overload`. Requests arrive evenly, whatever has become of those before, as callers do.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple, cast
from urllib.parse import urlsplit

import uvloop

from bench import processes
from bench.chunks import Order
from bench.load import Reader, Tally, say
from bench.stacks import Command, everytoken
from bench.stats import quantile

if TYPE_CHECKING:
    from bench.stacks import Place

TITLE = "## Overload"
PLACES = 100
CHUNKS = 50
INTERVAL_MS = 20  # so a response takes a second, and so many end in a second as there are places
SECONDS = 6
QUEUE = 50
PATIENCE = 0.5  # seconds
LOADS = (0.8, 3.0)
LIMIT = 60.0  # seconds until what has not ended counts as hanging


class Found(NamedTuple):
    """What one load gave. Times in ms; `first`: until the first chunk, the time in the queue included."""

    asked: int
    admitted: int
    exact: int
    refused: int
    hanging: int
    first: tuple[float, float]  # median, p99
    under_way: tuple[float, float]
    refusal: tuple[float, float]


class _Reader(Reader):
    """One that may be refused."""

    refused_ms: float | None = None

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() in {429, 503}:
            self.refused_ms = (time.monotonic_ns() // 1000 - self._asked_us) / 1000
            self._end([])
        else:
            super().on_message_complete()


async def arrive(url: str, rate: float) -> None:
    """Send requests at a rate, and print what has become of them."""
    loop = asyncio.get_running_loop()
    target = urlsplit(url)
    number = round(rate * SECONDS)
    tally = Tally(number)
    readers: list[_Reader] = []
    began = loop.time()

    async def ask(order: Order) -> None:
        reader = _Reader(order, target.netloc, tally, "chat")
        readers.append(reader)
        await loop.create_connection(lambda: reader, str(target.hostname), target.port or 80)
        await reader.over.wait()

    tasks = []
    for count in range(number):
        await asyncio.sleep(max(0.0, began + count / rate - loop.time()))
        tasks.append(asyncio.create_task(ask(Order(count, CHUNKS, INTERVAL_MS, hold=False))))
    _, hanging = await asyncio.wait(tasks, timeout=LIMIT)
    refused = [reader.refused_ms for reader in readers if reader.refused_ms is not None]
    first = [us / 1000 for us in tally.first_us]
    under_way = [us / 1000 for us in tally.under_way_us]
    say(
        {
            "asked": number,
            "admitted": number - len(refused),
            "exact": number - len(refused) - len(tally.errors) - len(hanging),
            "refused": len(refused),
            "hanging": len(hanging),
            **{
                name: (quantile(values, 0.5), quantile(values, 0.99))
                for name, values in (("first", first), ("under_way", under_way), ("refusal", refused))
            },
        }
    )
    for error in tally.errors[:3]:
        print(error, file=sys.stderr)


def run() -> list[tuple[float, Found]]:
    """Put each load on a gateway of its own."""
    found = []

    def limited(place: Place) -> Command:
        command = everytoken("--journal", "memory")(place)
        settings = {"MAX_RUNNING": PLACES, "QUEUE": QUEUE, "QUEUE_TIMEOUT": PATIENCE}
        return Command(
            command.arguments,
            command.environment | {f"EVERYTOKEN_{name}": str(value) for name, value in settings.items()},
        )

    with processes.upstream() as upstream_url:
        for load in LOADS:
            with processes.relay(limited, upstream_url) as (url, _):
                rate = load * PLACES / (CHUNKS * INTERVAL_MS / 1000)
                command = [sys.executable, "-m", "bench.overload", "--url", url, "--rate", str(rate)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                values = json.loads(done.stdout.splitlines()[-1])
                found.append((load, Found(**{name: _plain(value) for name, value in values.items()})))
                print(f"{load} x {PLACES} places: {found[-1][1]}", flush=True)
    return found


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def markdown(found: list[tuple[float, Found]]) -> str:
    """Return the section of the report."""
    head = (
        f"{TITLE}\n\nA gateway with {PLACES} places (`max_running`), a queue of {QUEUE} and {PATIENCE:g} s in it; each "
        f"response takes a second ({CHUNKS} chunks, one every {INTERVAL_MS} ms). Requests arrive for {SECONDS} s, at 0.8 and "
        "at 3 times what it can take. The first chunk comes behind the time in the queue.\n"
    )
    lines = [
        head,
        "| load | asked | admitted | exact | refused | hanging | a chunk is under way, ms (p99) | first chunk, ms (p99) | refusal after, ms (p99) |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for load, one in found:
        times = " | ".join(f"{a:.1f} ({b:.1f})" for a, b in (one.under_way, one.first, one.refusal))
        lines.append(
            f"| {load:g} x | {one.asked} | {one.admitted} | {one.exact} | {one.refused} | {one.hanging} | {times} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Send requests at a rate.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--rate", type=float, required=True)
    options = parser.parse_args()
    gc.disable()  # a collection in here would be measured as the gateway's latency
    uvloop.run(arrive(cast("str", options.url), options.rate))


if __name__ == "__main__":
    main()
