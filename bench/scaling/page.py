"""docs/scaling.md: its tables are written here, from what was measured."""

from __future__ import annotations

import re
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from bench.scaling.plot import curves
from bench.scaling.simulator import Measured, Site, carried, needs, usd_per_hour

if TYPE_CHECKING:
    from collections.abc import Mapping

FLOOR: Final = "nginx"
_BLOCK: Final = "<!-- {0}: begin -->\n{1}\n<!-- {0}: end -->"


def into(page: str, name: str, text: str) -> str:
    """Return the page with `text` between the two comments of this name."""
    found, count = re.subn(
        rf"<!-- {name}: begin -->\n.*?<!-- {name}: end -->",
        lambda _: _BLOCK.format(name, text),
        page,
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(f"the page has no place for {name}")
    return found


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def costs(what: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of one curve: µs of CPU for a chunk, and how often that of nginx."""
    floor = found.get(FLOOR, {})
    points = list(next(iter(found.values())))
    rows = []
    for name, line in found.items():
        cells = [name]
        for point in points:
            own, base = line[point]["cpu_us"], floor.get(point, {}).get("cpu_us")
            times = "" if name == FLOOR or own is None or not base else f" ({own / base:.1f})"
            cells.append(_number(own) + times)
        rows.append(cells)
    return _table([what, *(f"{int(point):,}" for point in points)], rows)


def held(found: Mapping[str, Mapping[str, float | None]]) -> str:
    """Return the table of memory."""
    points = list(next(iter(found.values())))
    rows = [[name, *(_number(value) for value in line.values())] for name, line in found.items()]
    return _table(["responses × chunks", *points], rows)


def curve(what: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the picture of one curve."""
    lines = {
        name: [(float(point), one["cpu_us"]) for point, one in line.items() if one["cpu_us"]]
        for name, line in found.items()
    }
    return curves({name: line for name, line in lines.items() if line}, what, "µs of CPU for a chunk")


def shared(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of nodes."""
    points = list(next(iter(found.values())))
    rows = [
        [place, *(f"{line[point]['nodes_us']:.1f} + {line[point]['redis_us']:.1f}" for point in points)]
        for place, line in found.items()
    ]
    return _table(
        [
            "µs of CPU for a chunk: nodes + Redis",
            *(f"{point} node{'s' * (point != '1')}" for point in points),
        ],
        rows,
    )


def retained(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table of what is retained."""
    points = list(next(iter(found.values())))
    rows = []
    for kind, line in found.items():
        for title, name, digits in (
            ("start, s", "start", 2),
            ("a look-up, µs, median", "lookup", 0),
            ("a look-up, µs, p99", "lookup_p99", 0),
            ("one that is removed, µs", "removed", 0),
        ):
            values = [line[point][name] if point in line else None for point in points]
            if any(value is not None for value in values):
                rows.append([f"{kind}: {title}", *(_number(value, digits) for value in values)])
    return _table(["retained", *(f"{int(point):,}" for point in points)], rows)


def measured(figures: Mapping[str, Any]) -> Measured:
    """Return what the simulator takes from the figures."""
    one = figures["nodes"]["three masters"]["1"]  # as busy as a worker of a large site is
    length = figures["lengths"]["everytoken, Redis"]
    chunk = length["10000"]["cpu_us"]
    return Measured(
        chunk_us=one["nodes_us"],
        response_us=max(0.0, (length["10"]["cpu_us"] - chunk) * 10),
        open_kib=next(iter(figures["held"]["everytoken, Redis"].values())),
        redis_us=one["redis_us"],
        **figures["housekeeping"],
    )


def simulated(figures: Mapping[str, Any], site: Site | None = None) -> str:
    """Return what the simulator says of a site."""
    site, taken = site or Site(), measured(figures)
    enough = replace(site, groups=ceil(site.groups * site.responses / carried(taken, site)))
    rows = [[need.name, f"{need.used:.2f}", need.grows] for need in needs(taken, site)]
    return (
        f"{site.responses:,} open responses on {site.groups * site.nodes:,} nodes with {site.cores} workers and "
        f"{site.memory_gib:.0f} GiB each, in {site.groups} groups, each with a Redis Cluster of {site.masters} masters of "
        f"{site.master_gib:.0f} GiB. {site.rate:.0f} chunks a second of each response, {site.chunks} chunks in each, kept for "
        f"{site.retention / 60:.0f} minutes after the end; a worker dies every {1 / site.deaths / 60:.0f} minutes. The machines "
        f"cost {usd_per_hour(site):,.0f} USD an hour, at {site.core_usd} for a core and {site.gib_usd} for a GiB.\n\n"
        + _table(["resource", "used", "grows with"], rows)
        + f"\n\nOf what grows with responses, the scarcest gives out at {carried(taken, site):,.0f} open ones. "
        f"All {site.responses:,} need {enough.groups:,} such groups, at {usd_per_hour(enough):,.0f} USD an hour."
    )
