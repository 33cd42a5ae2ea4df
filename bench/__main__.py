"""`python -m bench`: measure everytoken and its peers in one run and write docs/benchmarks.md."""

from __future__ import annotations

import argparse
import importlib
import signal
import time
from pathlib import Path

from bench import (
    beginnings,
    durability,
    measure,
    operation,
    overload,
    peers,
    relaying,
    report,
    seams,
    workers,
)
from bench.page import into
from bench.stacks import FLOOR, STACKS

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
REPETITIONS = 5


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--setup", action="store_true", help="only install the peers, under var/bench/")
    parser.add_argument("--quick", action="store_true", help="one repetition, few stacks, page not written")
    parser.add_argument(
        "--only", help=f"these stacks, page not written: {', '.join(stack.name for stack in STACKS)}"
    )
    parser.add_argument(
        "--recovery",
        action="store_true",
        help="measure recovery only, and write its section into the page",
    )
    parser.add_argument(
        "--apis",
        action="store_true",
        help="measure Messages, Responses and translation only, and write their section into the page",
    )
    parser.add_argument(
        "--overload",
        action="store_true",
        help="measure admission at more than it can take only, and write its section into the page",
    )
    parser.add_argument(
        "--operation",
        action="store_true",
        help="measure keys, limits, metrics, log and OpenTelemetry only, and write their section into the page",
    )
    parser.add_argument(
        "--beginnings",
        action="store_true",
        help="measure responses of one chunk only, and write their section into the page",
    )
    parser.add_argument(
        "--workers",
        action="store_true",
        help="measure several workers only, and write their section into the page",
    )
    return parser.parse_args()


def decoding() -> str | None:
    """Run the decoders' benchmark, if this checkout has it."""
    try:
        sse = importlib.import_module("bench.sse")
    except ImportError as error:
        print(f"SSE decoding: skipped, {error}", flush=True)
        return None
    print("SSE decoding …", flush=True)
    table: str = sse.table(sse.run())
    return table


def main() -> int:
    """Return 1 if everytoken relayed anything wrong."""
    for number in (signal.SIGINT, signal.SIGTERM):  # both ways out clean up, even where the shell ignores one
        signal.signal(number, signal.default_int_handler)
    asked = options()
    if asked.setup:
        reasons = {name: reason for name in peers.names() if (reason := peers.install(name))}
        print("\n".join(f"{name}: {reason}" for name, reason in reasons.items()) or "the peers are installed")
        return bool(reasons)
    if asked.recovery:
        section = seams.markdown(seams.run())
        print(section)
        PAGE.write_text(into(PAGE.read_text(), seams.TITLE, section))
        return 0
    if asked.overload:
        section = overload.markdown(overload.run())
        print(section)
        PAGE.write_text(into(PAGE.read_text(), overload.TITLE, section))
        return 0
    if asked.operation:
        only = asked.only.split(",") if asked.only else None
        section = operation.markdown(operation.measure(only), operation.added())
        print(section)
        if only is None:
            PAGE.write_text(into(PAGE.read_text(), operation.TITLE, section))
        return 0
    if asked.beginnings:
        section = beginnings.markdown(*beginnings.measure())
        print(section)
        PAGE.write_text(into(PAGE.read_text(), beginnings.TITLE, section))
        return 0
    if asked.workers:
        section = workers.markdown(workers.measure())
        print(section)
        PAGE.write_text(into(PAGE.read_text(), workers.TITLE, section))
        return 0
    if asked.apis:
        stacks = [stack for stack in STACKS if stack.beside_chat or stack.name in {report.OURS, FLOOR}]
        points = (relaying.MANY, relaying.SHORT, relaying.LONG)
        results = relaying.run(stacks, REPETITIONS, points)
        section = report.other_apis(results, stacks)
        print(section)
        PAGE.write_text(report.with_other_apis(PAGE.read_text(), section))
        return 0
    if not measure.SUPPORTED:
        print("CPU and memory are not supported here (no /proc); times and exactness are still measured")
    stacks = relaying.choose(asked.only.split(",") if asked.only else None, quick=asked.quick)
    missing = relaying.install(stacks)
    started = time.monotonic()
    partial = asked.quick or asked.only
    sse = None if asked.only else decoding()
    repetitions = 1 if asked.quick else REPETITIONS
    results = relaying.run([stack for stack in stacks if stack.name not in missing], repetitions)
    results.absent |= missing
    durable = None if partial else durability.markdown(results, *durability.run())
    recovered = None if partial else seams.markdown(seams.run())
    page = report.markdown(results, stacks, sse, repetitions, time.monotonic() - started, durable, recovered)
    if partial:
        print("\n" + page)
    else:
        before = PAGE.read_text() if PAGE.exists() else ""
        PAGE.write_text(report.with_the_rest(page, before))
        print(f"wrote {PAGE.relative_to(Path(__file__).parents[1])}")
    ours = [run for (stack, _), runs in results.runs.items() if stack == report.OURS for run in runs]
    return int(any(run.errors for run in ours))


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        raise SystemExit(130) from None
