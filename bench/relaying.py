"""Relaying: what one chunk costs on its way through each stack."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from bench import peers, processes
from bench.measure import cpu_us, memory_kib
from bench.stacks import STACKS, Absent, Stack

DIRECT = "no relay"
SETTLE = 0.2  # s a relay is left alone before its memory is read


class Point(NamedTuple):
    """One load."""

    name: str
    responses: int
    chunks: int
    interval_ms: int  # 0: flat out
    ramp: float | None  # s over which the responses are opened; None: one when the one before has ended

    @property
    def holds(self) -> bool:
        return self.interval_ms > 0


MANY = Point("many", 300, 100, 20, 0.6)
CALM = Point("calm", 300, 40, 50, 0.6)  # 20 chunks per second each, which leaves a slow machine some room
FEW = Point("few", 20, 100, 20, 0.1)
ALONE = Point("alone", 50, 1, 0, None)
# Two lengths of the same, which tell what a chunk costs from what beginning and ending do.
SHORT = Point("short", 150, 100, 20, 0.6)
LONG = Point("long", 150, 400, 20, 0.6)
FLAT = Point("flat", 300, 100, 0, 0.0)
FLAT_FEW = Point("flat", 20, 100, 0, 0.0)
WARM_UP = Point("warm-up", 20, 20, 0, 0.0)


@dataclass
class Run:
    """What one load through one stack gave, once."""

    responses: int
    chunks: int
    seconds: float
    ttft_ms: float
    under_way_ms: float
    under_way_p99_ms: float
    errors: int
    first_errors: list[str]
    cpu_us: float | None  # per chunk
    open_kib: float | None = None  # memory per response, all open, few chunks
    held_kib: float | None = None  # … all chunks received, none ended

    @property
    def chunks_per_second(self) -> float:
        return self.chunks / self.seconds


@dataclass
class Results:
    """Runs by stack and point, one per repetition; and why others did not run."""

    runs: dict[tuple[str, str], list[Run]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def of(self, stack: str, point: Point) -> list[Run]:
        return self.runs.get((stack, point.name), [])


def load(url: str, upstream_url: str, point: Point, pid: int | None, api: str = "chat") -> Run:
    """Put one load on a relay (or, without pid, on the upstream itself) and measure."""
    memory = {"before": memory_kib(pid) if pid and point.holds else None}
    cpu_before = cpu_us(pid) if pid else None
    arguments = ["--url", url, "--responses", point.responses, "--chunks", point.chunks]
    arguments += ["--api", api, "--interval-ms", point.interval_ms, *["--hold"] * point.holds]
    arguments += [] if point.ramp is None else ["--ramp", point.ramp]
    command = [sys.executable, "-m", "bench.load", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout
    done: dict[str, object] = {}
    try:
        for line in process.stdout:
            done = json.loads(line)
            at = str(done.pop("at"))
            if at == "held":
                time.sleep(SETTLE)
            if pid and point.holds and at != "done":
                memory[at] = memory_kib(pid)
            if at == "held":
                processes.release(upstream_url)
    finally:
        processes.stop(process)
    cpu_after = cpu_us(pid) if pid else None

    def per_response(at: str) -> float | None:
        now, before = memory.get(at), memory["before"]
        return None if now is None or before is None else (now - before) / point.responses

    return Run(
        responses=point.responses,
        cpu_us=None
        if cpu_before is None or cpu_after is None
        else (cpu_after - cpu_before) / (point.responses * point.chunks),
        open_kib=per_response("open"),
        held_kib=per_response("held"),
        **done,  # type: ignore[arg-type]
    )


def points_of(stack: Stack) -> list[Point]:
    if stack.beside_chat:
        return [MANY, SHORT, LONG]
    return [MANY, CALM, FEW, FLAT, ALONE] if stack.keeps_up else [FEW, FLAT_FEW, ALONE]


def run(stacks: list[Stack], repetitions: int, points: tuple[Point, ...] | None = None) -> Results:
    """Measure all stacks, interleaved: A B C A B C, every time from a fresh process.

    `points`: the loads; None for those that each stack can take.
    """
    results = Results()
    with processes.upstream() as upstream_url:
        for repetition in range(repetitions):
            for point in points or (MANY, CALM, FEW, FLAT, ALONE):
                _note(results, DIRECT, point, load(upstream_url, upstream_url, point, None), repetition)
            for stack in stacks:
                if stack.name in results.absent:
                    continue
                try:
                    with processes.relay(stack.command, upstream_url, stack.beside) as (url, pid):
                        load(url, upstream_url, WARM_UP, pid, stack.api)
                        for point in points or points_of(stack):
                            found = load(url, upstream_url, point, pid, stack.api)
                            _note(results, stack.name, point, found, repetition)
                except Absent as reason:
                    results.absent[stack.name] = str(reason)
                    print(f"{stack.name}: skipped, {reason}", flush=True)
    return results


def apart(results: Results, stack: str) -> list[tuple[float | None, float | None]]:
    """Return what a chunk costs, and what all else of a response does, in each turn; by two lengths. In µs of CPU."""
    found: list[tuple[float | None, float | None]] = []
    for short, long in zip(results.of(stack, SHORT), results.of(stack, LONG), strict=True):
        if short.cpu_us is None or long.cpu_us is None:
            found.append((None, None))
            continue
        less, more = short.cpu_us * SHORT.chunks, long.cpu_us * LONG.chunks
        chunk = (more - less) / (LONG.chunks - SHORT.chunks)
        found.append((chunk, less - chunk * SHORT.chunks))
    return found


def _note(results: Results, stack: str, point: Point, result: Run, repetition: int) -> None:
    results.runs.setdefault((stack, point.name), []).append(result)
    cpu = "" if result.cpu_us is None else f"{result.cpu_us:7.1f} µs"
    wrong = f"  {result.errors} ERRORS {result.first_errors}" if result.errors else ""
    print(
        f"{repetition + 1}  {stack:24} {result.responses:4} responses {point.name:5} {cpu:12}"
        f" {result.under_way_ms:7.2f} ms under way (p99 {result.under_way_p99_ms:7.2f}){wrong}",
        flush=True,
    )


def choose(only: list[str] | None, *, quick: bool) -> list[Stack]:
    """Return the stacks asked for."""
    if only:
        unknown = [name for name in only if not any(_key(name) == _key(stack.name) for stack in STACKS)]
        if unknown:
            raise SystemExit(
                f"no such stack: {', '.join(unknown)}; there are {', '.join(s.name for s in STACKS)}"
            )
        return [stack for stack in STACKS if _key(stack.name) in map(_key, only)]
    return [stack for stack in STACKS if stack.quick or not quick]


def _key(name: str) -> str:
    return name.lower().replace(",", "").replace(" ", "-").removesuffix("-proxy")


def install(stacks: list[Stack]) -> dict[str, str]:
    """Install the peers among these; return why some cannot be."""
    missing = {}
    for stack in stacks:
        name = _key(stack.name)
        if name in peers.names() and (reason := peers.install(name)):
            missing[stack.name] = reason
    return missing
