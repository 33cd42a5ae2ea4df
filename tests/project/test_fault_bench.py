"""The sixteen cases of bench/faults against the gateway and the client, in virtual time: all of them pass."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from bench.faults.cases import CASES
from bench.faults.contenders import client, sdk
from bench.faults.scoring import run

from everytoken.gateway import UpstreamConfig
from gateway_serving import serving

pytestmark = pytest.mark.virtual_time


@asynccontextmanager
async def gateway(primary, fallback):
    upstreams = [UpstreamConfig(name="primary", url=primary), UpstreamConfig(name="fallback", url=fallback)]
    async with serving(*upstreams) as served, sdk(f"{served.url}/v1") as asked:
        yield asked


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("contender", [gateway, client], ids=["gateway", "client"])
async def test_every_case_passes(contender, case):
    result = await run(case, contender)
    assert result.verdict == "pass", result
