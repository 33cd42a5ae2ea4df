"""Every fault of `everytoken.testing` in a stream of Responses, over real sockets: exact, or an explicit error."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from api_faults import ANSWER, API, judged, spoken
from everytoken.dialects.registry import dialect_named
from everytoken.errors import TABLE
from everytoken.journal.memory import MemoryJournal
from everytoken.recovery import Target
from everytoken.relay import Relays
from everytoken.testing import FAULTS, Kind, ScriptedUpstream
from everytoken.testing.responses import plan_response
from everytoken.upstream.http import HttpUpstream
from fault_table import MOST_SECONDS, PATIENT, POLICY, fault_named, places

pytestmark = pytest.mark.virtual_time

RESPONSES = dialect_named("openai-responses")
ASK = {**API["responses"].ask, "stream": True}
# The last event is the only end.
BROKEN = [name for name, fault in FAULTS.items() if fault.kind is Kind.BROKEN] + ["no-done", "cut-in-done"]
HEALTHY = [name for name, fault in FAULTS.items() if fault.kind is Kind.HEALTHY and name not in BROKEN]
SLOW = {"silent", "silent-after-accept", "silent-after-head", "only-comments", "only-empty-deltas"}


async def respond(answer, faults, policy=POLICY):
    """Let one response run to its end; return its records, its result and the upstream."""
    async with AsyncExitStack() as stack:
        scripted = await stack.enter_async_context(ScriptedUpstream(answer, faults=faults))
        upstreams = {f"u{n}": HttpUpstream(f"u{n}", url) for n, url in enumerate(scripted.base_urls)}
        for upstream in upstreams.values():
            stack.push_async_callback(upstream.stop)
        journal = MemoryJournal()
        await journal.start()
        stack.push_async_callback(journal.stop)
        targets = [Target(name=name, policy=policy) for name in upstreams]
        relays = Relays(upstreams, lambda _: targets, journal, jitter=lambda: 0.5)
        relay = await relays.begin(RESPONSES.request(ASK), grace=None)
        ended = asyncio.Event()
        relay.log.subscribe(lambda: ended.set() if relay.log.closed else None)
        if not relay.log.closed:
            async with asyncio.timeout(MOST_SECONDS):
                await ended.wait()
        return [record.decode() for record in relay.log.take(0, sys.maxsize)], relay.log.info.result, scripted


def truth_of(answer):
    lines = b"".join(plan_response(answer, ASK, number=0).pieces).decode().split("\n")
    return "".join(
        spoken([json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")])
    )


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_response_is_repaired_or_its_error_is_told(name):
    fault = fault_named(name)
    for position in places(fault):
        for when in (0, "always"):
            case = (position, when)
            records, result, scripted = await respond(ANSWER, [(when, fault, position)])
            told = judged(API["responses"], records)
            assert (case, told == "exact") == (case, result["outcome"] == "completed")
            if when == 0:
                assert (case, told, len(result["attempts"]) >= 2) == (case, "exact", True)
                if name in SLOW:
                    assert result["attempts"][0]["cause"] is None, (
                        "it was only slow, and lost against a hedge"
                    )
            elif told != "exact":
                assert result["error"]["code"] in TABLE
                assert f"{result['outcome']}: `{result['error']['code']}`" == told
            assert len(scripted.attempts) <= len(result["attempts"])


@pytest.mark.parametrize("name", HEALTHY)
async def test_an_odd_response_is_passed_on_exactly(name):
    for position in places(FAULTS[name]):
        records, result, scripted = await respond(ANSWER, [("always", name, position)], policy=PATIENT)
        truth = truth_of(replace(scripted.answer, tool_index=True))
        assert judged(API["responses"], records, truth) == "exact"
        assert (name, result["outcome"], len(scripted.attempts)) == (name, "completed", 1)


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.kind is Kind.REFUSED])
async def test_a_refusal_is_passed_on_and_not_tried_again(name):
    records, result, scripted = await respond(ANSWER, [("always", name, "start")])
    assert (result["outcome"], result["error"]["code"], len(scripted.attempts)) == (
        "failed",
        "upstream-status",
        1,
    )
    assert [json.loads(record)["type"] for record in records] == ["error"]
