"""What a chunk costs as responses get more or longer, and as more read the same one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from bench import processes
from bench.measure import cpu_us
from bench.relaying import WARM_UP, Point, load
from bench.stacks import STACKS, Absent, Stack

if TYPE_CHECKING:
    from collections.abc import Callable

RESPONSES: Final = (1, 10, 100, 1_000, 5_000)
LENGTHS: Final = (10, 100, 1_000, 10_000, 100_000)
READERS: Final = (1, 10, 100, 1_000)
COMPARED: Final = ("nginx", "everytoken", "everytoken, SQLite", "everytoken, Redis")
_RATE: Final = 5_000  # chunks a second in all, which leaves a core some room
_SECONDS: Final = 2.5  # by which the longer of two loads is longer
_AT_ONCE: Final = 40_000  # chunks in all, of the loads that wait for nothing
_HELD: Final = 20  # responses whose memory is looked at
_FOLLOWED: Final = (100, 50)  # chunks of the response that many read, and the ms between two


class Cost(NamedTuple):
    """What one load gave: µs of CPU for each chunk, and how many responses were wrong."""

    cpu_us: float | None
    errors: int = 0


class _Held(Point):
    """A load whose responses are held open when all has come, however fast it comes."""

    holds = True  # type: ignore[assignment]


Costs = dict[str, dict[int, Cost]]
"""By stack, and by what grows."""


def stack(name: str) -> Stack:
    """Return the stack of this name."""
    [found] = [one for one in STACKS if one.name == name]
    return found


def by_responses(names: tuple[str, ...] = COMPARED, counts: tuple[int, ...] = RESPONSES) -> Costs:
    """Return what a chunk costs beside so many others: two lengths tell it from what beginning and ending do."""
    return _measured(names, counts, _beside)


def _beside(url: str, upstream: str, pid: int, count: int) -> Cost:
    interval = max(20, 1000 * count // _RATE)
    more = max(5, round(_SECONDS * 1000 / interval))
    ramp = max(0.2, count / 1000)
    short, long = (
        load(url, upstream, Point("", count, chunks, interval, ramp), pid) for chunks in (5, 5 + more)
    )
    errors = short.errors + long.errors
    if short.cpu_us is None or long.cpu_us is None:
        return Cost(None, errors)
    spent = long.cpu_us * (5 + more) - short.cpu_us * 5
    return Cost(spent / more, errors)


def by_length(names: tuple[str, ...] = COMPARED, lengths: tuple[int, ...] = LENGTHS) -> Costs:
    """Return what a chunk costs in responses of so many, all of which come at once."""
    return _measured(names, lengths, _long)


def _long(url: str, upstream: str, pid: int, chunks: int) -> Cost:
    count = max(4, _AT_ONCE // chunks)
    found = load(url, upstream, Point("", count, chunks, 0, count / 500), pid)
    return Cost(found.cpu_us, found.errors)


def by_held(names: tuple[str, ...] = COMPARED[1:]) -> dict[str, dict[str, float | None]]:
    """Return the KiB of an open response with all its chunks: of many with few, and of few with many. Each in a new process."""
    points = [
        Point("", max(RESPONSES), 10, 1000, 5.0),
        *(_Held("", _HELD, chunks, 0, 0.1) for chunks in LENGTHS),
    ]
    found: dict[str, dict[str, float | None]] = {}
    with processes.upstream() as upstream:
        for name in names:
            chosen = stack(name)
            for point in points:
                with processes.relay(chosen.command, upstream, chosen.beside) as (url, pid):
                    load(url, upstream, WARM_UP, pid)
                    kib = load(url, upstream, point, pid).held_kib
                found.setdefault(name, {})[f"{point.responses} × {point.chunks}"] = kib
                print(f"{name:20} {point.responses} × {point.chunks} {kib or 0:8.1f} KiB", flush=True)
    return found


def by_readers(names: tuple[str, ...] = COMPARED[1:], counts: tuple[int, ...] = READERS) -> Costs:
    """Return what a chunk costs for each of those who read the same response."""
    return _measured(names, counts, _read)


def _read(url: str, _: str, pid: int, readers: int) -> Cost:
    chunks, interval = _FOLLOWED
    before = cpu_us(pid)
    command = [sys.executable, "-m", "bench.scaling.fanout", url, str(readers), str(chunks), str(interval)]
    told = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120)
    after = cpu_us(pid)
    found = json.loads(told.stdout)
    cost = None if before is None or after is None else (after - before) / (chunks * readers)
    return Cost(cost, errors=found["wrong"])


def _measured(
    names: tuple[str, ...], points: tuple[int, ...], measure: Callable[[str, str, int, int], Cost]
) -> Costs:
    costs: Costs = {}
    with processes.upstream() as upstream:
        for name in names:
            try:
                chosen = stack(name)
                with processes.relay(chosen.command, upstream, chosen.beside) as (url, pid):
                    load(url, upstream, WARM_UP, pid)
                    for point in points:
                        time.sleep(0.2)
                        found = costs.setdefault(name, {})[point] = measure(url, upstream, pid, point)
                        wrong = f"  {found.errors} ERRORS" if found.errors else ""
                        print(f"{name:20} {point:7} {found.cpu_us or 0:8.1f} µs{wrong}", flush=True)
            except Absent as reason:
                print(f"{name}: skipped, {reason}", flush=True)
    return costs
