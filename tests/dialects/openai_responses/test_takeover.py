"""A response of the Responses API whose process dies is continued by another, on every journal that outlives one."""

from __future__ import annotations

import asyncio
import json

import pytest

from everytoken.dialects.openai_responses import response_id_of
from everytoken.dialects.openai_responses.dialect import OPENAI_RESPONSES
from everytoken.recovery import Policy, Target
from everytoken.relay import Relays
from gateway_serving import ManualUpstream, limit
from journal_backends import BACKENDS, read_all, until
from responses_streams import STREAMS, check_one_stream, wire
from sampling import sampled

ASK = {"model": "m", "input": "Hello", "stream": True}
NAMES = ["function_call", "reasoning", "searched"]


def relays_over(upstream, journal, policy):
    return Relays({"manual": upstream}, lambda _: [Target(name="manual", policy=policy)], journal)


@pytest.mark.parametrize("backend", ["sqlite", "redis", "of the docs"])
@pytest.mark.parametrize("name", NAMES)
async def test_it_is_taken_over_behind_any_event(tmp_path, backend, name):
    kind = BACKENDS[backend](tmp_path)
    first, second = STREAMS[name]("a"), STREAMS[name]("b")
    policy = Policy(backoff=0.0, retry_after_max=0.0)
    started = []
    # How a journal is opened again has nothing to do with where the cut is.
    for cut in sampled(range(len(first)), 2 if backend == "sqlite" else 7):
        upstream = ManualUpstream()
        journal = await kind.open()
        relay = await relays_over(upstream, journal, policy).begin(OPENAI_RESPONSES.request(ASK))
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.sink.on_data(b"".join(wire(first)[:cut]))
        delivered = relay.recovery.records
        await until(lambda relay=relay, delivered=delivered: relay.log.tail == delivered)
        started.append(relay.stream_id)
        relay.let_go()
        await kind.crash(journal)

        again = await kind.open()
        relays = relays_over(upstream, again, policy)
        async with limit():
            while not await relays.take_over():  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
        attempt = await upstream.attempt(1)
        attempt.accept()
        attempt.sink.on_data(b"".join(wire(second)))
        log = await again.open(started[-1])
        await until(lambda log=log: log.closed)
        events = [json.loads(record) for record in await read_all(log)]
        assert (cut, log.info.result["outcome"]) == (cut, "completed")
        check_one_stream(events, first)
        assert events[0]["response"]["id"] == response_id_of(started[-1])
        await again.stop()


@pytest.mark.parametrize("backend", ["memory", "sqlite", "redis"])
@pytest.mark.parametrize("name", STREAMS)
async def test_stopped_in_the_middle_it_ends_in_the_apis_own_error(tmp_path, backend, name):
    kind = BACKENDS[backend](tmp_path)
    journal = await kind.open()
    upstream = ManualUpstream()
    relay = await relays_over(upstream, journal, Policy(attempts=1)).begin(OPENAI_RESPONSES.request(ASK))
    attempt = await upstream.attempt()
    attempt.accept()
    attempt.sink.on_data(b"".join(wire(STREAMS[name]("a"))[:6]))
    relay.stop()
    await until(lambda: relay.log.closed)
    *_, last = [json.loads(record) for record in await read_all(relay.log)]
    assert last == {
        "type": "error",
        "code": "cancelled",
        "message": "the response was stopped",
        "param": None,
        "sequence_number": relay.log.tail - 1,
        "error": last["error"],
    }
    await journal.stop()
