"""Every fault of `everytoken.testing` in a stream of Messages, over real sockets: exact, or an explicit error."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from everytoken.errors import TABLE
from everytoken.recovery import Policy, Target
from everytoken.relay import Relays
from everytoken.testing import FAULTS, Answer, Kind, ScriptedUpstream, ToolCall
from everytoken.upstream.http import HttpUpstream
from fault_table import ANSWER, MOST_SECONDS, PATIENT, POLICY, fault_named, places
from gateway_serving import limit
from journal_backends import BACKENDS
from messages_play import MESSAGES, message_of
from messages_streams import ASK
from sampling import sampled

ANSWERS = {
    "text": ANSWER,
    "thinking": replace(ANSWER, reasoning="Let me think: 流式, 27 × 453 is more than that."),
    "tool": replace(
        ANSWER,
        content="Let me look.",
        tool_calls=(
            ToolCall("get_weather", '{"city":"Zürich","days":[1,2,3]}', "toolu_1"),
            ToolCall("get_weather", '{"city":"Oslo"}', "toolu_2"),
        ),
    ),
}
KINDS = {"continues": ({}, {"prefill": "yes"}), "repeats": ({"prefill": "refuse"}, {})}
# A stream of Messages has no end without its message_stop.
BROKEN = [name for name, fault in FAULTS.items() if fault.kind is Kind.BROKEN] + ["no-done", "cut-in-done"]
HEALTHY = [name for name, fault in FAULTS.items() if fault.kind is Kind.HEALTHY and name not in BROKEN]
# An event beside the message, as a chunk of another API is, is passed on where we do not know it.
SLOW = {"silent", "silent-after-accept", "silent-after-head", "only-comments", "only-empty-deltas"}


async def respond(answer, faults, journal, policy=POLICY, **target):
    """Let one response run to its end; return its records, its result and the attempts at the upstream."""
    async with AsyncExitStack() as stack:
        scripted = await stack.enter_async_context(ScriptedUpstream(answer, faults=faults))
        upstreams = {f"u{n}": HttpUpstream(f"u{n}", url) for n, url in enumerate(scripted.base_urls)}
        for upstream in upstreams.values():
            stack.push_async_callback(upstream.stop)
        targets = [Target(name=name, policy=policy, **target) for name in upstreams]
        relays = Relays(upstreams, lambda _: targets, journal, jitter=lambda: 0.5)
        relay = await relays.begin(MESSAGES.request(ASK), grace=None)
        ended = asyncio.Event()
        relay.log.subscribe(lambda: ended.set() if relay.log.closed else None)
        if not relay.log.closed:
            async with asyncio.timeout(MOST_SECONDS):
                await ended.wait()
        log = relay.log
        records = log.take(0, sys.maxsize)
        if records is None:
            records = await log.fetch(0, sys.maxsize)
        return [json.loads(record) for record in records], log.info.result, scripted


def check(case, records, result, scripted, truth):
    """Hold one response to the promise; return whether it is exact."""
    if result["outcome"] == "completed":
        assert (case, records[-1]) == (case, {"type": "message_stop"})
        assert (case, said(records)) == (case, truth)
        return True
    *delivered, error = records
    assert result["error"]["code"] in TABLE
    assert (error["type"], error["error"]["code"]) == ("error", result["error"]["code"])
    assert result["outcome"] == ("interrupted" if delivered else "failed"), case
    assert not any(record["type"] in {"message_delta", "message_stop"} for record in delivered), case
    assert truth.startswith(said(delivered)) or not delivered, case
    assert len(scripted.attempts) <= len(result["attempts"])
    return False


def said(records):
    """Return all that a message says, in a form whose beginnings are those of the message."""
    parts = []
    for record in records:
        start = record.get("content_block")
        if start is not None:
            parts.append(f"\n<{start['type']} {start.get('name', '')}>")
        delta = record.get("delta", {})
        parts += [
            str(delta[name]) for name in ("text", "thinking", "signature", "partial_json") if name in delta
        ]
    return "".join(parts)


@pytest.fixture(name="memory")
async def _memory(tmp_path):
    journal = await BACKENDS["memory"](tmp_path).open()
    yield journal
    await journal.stop()


async def truth_of(answer, journal):
    records, result, _ = await respond(answer, [], journal)
    assert result["outcome"] == "completed"
    assert message_of(records)["stop_reason"] in {"end_turn", "tool_use"}
    return said(records)


def cells():
    for name in BROKEN:
        for text in ANSWERS:
            kinds = KINDS if text == "text" else ["repeats"]
            if text == "text" or (len(FAULTS[name].positions) > 1 and name != "huge-event"):
                yield from ((name, text, kind) for kind in kinds)


@pytest.mark.virtual_time
@pytest.mark.parametrize(("name", "text", "kind"), sampled(list(cells()), 3))
async def test_a_broken_message_is_repaired_or_its_error_is_told(name, text, kind, memory):
    behaviour, target = KINDS[kind]
    answer = replace(ANSWERS[text], **behaviour)
    truth = await truth_of(answer, memory)
    fault = fault_named(name)
    for position in places(fault):
        for when in (0, "always"):
            case = (position, when)
            records, result, scripted = await respond(answer, [(when, fault, position)], memory, **target)
            exact = check(case, records, result, scripted, truth)
            if when == 0:
                assert (case, exact, len(result["attempts"]) >= 2) == (case, True, True)
                if name in SLOW:
                    assert result["attempts"][0]["cause"] is None, (
                        "it was only slow, and lost against a hedge"
                    )


@pytest.mark.virtual_time
@pytest.mark.parametrize("name", HEALTHY)
async def test_an_odd_message_is_passed_on_exactly(name, memory):
    for text in ("thinking", "tool"):
        for position in places(FAULTS[name]):
            expected = Answer(ANSWERS[text].content, reasoning=ANSWERS[text].reasoning)
            records, result, scripted = await respond(
                ANSWERS[text], [("always", name, position)], memory, policy=PATIENT
            )
            assert (name, result["outcome"], len(scripted.attempts)) == (name, "completed", 1)
            message = message_of(records)
            assert message["content"][0].get("thinking", "") == expected.reasoning
            if name != "repeated-chunk":
                assert "".join(block.get("text", "") for block in message["content"]) == expected.text


@pytest.mark.virtual_time
@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.kind is Kind.REFUSED])
async def test_a_refusal_is_passed_on_and_not_tried_again(name, memory):
    records, result, scripted = await respond(ANSWERS["text"], [("always", name, "start")], memory)
    assert (result["outcome"], result["error"]["code"], len(scripted.attempts)) == (
        "failed",
        "upstream-status",
        1,
    )
    assert [record["type"] for record in records] == ["error"]


@pytest.mark.parametrize("backend", ["memory", "sqlite", "redis"])
@pytest.mark.parametrize("name", ["close", "clean-end", "error-type", "cut-in-event", "no-done"])
@pytest.mark.parametrize("text", ANSWERS)
async def test_on_every_journal_it_is_exact_or_told(backend, name, text, tmp_path):
    journal = await BACKENDS[backend](tmp_path).open()
    try:
        truth = await truth_of(ANSWERS[text], journal)
        for position in FAULTS[name].positions:
            for when in (0, "always"):
                async with limit():
                    records, result, scripted = await respond(
                        ANSWERS[text], [(when, name, position)], journal, policy=Policy(backoff=0.0)
                    )
                exact = check((position, when), records, result, scripted, truth)
                assert exact or when == "always", position
    finally:
        await journal.stop()
