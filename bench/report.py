"""The report: what was measured, as Markdown."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from bench import measure, peers
from bench.chunks import Rendered
from bench.relaying import (
    ALONE,
    CALM,
    DIRECT,
    FEW,
    FLAT,
    LONG,
    MANY,
    SHORT,
    Point,
    Results,
    Run,
    apart,
    points_of,
)
from bench.stacks import FLOOR, STACKS, Stack
from bench.stats import Spread, ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

OURS = "everytoken"
CPU_LIMIT = 3.0  # times the floor, paced, 300 responses
MEMORY_LIMIT_KIB = 30.0  # per open response
KEPT_KIB = MANY.chunks * len(Rendered(0).chunk(0, 0)) / 1024

_OLDER = "_From an earlier run: measured by itself, not with the rest of this page._"


def markdown(
    results: Results,
    stacks: list[Stack],
    sse: str | None,
    repetitions: int,
    seconds: float,
    durability: str | None = None,
    recovery: str | None = None,
) -> str:
    others = [stack for stack in stacks if stack.beside_chat]
    stacks = [stack for stack in stacks if not stack.beside_chat]
    parts = [
        "# Benchmarks",
        "This page is written by `make bench` (`python -m bench`); nothing in it is edited by hand.",
        meaning(results),
        "## The machine",
        machine(),
        "## Relaying",
        _how(repetitions),
        _stack_list(results, stacks),
        *(
            part
            for point in (MANY, CALM, FEW)
            for part in (
                f"### {point.responses} responses × {point.chunks} chunks, one every {point.interval_ms} ms",
                _paced(results, stacks, point),
            )
        ),
        f"### Flat out: {FLAT.responses} responses × {FLAT.chunks} chunks, as fast as they are taken",
        _flat(results, stacks),
        f"### Time to the first token: {ALONE.responses} responses of one chunk, one after the other",
        _first_token(results, stacks),
        *([other_apis(results, others)] if others else []),
        "### Memory per open response",
        _memory(results, stacks),
        *(["## Durability", durability] if durability else []),
        *([recovery] if recovery else []),
        "## SSE decoding",
        sse or "Not measured in this run.",
        f"_The whole run took {seconds:.0f} s._",
    ]
    return "\n\n".join(parts) + "\n"


def meaning(results: Results) -> str:
    """Say what the numbers mean, in two sentences."""
    times = _times_floor(results, OURS, MANY)
    begun = Spread.of(run.open_kib for run in results.of(OURS, MANY))
    memory = Spread.of(run.held_kib for run in results.of(OURS, MANY))
    if times is None or memory is None:
        return f"{OURS} could not be measured in this run; the other stacks' figures stand alone."
    cpu_verdict = "within" if times.median <= CPU_LIMIT else "over"
    memory_verdict = "within" if memory.median <= MEMORY_LIMIT_KIB else "over"
    others = [
        f"{name} {spread.text()}×{where}"
        for name in sorted({stack for stack, _ in results.runs} - {OURS, FLOOR, DIRECT, *beside_chat()})
        for point, where in ((MANY, ""), (FEW, f" with {FEW.responses} responses"))
        if (spread := _times_floor(results, name, point)) and (point == MANY or not results.of(name, MANY))
    ]
    beside = f" (in the same run: {', '.join(others)})" if others else ""
    return (
        f"Relaying a chunk through {OURS}, decoded and kept in its journal, costs {times.text()} times the CPU of "
        f"{FLOOR}, which only copies bytes{beside}: {cpu_verdict} our limit of {CPU_LIMIT:g}. "
        f"An open response takes {_text(begun)} KiB when it has begun and {memory.text()} KiB when all its chunks, "
        f"{KEPT_KIB:.0f} KiB as the upstream sent them, are kept: {memory_verdict} our limit of {MEMORY_LIMIT_KIB:g}."
    )


def beside_chat() -> set[str]:
    return {stack.name for stack in STACKS if stack.beside_chat}


def machine() -> str:
    cpu = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        cpu = (names or [cpu])[0]
    release = ".".join(platform.release().split(".")[:2])
    lines = [
        (
            f"{os.cpu_count()} cores ({cpu}), {platform.system()} {release}, "
            f"{platform.python_implementation()} {platform.python_version()}."
        ),
        f"Versions: everytoken {_version('everytoken')}, uvloop {_version('uvloop')}, "
        f"uvicorn {_version('uvicorn')}, nginx {_nginx_version()}, "
        + ", ".join((peers.INPUTS / f"{name}.in").read_text().strip() for name in peers.names())
        + ".",
        (
            f"Load average when the run ended: {os.getloadavg()[0]:.1f} "
            "(the bench alone makes about 1; more means that others were using the machine)."
        ),
    ]
    return "\n".join(lines)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"


def _nginx_version() -> str:
    program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if program is None:
        return "absent"
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stderr
    return said.strip().rpartition("/")[2]


def _how(repetitions: int) -> str:
    times = f"{repetitions} repetitions" if repetitions > 1 else "one repetition"
    cpu = f"CPU is that of the stack's whole process tree ({measure.METHOD})"
    if not measure.SUPPORTED:
        cpu = "CPU and memory are not supported on this system, which has no /proc"
    return (
        f"One process plays the model server, one the readers, and between them stands one stack at a time, started "
        f"afresh for every repetition; {times}, the stacks taking turns; median (least–greatest), and ratios to "
        f"{FLOOR} taken within a repetition. {cpu}, opening and closing of the responses included. Chunks are "
        f"about 240 bytes, written one by one, the responses not in step (1 ms grid). Every reader checks every "
        f"chunk: nothing lost, doubled, re-ordered or mixed up, and a proper ending. Added times are those of the "
        f"stack less those of the same load without a relay. A stack that falls behind takes several chunks at once, "
        f"which makes each cheaper: read the CPU of one that did not keep up with that in mind."
    )


def _stack_list(results: Results, stacks: Iterable[Stack]) -> str:
    return "\n".join(
        f"- **{stack.name}**: {stack.what}."
        + (f" *Skipped: {results.absent[stack.name]}.*" if stack.name in results.absent else "")
        for stack in stacks
    )


def _times_floor(results: Results, stack: str, point: Point) -> Spread | None:
    ours, floor = results.of(stack, point), results.of(FLOOR, point)
    if not ours or not floor or ours[0].responses != floor[0].responses:
        return None
    return Spread.of(ratios([run.cpu_us for run in ours], [run.cpu_us for run in floor]))


def _text(spread: Spread | None, digits: int = 1) -> str:
    return "–" if spread is None else spread.text(digits)


def _added(runs: Sequence[Run], direct: Sequence[Run], value: Callable[[Run], float]) -> str:
    return _text(Spread.of(value(a) - value(b) for a, b in zip(runs, direct, strict=False)), 2)


def _exact(runs: Sequence[Run]) -> str:
    wrong = sum(run.errors for run in runs)
    return f"**{wrong} errors**" if wrong else "yes"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _paced(results: Results, stacks: Iterable[Stack], point: Point) -> str:
    head = ["stack", "CPU µs per chunk", f"× {FLOOR}", "added TTFT, ms", "added per chunk, ms", "its p99, ms"]
    head += ["exact", "kept up"]
    direct = results.of(DIRECT, point)
    rows = []
    for stack in stacks:
        runs = results.of(stack.name, point)
        if not runs:
            if stack.name not in results.absent:
                rows.append([stack.name, "cannot keep up with so many; see below", *["–"] * (len(head) - 2)])
            continue
        kept_up = all(run.under_way_ms < point.interval_ms for run in runs)
        rows.append(
            [
                stack.name,
                _text(Spread.of(run.cpu_us for run in runs)),
                _text(_times_floor(results, stack.name, point), 2),
                _added(runs, direct, lambda run: run.ttft_ms),
                _added(runs, direct, lambda run: run.under_way_ms),
                _added(runs, direct, lambda run: run.under_way_p99_ms),
                _exact(runs),
                "yes" if kept_up else "no",
            ]
        )
    if direct:
        without = (
            f"Without a relay: TTFT {_text(Spread.of(run.ttft_ms for run in direct), 2)} ms, a chunk is under way "
            f"{_text(Spread.of(run.under_way_ms for run in direct), 2)} ms, "
            f"p99 {_text(Spread.of(run.under_way_p99_ms for run in direct), 2)} ms."
        )
        return f"{_table(head, rows)}\n\n{without}"
    return _table(head, rows)


def with_the_rest(page: str, before: str) -> str:
    """Return the page with the sections of the one before that are measured by themselves, and say that they are older."""
    for title in ("Overload", "Beginnings and ends", "Operation", "Workers"):
        _, head, rest = before.partition(f"\n## {title}\n")
        if head and head not in page:
            section = head + rest.partition("\n## ")[0]
            if _OLDER not in section:
                section = section.replace(head, f"{head}\n{_OLDER}\n", 1)
            behind, last, end = page.partition("\n## SSE decoding\n")
            page = f"{behind}{section}{last}{end}"
    return page


def with_other_apis(page: str, section: str) -> str:
    """Return the page with another section on other APIs."""
    before, _, rest = page.partition("### Memory per open response")
    return f"{before.partition('### Other APIs')[0]}{section}\n\n### Memory per open response{rest}"


def other_apis(results: Results, stacks: Sequence[Stack]) -> str:
    """Return what Messages, Responses and translation cost next to chat completions, in the same run."""
    names = [OURS, *(stack.name for stack in stacks if stack.beside_chat)]
    head = ["stack", "CPU µs per chunk", f"× {FLOOR}", f"× {OURS}", "exact"]
    rows = []
    slopes = []
    for name in names:
        runs = results.of(name, MANY)
        if not runs:
            continue
        cpu, beside_chat = _beside(
            name, [[run.cpu_us for run in results.of(name, MANY)] for name in (name, OURS)]
        )
        rows.append([name, cpu, _text(_times_floor(results, name, MANY), 2), beside_chat, _exact(runs)])
        if results.of(OURS, LONG) and results.of(name, LONG):
            both = [apart(results, name), apart(results, OURS)]
            chunk = _beside(name, [[one[0] for one in part] for part in both])
            ends = _beside(name, [[one[1] for one in part] for part in both], 0)
            slopes.append([name, *chunk, ends[0]])
    section = (
        f"### Other APIs\n\nMessages and Responses, and callers of one API over a server of another, at {MANY.responses} responses × "
        f"{MANY.chunks} chunks, one every {MANY.interval_ms} ms, in memory.\n\n{_table(head, rows)}"
    )
    if not slopes:
        return section
    head = ["stack", "CPU µs per chunk", f"× {OURS}", "CPU µs to begin and end"]
    return (
        f"{section}\n\nA response of another API begins and ends with more events than one of chat completions, so the chunk "
        f"by itself: {SHORT.responses} responses with {SHORT.chunks} and with {LONG.chunks} chunks each. The slope is what a "
        f"chunk costs, the rest what beginning and ending do.\n\n{_table(head, slopes)}"
    )


def _beside(name: str, values: list[list[float | None]], digits: int = 1) -> tuple[str, str]:
    """Return a stack's figures and their ratio to ours with chat completions, turn by turn."""
    own, chat = values
    times = None if name == OURS else Spread.of(ratios(own, chat))
    return _text(Spread.of(own), digits), "1.00" if name == OURS else _text(times, 2)


