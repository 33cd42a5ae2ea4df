"""CPU time and memory of a process and all its descendants, from Linux's /proc.

CPU time comes from each process's own CPU clock (`clock_getcpuclockid(3)`: nanoseconds, all threads, ended
ones included), not from the 10 ms ticks of /proc/PID/stat; only children that have ended and been waited for
are taken from there. Memory is the proportional set size: a page shared by the tree is counted once.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
SUPPORTED = (PROC / "self" / "smaps_rollup").exists() and hasattr(time, "clock_gettime_ns")
METHOD = "each process's CPU clock in ns, all threads, plus ended children; PSS from smaps_rollup"
_CPUCLOCK_SCHED = 2  # Linux's way to name the CPU clock of another process: (~pid << 3) | 2


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that matter here."""

    parent: int
    reaped_ticks: int  # user and system time of children that have ended and been waited for


def parse_stat(text: str) -> Stat:
    fields = text[text.rindex(")") + 2 :].split()  # the name may hold spaces and brackets
    return Stat(int(fields[1]), int(fields[13]) + int(fields[14]))


def parse_pss_kib(text: str) -> int:
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise ValueError("no Pss line")


def descendants(root: int, parents: dict[int, int]) -> list[int]:
    """Return root and everybody below it, given each process's parent."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def total_us(clocks_ns: list[int], reaped_ticks: int, ticks_per_second: int) -> float:
    """Add up a tree's CPU time in µs. A child that ends moves from the first sum into the second."""
    return sum(clocks_ns) / 1000 + reaped_ticks * 1e6 / ticks_per_second


def _stats() -> dict[int, Stat]:
    stats = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                stats[int(entry.name)] = parse_stat((entry / "stat").read_text())
            except OSError:  # gone in the meantime
                continue
    return stats


def tree(root: int) -> list[int]:
    """Return the process and its descendants; only the process itself where there is no /proc."""
    if not SUPPORTED:
        return [root]
    return descendants(root, {pid: stat.parent for pid, stat in _stats().items()})


def cpu_us(root: int) -> float | None:
    """Return the CPU time the tree has used so far, in µs."""
    if not SUPPORTED:
        return None
    stats = _stats()
    pids = descendants(root, {pid: stat.parent for pid, stat in stats.items()})
    clocks, ticks = [], 0
    for pid in pids:
        try:
            clocks.append(time.clock_gettime_ns((~pid << 3) | _CPUCLOCK_SCHED))
        except OSError:
            continue
        ticks += stats[pid].reaped_ticks
    return total_us(clocks, ticks, os.sysconf("SC_CLK_TCK"))


def memory_kib(root: int) -> float | None:
    """Return the tree's memory in KiB."""
    if not SUPPORTED:
        return None
    total = 0
    for pid in tree(root):
        try:
            total += parse_pss_kib((PROC / str(pid) / "smaps_rollup").read_text())
        except OSError:
            continue
    return total
