"""What it costs to operate a gateway: keys, limits, metrics, the request log, OpenTelemetry, one by one and together.

`python -m bench --operation`. Two lengths tell what a chunk costs from what beginning and ending do; responses of one chunk
are beginning and ending alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.otlp_receiver import Collector

from bench.chunks import KEY
from bench.relaying import LONG, SHORT, Point, Results, apart, run
from bench.stacks import Command, Stack, everytoken
from bench.stats import Spread, ratios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.stacks import Place

TITLE: Final = "## Operation"
TURNS: Final = 5
BRIEF: Final = Point("brief", 400, 1, 0, None)  # one after the other
OFF: Final = "everything off"
ADDED: Final = Path(__file__).parents[1] / "tests" / "chunk_cost.py"

_KEYS: Final = f"""api_keys = ["{KEY}"]
"""
_LIMITS: Final = """
[limits.all]
requests_per_minute = 1000000
tokens_per_minute = 1000000000
running = 100000
[limits.each_key]
requests_per_minute = 1000000
tokens_per_minute = 1000000000
running = 100000
usd_per_day = 1000000.0
usd_per_month = 1000000.0
[prices.bench]
input = 1.0
output = 2.0
"""
_PARTS: Final = {
    "keys": ("a key for callers", {}, _KEYS),
    "limits": ("a key with limits of requests, tokens, responses at once and money", {}, _KEYS + _LIMITS),
    "metrics": ("`/metrics`", {"metrics": "open"}, ""),
    "request log": (
        "a line of JSON for each response, and one kept",
        {"log_format": "json", "keep_log": 604_800},
        "",
    ),
    "OpenTelemetry": ("spans of all responses and metrics, exported to a collector", {"otel": True}, ""),
}


def _configured(changes: dict[str, object], rest: str, *, otel: bool) -> Callable[[Place], Command]:
    def command(place: Place) -> Command:
        values: dict[str, object] = {
            "metrics": "off",
            "keep_log": 0,
            "log_format": "text",
            "otel": False,
            **changes,
        }
        config = place.directory / "gateway.toml"
        lines = [f"{name} = {_toml(value)}" for name, value in values.items()]
        config.write_text("\n".join([*lines, rest]))
        started = everytoken("--journal", "sqlite:///{dir}/journal.sqlite", "--config", str(config))(place)
        if "log_format" in changes:  # its lines are written at this level
            started.arguments[started.arguments.index("--log-level") + 1] = "info"
        return Command(started.arguments, {"OTEL_EXPORTER_OTLP_ENDPOINT": place.beside} if otel else {})

    return command


def _toml(value: object) -> str:
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f'"{value}"'
        if isinstance(value, str)
        else str(value)
    )


@contextmanager
def _collector(_: Path) -> Iterator[str]:
    with Collector() as collector:
        yield collector.url


def stacks() -> list[Stack]:
    """Return the gateway with everything off, with each part alone, and with all of them."""
    found = [Stack(OFF, "no key, no limit, `metrics = off`, `keep_log = 0`", _configured({}, "", otel=False))]
    for name, (what, changes, rest) in _PARTS.items():
        otel = bool(changes.get("otel"))
        found.append(
            Stack(
                name, what, _configured(dict(changes), rest, otel=otel), beside=_collector if otel else None
            )
        )
    everything: dict[str, object] = {}
    for _, changes, _ in _PARTS.values():
        everything |= changes
    without = {name: value for name, value in everything.items() if name != "otel"}
    rest = _KEYS + _LIMITS
    found += [
        Stack("all but OpenTelemetry", "", _configured(without, rest, otel=False)),
        Stack("everything on", "", _configured(everything, rest, otel=True), beside=_collector),
    ]
    return found


def measure(only: list[str] | None = None, turns: int = TURNS) -> Results:
    """Measure, the stacks taking turns."""
    chosen = [stack for stack in stacks() if only is None or stack.name in only]
    return run(chosen, turns, (SHORT, LONG, BRIEF))


def added() -> list[dict[str, Any]]:
    """Return what everything on adds to a chunk by itself: for each number of responses that share a commit, in µs."""
    told = subprocess.run([sys.executable, ADDED], stdout=subprocess.PIPE, check=True)
    found: list[dict[str, Any]] = json.loads(told.stdout)
    return found


def markdown(results: Results, by_itself: Sequence[dict[str, Any]] = ()) -> str:
    """Return the section of the page."""
    base = apart(results, OFF)
    brief = [one.cpu_us for one in results.of(OFF, BRIEF)]
    rows = []
    for stack in stacks():
        if not results.of(stack.name, BRIEF):
            continue
        chunk = [one[0] for one in apart(results, stack.name)]
        response = [one.cpu_us for one in results.of(stack.name, BRIEF)]
        is_base = stack.name == OFF
        cells = [
            stack.name + (f": {stack.what}" if stack.what else ""),
            _text(Spread.of(chunk), 1),
            "1.00" if is_base else _text(Spread.of(ratios(chunk, [one[0] for one in base])), 2),
            _text(Spread.of(response), 0),
            "1.00" if is_base else _text(Spread.of(ratios(response, brief)), 2),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    head = f"| what is on | CPU µs per chunk | × off | CPU µs for a response of one chunk | × off |\n{'| --- ' + '| ---: ' * 4}|"
    return (
        f"{TITLE}\n\nThe gateway on SQLite with keys, limits, metrics, the request log and OpenTelemetry, {len(base)} turns. A chunk by "
        f"itself: {SHORT.responses} responses with {SHORT.chunks} and with {LONG.chunks} chunks each, one every {SHORT.interval_ms} ms; the "
        f"slope is what a chunk costs. A response by itself: {BRIEF.responses} of one chunk, one after the other. The collector "
        f"of OpenTelemetry is a process of its own and not counted.\n\n{head}\n" + "\n".join(rows)
    ) + _by_itself(by_itself)


def _by_itself(found: Sequence[dict[str, Any]]) -> str:
    if not found:
        return ""
    cells = [f"| {one['responses']} | {one['off']:.1f} | {one['more']:.2f} |" for one in found]
    return (
        "\n\nThe spread of these figures is larger than what is looked for. So a chunk is also measured by itself "
        "(`tests/chunk_cost.py`): two gateways in one process take turns, one with everything off and one with everything on, "
        "over upstreams and readers without sockets, on SQLite. The figures are medians over pairs of turns. A chunk that "
        "crosses two sockets takes some 50 µs, of which what is added is a part.\n\n"
        "| chunks in a commit | off, µs per chunk | more with everything on, µs |\n| ---: | ---: | ---: |\n"
        + "\n".join(cells)
    )


def _text(spread: Spread | None, digits: int) -> str:
    return "–" if spread is None else spread.text(digits)