def _flat(results: Results, stacks: Iterable[Stack]) -> str:
    head = ["stack", "responses", "CPU µs per chunk", f"× {FLOOR}", "chunks per second", "exact"]
    rows = []
    for stack in stacks:
        runs = results.of(stack.name, FLAT)
        if runs:
            rows.append(
                [
                    stack.name,
                    str(runs[0].responses),
                    _text(Spread.of(run.cpu_us for run in runs)),
                    _text(_times_floor(results, stack.name, FLAT), 2),
                    _text(Spread.of(run.chunks_per_second for run in runs), 0),
                    _exact(runs),
                ]
            )
    return _table(head, rows)


def _first_token(results: Results, stacks: Iterable[Stack]) -> str:
    direct = results.of(DIRECT, ALONE)
    rows = [["*no relay*", _text(Spread.of(run.ttft_ms for run in direct), 2), "–", "–"]]
    for stack in stacks:
        if runs := results.of(stack.name, ALONE):
            ttft = _text(Spread.of(run.ttft_ms for run in runs), 2)
            cpu = _text(Spread.of(run.cpu_us for run in runs), 0)
            rows.append([stack.name, ttft, _added(runs, direct, lambda run: run.ttft_ms), cpu])
    return _table(["stack", "TTFT, ms", "added, ms", "CPU µs per response"], rows)


def _memory(results: Results, stacks: Iterable[Stack]) -> str:
    head = [
        "stack",
        "responses",
        "KiB each when all have begun",
        "KiB each when all chunks are there, none ended",
    ]
    rows = []
    for stack in stacks:
        point = points_of(stack)[0]  # later loads find memory that the first one left behind
        if runs := results.of(stack.name, point):
            begun, held = (Spread.of(run.open_kib for run in runs), Spread.of(run.held_kib for run in runs))
            rows.append([stack.name, str(point.responses), _text(begun), _text(held)])
    return _table(head, rows)
