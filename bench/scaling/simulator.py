"""What many nodes would need, from what was measured of a few: which resource gives out first, and what it costs.

It adds up; it does not run anything. What it takes as given is in `Site`, and all of it is said on the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_LEASE: Final = (
    10.0  # seconds; a node looks for others that are gone, and says that it lives, three times in one
)
_LOOKED_FOR: Final = 64  # others, at most, that it looks for at a time
_PARTITIONS: Final = 12  # of a cluster, each looked at by itself, with two connections of each worker
_FRAME: Final = 260  # bytes of a chunk on the wire, as llama.cpp sends it
_FULL: Final = 0.7  # of a core or a link, above which queues grow


@dataclass(frozen=True)
class Measured:
    """The figures of one machine, see docs/scaling.md."""

    chunk_us: float  # CPU of a node for a chunk
    response_us: float  # and for what begins and ends a response
    open_kib: float  # memory of a node for an open response
    redis_us: float  # CPU of Redis for a chunk
    look_us: float  # and for a node that looks for others, for each of them
    told_us: float  # and to tell one node of a takeover
    entry_bytes: float  # memory of Redis for a chunk of an open response
    sealed_bytes: float  # and of one that has ended


@dataclass(frozen=True)
class Site:
    """What is there, and what it is for. A group of nodes has a Redis Cluster of its own; nothing crosses groups."""

    groups: int = 250
    nodes: int = 4  # of a group
    cores: int = 16  # of a node, with a worker each
    memory_gib: float = 64.0  # of a node
    masters: int = 12  # of a group; more than there are partitions would have nothing to do
    master_gib: float = 64.0
    link_gbit: float = 25.0  # of a node, and of a master
    responses: int = 10_000_000  # open at once
    rate: float = 20.0  # chunks a second of each
    chunks: int = 500  # of a response
    retention: float = 600.0  # seconds that an ended response is kept
    deaths: float = 1 / 600  # workers a second that die
    core_usd: float = 0.04  # an hour
    gib_usd: float = 0.005  # an hour


@dataclass(frozen=True)
class Need:
    """One resource: how much of what there is of it the site takes. 1 is all that may be used."""

    name: str
    used: float
    grows: str  # with what
    of_nodes: bool = False  # whether it is the same however many responses there are


def needs(figures: Measured, site: Site) -> list[Need]:
    """Return what the site takes of each resource, the scarcest first."""
    workers = site.nodes * site.cores
    responses = site.responses / site.groups
    per_node = responses / site.nodes
    chunks = responses * site.rate
    begun = chunks / site.chunks
    looks = workers * min(workers, _LOOKED_FOR) * _PARTITIONS / (_LEASE / 3)
    told = site.deaths / site.groups * per_node / site.cores * workers
    per_master = _FULL * 1e6 * min(site.masters, _PARTITIONS)
    wire = chunks * _FRAME * 8
    held = responses * site.chunks / 2 * figures.entry_bytes
    kept = begun * site.retention * site.chunks * figures.sealed_bytes
    found = [
        Need(
            "CPU of the nodes: chunks", chunks * figures.chunk_us / (_FULL * 1e6 * workers), "chunks a second"
        ),
        Need(
            "CPU of the nodes: beginnings and ends",
            begun * figures.response_us / (_FULL * 1e6 * workers),
            "responses a second",
        ),
        Need(
            "memory of the nodes", per_node * figures.open_kib / (site.memory_gib * 2**20), "open responses"
        ),
        Need("links of the nodes", 3 * wire / (_FULL * site.link_gbit * 1e9 * site.nodes), "chunks a second"),
        Need(
            "addresses of one upstream at a worker",
            per_node / site.cores / 28_231,
            "open responses of a worker",
        ),
        Need("CPU of Redis: chunks", chunks * figures.redis_us / per_master, "chunks a second"),
        Need(
            "CPU of Redis: nodes that look for others",
            looks * figures.look_us / per_master,
            "workers",
            of_nodes=True,
        ),
        Need(
            "CPU of Redis: news of takeovers",
            told * figures.told_us / per_master,
            "deaths, workers, responses",
        ),
        Need(
            "memory of Redis: open responses",
            held / (site.masters * site.master_gib * 2**30),
            "chunks that are kept",
        ),
        Need(
            "memory of Redis: ended responses",
            kept / (site.masters * site.master_gib * 2**30),
            "responses a second, retention",
        ),
        Need("links of Redis", wire / (_FULL * site.link_gbit * 1e9 * site.masters), "chunks a second"),
        Need(
            "connections of a master",
            2 * _PARTITIONS * workers / site.masters / 10_000,
            "workers",
            of_nodes=True,
        ),
    ]
    return sorted(found, key=lambda need: -need.used)


def carried(figures: Measured, site: Site) -> float:
    """Return how many open responses the site carries until the first resource gives out that grows with them."""
    return site.responses / max(need.used for need in needs(figures, site) if not need.of_nodes)


def usd_per_hour(site: Site) -> float:
    """Return what the machines cost an hour."""
    cores = site.nodes * site.cores + site.masters
    gib = site.nodes * site.memory_gib + site.masters * site.master_gib
    return site.groups * (cores * site.core_usd + gib * site.gib_usd)
