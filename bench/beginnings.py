"""What a response costs besides its chunks: `python -m bench --beginnings`.

Responses of one chunk, one after the other, are beginning and end alone. Which part of the gateway takes how much of it is
sampled: every few milliseconds of CPU the process notes in whose code it is. A sample in which none of our code runs, nor
uvicorn's, belongs to the event loop: reading, accepting, waking.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import everytoken
from bench import processes
from bench.operation import BRIEF
from bench.relaying import WARM_UP, Results, load, run
from bench.stacks import STACKS, Command
from bench.stats import Spread, ratios

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from bench.stacks import Place, Stack

TITLE: Final = "## Beginnings and ends"
TURNS: Final = 5
FLOOR: Final = "nginx"
NAMES: Final = (FLOOR, "everytoken", "everytoken, SQLite", "everytoken, Redis", "sglang-router")
OURS: Final = NAMES[1:4]
SAMPLED: Final = BRIEF._replace(name="sampled", responses=8000)
_ROOT: Final = f"{Path(everytoken.__file__).parent}{os.sep}"
_EVERY: Final = 0.001  # s of CPU; the kernel's own clock may be coarser
_WRITTEN: Final = 20.0  # s in which the samples are written

# By the first of these with which the path of a file in our package begins.
PARTS: Final = {
    "the reader's connection (uvicorn)": (
        "gateway/server",
        "gateway/listener",
        "gateway/connections",
        "gateway/heads",
        "gateway/light",
    ),
    "metrics, request log, prices": (
        "observer",
        "relay/events",
        "relay/gaps",
        "gateway/metrics",
        "gateway/requestlog",
        "gateway/prices",
        "gateway/telemetry",
        "gateway/meter",
        "translation",
    ),
    "the upstream's connection": ("upstream",),
    "the journal": ("journal",),
    "the recovery machine": ("recovery", "dialects", "sse", "native"),
    "the relay": ("relay",),
    "the request, and sending it to its reader": ("",),
}
LOOP: Final = "the event loop"
_UVICORN: Final = next(iter(PARTS))


def part_of(frame: FrameType | None) -> str:
    """Return whose code runs: that of the innermost frame that is ours or uvicorn's."""
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_ROOT):
            ours = path[len(_ROOT) :]
            if ours.startswith("cli"):
                break  # what runs the loop
            return next(part for part, begins in PARTS.items() if ours.startswith(begins))
        if "/uvicorn/" in path:
            return _UVICORN
        frame = frame.f_back
    return LOOP


def serve(written: Path, arguments: list[str]) -> None:
    """Run the gateway; take samples from SIGUSR1 to SIGUSR2, and write them."""
    from everytoken.cli import main  # noqa: PLC0415  # only this process needs it

    counts: Counter[str] = Counter()

    def end(*_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        unfinished = written.with_suffix(".new")
        unfinished.write_text(json.dumps(counts))
        unfinished.replace(written)

    def note(_: int, frame: FrameType | None) -> None:
        counts[part_of(frame)] += 1

    signal.signal(signal.SIGPROF, note)
    signal.signal(signal.SIGUSR1, lambda *_: signal.setitimer(signal.ITIMER_PROF, _EVERY, _EVERY))
    signal.signal(signal.SIGUSR2, end)
    sys.argv = ["everytoken", *arguments]
    main()


def sampled(stack: Stack) -> dict[str, int]:
    """Return how many samples each part has. Raises `bench.stacks.Absent`."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        written = Path(directory, "samples.json")

        def command(place: Place) -> Command:
            told = stack.command(place)
            before = [sys.executable, "-m", "bench.beginnings", str(written)]
            root = str(Path(__file__).parents[1])
            return Command([*before, *told.arguments[1:]], {**told.environment, "PYTHONPATH": root})

        with (
            processes.upstream() as upstream_url,
            processes.relay(command, upstream_url, stack.beside) as (url, pid),
        ):
            load(url, upstream_url, WARM_UP, pid, stack.api)
            os.kill(pid, signal.SIGUSR1)
            load(url, upstream_url, SAMPLED, pid, stack.api)
            os.kill(pid, signal.SIGUSR2)
            deadline = time.monotonic() + _WRITTEN
            while not written.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            found: dict[str, int] = json.loads(written.read_text())
            return found


def measure(turns: int = TURNS) -> tuple[Results, dict[str, dict[str, int]]]:
    """Measure, the stacks taking turns; then sample each of ours."""
    chosen = [stack for stack in STACKS if stack.name in NAMES]
    results = run(chosen, turns, (BRIEF,))
    return results, {
        stack.name: sampled(stack)
        for stack in chosen
        if stack.name in OURS and stack.name not in results.absent
    }


def markdown(results: Results, samples: Mapping[str, Mapping[str, int]]) -> str:
    """Return the section of the page."""
    floor = [one.cpu_us for one in results.of(FLOOR, BRIEF)]
    medians: dict[str, float] = {}
    rows = []
    for name in NAMES:
        costs = [one.cpu_us for one in results.of(name, BRIEF)]
        spread = Spread.of(costs)
        if spread is None:
            continue
        medians[name] = spread.median
        times = None if name == FLOOR else Spread.of(ratios(costs, floor))
        rows.append(f"| {name} | {spread.text(0)} | {'1.00' if times is None else times.text(2)} |")
    turns = len(floor)
    return (
        f"{TITLE}\n\n{BRIEF.responses} responses of one chunk, one after the other, each on a connection of its own; {turns} turns.\n\n"
        f"| stack | CPU µs per response | × {FLOOR} |\n| --- | ---: | ---: |\n" + "\n".join(rows)
    ) + _split(samples, medians)


def _split(samples: Mapping[str, Mapping[str, int]], medians: Mapping[str, float]) -> str:
    names = [name for name in samples if name in medians]
    if not names:
        return ""
    head = " | ".join(["whose code runs", *names])
    rows = []
    for part in (*PARTS, LOOP):
        cells = []
        for name in names:
            share = samples[name].get(part, 0) / max(1, sum(samples[name].values()))
            cells.append(f"{share * medians[name]:.0f} ({share:.0%})")
        rows.append(f"| {part} | " + " | ".join(cells) + " |")
    return (
        f"\n\nWhere they go, in CPU µs per response and as a share, by samples of {SAMPLED.responses:,} responses. What the kernel does "
        "counts where it is called: sending for whose code sends, reading and accepting for the event loop.\n\n"
        f"| {head} |\n| --- {'| ---: ' * len(names)}|\n" + "\n".join(rows)
    )


def _main(arguments: list[str]) -> Any:
    serve(Path(arguments[0]), arguments[1:])


if __name__ == "__main__":
    _main(sys.argv[1:])
