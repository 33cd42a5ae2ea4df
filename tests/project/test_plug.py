"""The plug is pulled in the middle of many responses: every reader ends with the exact text, and one end."""

from __future__ import annotations

import json
import random
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

import plug
import plug_apis
from everytoken.sse import SSEDecoder
from everytoken.testing.plan import Plan
from everytoken.testing.upstream import APIS
from postgres_server import PROGRAMS, PostgresServer
from redis_cluster import ClusterServers
from redis_server import REDIS, RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def running(directory: Path, kind: str = "redis") -> Iterator[str]:
    """Run a server of our own; gives its URL."""
    if (REDIS if kind == "redis" else PROGRAMS) is None:
        pytest.skip(f"there is no server for {kind}")
    server = RedisServer(directory) if kind == "redis" else PostgresServer()
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


async def test_a_gateway_killed_and_started_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # to run the same again: python tests/plug.py --seed
    problems = await plug.sqlite_round(tmp_path, responses=200, chunks=60, pace=0.05, kills=3, seed=seed)
    assert problems == []


@pytest.mark.parametrize("kind", ["redis", "postgres"])
@pytest.mark.blocking_allowed("the server is started and stopped beside the test")
async def test_a_node_killed_for_good_is_replaced_by_another(tmp_path: Path, kind: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    with running(tmp_path, kind) as url:
        shape = {"responses": 200, "chunks": 60, "pace": 0.05}
        assert await plug.redis_round(url, tmp_path, seed=seed, **shape) == []


@pytest.mark.parametrize("kind", ["redis", "postgres"])
@pytest.mark.blocking_allowed("the server is started and stopped beside the test")
async def test_workers_that_are_killed_lose_and_double_nothing_and_nobody_waits_for_their_lease(
    tmp_path: Path, kind: str
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    with running(tmp_path, kind) as url:
        shape = {"responses": 120, "chunks": 60, "pace": 0.05, "kills": 3}
        assert await plug.workers_round(url, tmp_path, seed=seed, **shape) == []


@pytest.mark.skipif(REDIS is None, reason="there is no redis-server")
@pytest.mark.blocking_allowed("the servers are started and stopped beside the test")
async def test_a_master_of_six_servers_that_is_killed_with_a_node_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    cluster = ClusterServers(tmp_path, masters=3, replicas=1)
    try:
        cluster.start()
        shape = {"responses": 100, "chunks": 60, "pace": 0.05}
        assert await plug.failover_round(cluster, tmp_path, seed=seed, **shape) == []
    finally:
        cluster.stop()


@pytest.mark.parametrize("kind", ["redis", "postgres"])
@pytest.mark.blocking_allowed("the server is started and stopped beside the test")
async def test_a_node_that_slept_longer_than_its_lease_adds_nothing_when_it_wakes(
    tmp_path: Path, kind: str
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    with running(tmp_path, kind) as url:
        shape = {"responses": 40, "chunks": 60, "pace": 0.02}
        assert await plug.sleeping_round(url, tmp_path, seed=seed, **shape) == []


@pytest.mark.parametrize("journal", ["sqlite", "redis"])
@pytest.mark.blocking_allowed("a Redis server is started and stopped beside the test")
async def test_every_api_over_every_upstream_loses_and_doubles_nothing(tmp_path: Path, journal: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    with running(tmp_path) if journal == "redis" else nullcontext("") as url:
        shape = {"each": 3, "words": 24, "pace": 0.04, "kills": 2}
        assert await plug_apis.every_api_round(tmp_path, redis=url, seed=seed, **shape) == []


@pytest.mark.parametrize("api", APIS)
def test_what_is_lost_or_doubled_is_seen(api: str) -> None:
    """A test of the test: every event of an answer is left out once, and doubled once."""
    prompt, words = "ask-1-1", 6
    plan = APIS[api][1](plug_apis.answer_to(prompt, words, 0.0), {"model": "m", "stream": True}, number=0)
    assert isinstance(plan, Plan)
    sent = [event.data for event in SSEDecoder().receive_data(b"".join(plan.pieces))]
    events = [json.loads(data) for data in sent if data != "[DONE]"]

    def problems(got: list[Any], *, numbered: bool) -> list[str]:
        reading = plug_apis.Reading((api, api, "wire"), prompt)
        for number, event in enumerate(got):
            own = {"sequence_number": number} if "sequence_number" in event and numbered else {}
            reading.take({**event, **own}, number)
        reading.end = "done"
        return plug_apis.problems_of(reading, words)

    assert problems(events, numbered=False) == []
    for place, event in enumerate(events):
        empty = api == "chat" and not any(
            event["choices"][0]["delta"].get(name) for name in ("content", "tool_calls")
        )
        empty = empty or event.get("delta") == {"type": "input_json_delta", "partial_json": ""}
        if event.get("type") in ("ping", "response.in_progress") or (empty and event is not events[-1]):
            continue  # it says nothing that is compared
        assert problems([*events[:place], *events[place + 1 :]], numbered=True), event
        assert problems([*events[:place], event, *events[place:]], numbered=True), event
