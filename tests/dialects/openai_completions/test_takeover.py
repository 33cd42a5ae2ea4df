"""A completion whose process dies is continued by another, on every journal that outlives one."""

from __future__ import annotations

import asyncio
import json

import pytest

from completion_streams import ASK, TEXT, finishes, like_openai, text_of, wire
from everytoken.dialects.openai_completions.dialect import OPENAI_COMPLETIONS
from everytoken.recovery import Policy, Target
from everytoken.relay import Relays
from gateway_serving import ManualUpstream, limit
from journal_backends import BACKENDS, read_all, until


def relays_over(upstream, journal, policy):
    return Relays({"manual": upstream}, lambda _: [Target(name="manual", policy=policy)], journal)


@pytest.mark.parametrize("backend", ["sqlite", "redis", "of the docs"])
async def test_it_is_taken_over_behind_any_event(tmp_path, backend):
    kind = BACKENDS[backend](tmp_path)
    first, second = wire(like_openai("a")), wire(like_openai("b"))
    policy = Policy(backoff=0.0, retry_after_max=0.0)
    for cut in range(len(first) - 2):
        upstream = ManualUpstream()
        journal = await kind.open()
        relay = await relays_over(upstream, journal, policy).begin(OPENAI_COMPLETIONS.request(ASK))
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.sink.on_data(b"".join(first[:cut]))
        delivered = relay.recovery.records
        await until(lambda relay=relay, delivered=delivered: relay.log.tail == delivered)
        stream_id = relay.stream_id
        relay.let_go()
        await kind.crash(journal)

        again = await kind.open()
        relays = relays_over(upstream, again, policy)
        async with limit():
            while not await relays.take_over():  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
        log = await again.open(stream_id)
        if not log.closed:
            attempt = await upstream.attempt(1)
            attempt.accept()
            attempt.sink.on_data(b"".join(second))
        await until(lambda log=log: log.closed)
        records = [json.loads(record) for record in await read_all(log)]
        assert (cut, log.info.result["outcome"]) == (cut, "completed")
        assert (text_of(records), finishes(records)) == (TEXT, ["stop"])
        assert len({record["id"] for record in records}) == 1
        await again.stop()


@pytest.mark.parametrize("backend", ["memory", "sqlite", "redis"])
async def test_stopped_in_the_middle_it_ends_in_an_error(tmp_path, backend):
    kind = BACKENDS[backend](tmp_path)
    journal = await kind.open()
    upstream = ManualUpstream()
    relay = await relays_over(upstream, journal, Policy(attempts=1)).begin(OPENAI_COMPLETIONS.request(ASK))
    attempt = await upstream.attempt()
    attempt.accept()
    attempt.sink.on_data(b"".join(wire(like_openai("a"))[:3]))
    relay.stop()
    await until(lambda: relay.log.closed)
    *_, last = [json.loads(record) for record in await read_all(relay.log)]
    assert last["error"]["code"] == "cancelled"
    await journal.stop()
