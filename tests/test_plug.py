"""The plug is pulled in the middle of many responses: every reader ends with the exact text, and one end."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

import plug
from redis_server import REDIS, RedisServer

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_gateway_killed_and_started_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # to run the same again: python tests/plug.py --seed
    problems = await plug.sqlite_round(tmp_path, responses=200, chunks=60, pace=0.05, kills=3, seed=seed)
    assert problems == []


@pytest.mark.skipif(REDIS is None, reason="there is no redis-server")
@pytest.mark.blocking_allowed("the server is started and stopped beside the test")
async def test_a_node_killed_for_good_is_replaced_by_another(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    server = RedisServer(tmp_path)
    server.start()
    try:
        shape = {"responses": 200, "chunks": 60, "pace": 0.05}
        assert await plug.redis_round(server.url, tmp_path, seed=seed, **shape) == []
    finally:
        server.stop()
