"""`python -m bench.profiling`: where everytoken's time goes while it relays paced responses.

The profiler costs more than what it measures: read it for proportions and call counts (30,000 chunks are
relayed), never for microseconds.
"""

from __future__ import annotations

import os
import pstats
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench import processes
from bench.relaying import MANY, load
from bench.stacks import Command, Place, everytoken

LINES = 40
DUMP_LIMIT = 20.0


def _has_ended(pid: int) -> bool:
    """Look without taking the exit status, which belongs to whoever started it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        profile = Path(directory, "profile")

        def profiled(place: Place) -> Command:
            command = everytoken(*sys.argv[1:])(place)
            before = [sys.executable, "-m", "cProfile", "-o", str(profile)]
            return Command([*before, *command.arguments], command.environment)

        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # so that the child does not inherit «ignored»
        with processes.upstream() as upstream_url, processes.relay(profiled, upstream_url) as (url, pid):
            load(url, upstream_url, MANY, pid)
            os.kill(pid, signal.SIGINT)  # SIGTERM would end it without a profile
            deadline = time.monotonic() + DUMP_LIMIT
            while not _has_ended(pid) and time.monotonic() < deadline:
                time.sleep(0.1)
        pstats.Stats(str(profile)).strip_dirs().sort_stats("tottime").print_stats(LINES)


if __name__ == "__main__":
    main()
