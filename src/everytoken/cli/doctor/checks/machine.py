"""The gateway's machine: room on the disk, open files, and whether it is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from everytoken.cli.doctor.advice import setting
from everytoken.cli.doctor.findings import Change, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from everytoken.cli.doctor.measured import Measured

__all__ = ["machine"]

_FULL: Final = 64 * 1024**2  # bytes free below which the gateway is not ready
_NEARLY: Final = 0.05  # of the disk
_FEW: Final = 4096  # open files
_USED: Final = 0.8  # of the open files


def machine(measured: Measured) -> Iterator[Finding]:
    """Say what the machine runs out of."""
    health = measured.health
    if health is None:
        return
    yield from _disk(health.get("disk") or {})
    yield from _files(health.get("descriptors") or {})
    known = ("disk", "is set aside", "are set aside", "journal")
    for reason in (health.get("ready") or {}).get("reasons", ()):
        if not any(word in reason for word in known):
            yield Finding(
                "not-ready", "error", f"The gateway is not ready: {reason}.", "It takes no new requests."
            )
    for one in (health.get("ready") or {}).get("set_aside", ()):
        yield Finding(
            "upstream-set-aside",
            "warning",
            f"The upstream {one.get('upstream')!r} is set aside for {one.get('seconds')} s (model {one.get('model')!r}).",
            "It has failed several times in a row; requests go to others, if there are any.",
            setting("[breaker]  # failures, pause"),
        )


def _disk(disk: dict[str, Any]) -> Iterator[Finding]:
    where = disk.get("directory", "")
    if disk.get("problem"):
        what = f"The journal's disk has a problem: {disk['problem']}."
        yield Finding(
            "disk-problem",
            "error",
            what,
            "Responses cannot be stored.",
            (Change("the gateway's machine", f"df -h {where}"),),
        )
        return
    free, total = disk.get("free"), disk.get("total")
    if free is None or not total:
        return
    limit = disk.get("max_journal", 0)
    evidence = f"{_size(free)} of {_size(total)} are free at {where}; max_journal is {_size(limit)}"
    room = max(_FULL, int(free * 0.5))
    change = (
        Change("the gateway's machine", f"make room on the disk of {where}"),
        *setting(f"max_journal = {room}"),
    )
    if free < _FULL:
        yield Finding(
            "disk-full",
            "error",
            "The journal's disk is full.",
            "New responses are refused.",
            change,
            evidence,
        )
    elif free < max(_FULL * 4, min(total * _NEARLY, limit)):
        yield Finding(
            "disk-nearly-full",
            "warning",
            f"The journal's disk is nearly full: {_size(free)} are free.",
            "The journal may grow to max_journal; when the disk is full, new responses are refused.",
            change,
            evidence,
        )


def _files(told: dict[str, Any]) -> Iterator[Finding]:
    soft = told.get("soft")
    if not isinstance(soft, int) or soft <= 0:
        return  # unlimited
    used = told.get("open", 0)
    change = (
        Change("the systemd unit", "LimitNOFILE=65536"),
        Change("the shell that starts it", "ulimit -n 65536"),
    )
    evidence = f"{used} of {soft} open files are used; max_connections is {told.get('max_connections')}"
    if used >= soft * _USED:
        what = f"The gateway has nearly all the open files that it may have: {used} of {soft}."
        yield Finding("files-nearly-used-up", "error", what, "New connections are refused.", change, evidence)
    elif soft < _FEW:
        what = f"The gateway may open only {soft} files."
        why = f"A response needs two, so {max(1, (soft - 64) // 2)} can run at once; more connections are refused."
        yield Finding("few-files", "warning", what, why, change, evidence)


def _size(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit in {"bytes", "KiB"} else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
