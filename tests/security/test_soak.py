"""Mixed abuse of one gateway beside honest readers: every honest answer is exact, `/readyz` never lies, memory stays.

A short run belongs to `make test`. The long one is for `make soak`, or `EVERYTOKEN_SOAK=1`: `EVERYTOKEN_SOAK_SECONDS` says
how long (600), and only it measures memory.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

import abuse

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = float(os.environ.get("EVERYTOKEN_SOAK_SECONDS", "600"))


def say(line: str) -> None:
    print(f"abuse: {line}", flush=True)  # noqa: T201  # shown when it fails, or with -s


@pytest.mark.blocking_allowed("the gateway is another process")
async def test_honest_readers_do_not_notice_a_short_abuse(tmp_path: Path) -> None:
    shape = abuse.Shape(seconds=20, readers=20, streams=abuse.allowed(200), slow=10, hands=1)
    soak = await abuse.abuse(tmp_path, shape, say)
    assert soak.problems == []
    kinds = {"exact", "ready", "abort", "endless_headers", "flood", "odd_json", "own_stream", "requests"}
    assert kinds <= {kind for kind, count in soak.done.items() if count}


@pytest.mark.skipif(os.environ.get("EVERYTOKEN_SOAK") != "1", reason="takes minutes: make soak")
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.blocking_allowed("the gateway is another process")
async def test_honest_readers_do_not_notice_a_long_abuse(tmp_path: Path) -> None:
    shape = abuse.Shape(seconds=SECONDS, streams=abuse.allowed(5000))
    soak = await abuse.abuse(tmp_path, shape, say)
    assert soak.problems == []
