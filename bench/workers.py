"""What several workers cost: two behind one address, over one Redis, next to one process that has half of the load.

`python -m bench --workers`. On two cores there is no room for two workers, the load, the upstream and Redis at once, so what
counts is the CPU of a chunk over all processes of the gateway: where it stays the same, two free cores carry twice the load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.relaying import CALM, FLAT, MANY, Point, Results, run
from bench.stacks import Stack, everytoken, redis
from bench.stats import Spread, ratios

if TYPE_CHECKING:
    from collections.abc import Sequence

TITLE: Final = "## Workers"
TURNS: Final = 5
WHOLE: Final = (MANY, CALM, FLAT)
HALF: Final = tuple(point._replace(responses=point.responses // 2) for point in WHOLE)
ONE: Final = "one worker, half of the load"
TWO: Final = "two workers, all of it"
ALL: Final = "one worker, all of it"
_LOADS: Final = {ONE: (1, HALF), TWO: (2, WHOLE), ALL: (1, WHOLE)}


def measure(turns: int = TURNS) -> Results:
    """Measure, taking turns."""
    results = Results()
    for _ in range(turns):
        for name, (count, points) in _LOADS.items():
            stack = Stack(
                name, "", everytoken("--journal", "{beside}", "--workers", str(count)), beside=redis
            )
            found = run([stack], 1, points)
            for key, runs in found.runs.items():
                results.runs.setdefault(key, []).extend(runs)
            results.absent |= found.absent
    return results


def markdown(results: Results) -> str:
    """Return the section of the page."""
    rows = [f"| {name} | {' | '.join(_cells(results, name))} |" for name in _LOADS]
    titles = [
        f"{point.responses} responses, {f'every {point.interval_ms} ms' if point.interval_ms else 'flat out'}"
        for point in WHOLE
    ]
    head = f"| | {' | '.join(f'{title}: µs | × half' for title in titles)} |\n| --- {'| ---: ' * 2 * len(WHOLE)}|"
    return (
        f"{TITLE}\n\nCPU of a chunk over all processes of a gateway on Redis, that of Redis not counted, {TURNS} turns. This "
        f"machine has two cores, and the load and the upstream use one of them, so more workers cannot be faster here. But "
        f"where a chunk costs no more with two workers than with one that has half of the load, two free cores carry twice "
        f"as much.\n\n{head}\n" + "\n".join(rows)
    )


def _cells(results: Results, name: str) -> list[str]:
    cells = []
    for half, point in zip(HALF, _LOADS[name][1], strict=True):
        own, base = _costs(results, name, point), _costs(results, ONE, half)
        cells.append(_text(Spread.of(own), 1))
        cells.append("1.00" if name == ONE else _text(Spread.of(ratios(own, base)), 2))
    return cells


def _costs(results: Results, name: str, point: Point) -> Sequence[float | None]:
    return [one.cpu_us for one in results.of(name, point)]


def _text(spread: Spread | None, digits: int) -> str:
    return "–" if spread is None else spread.text(digits)
