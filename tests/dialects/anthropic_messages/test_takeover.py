"""Messages on every journal: what a dead process has written is continued by another one, as the one message."""

from __future__ import annotations

import asyncio
import json

import pytest

from everytoken.recovery import Policy, Target
from everytoken.relay import Relays
from gateway_serving import ManualUpstream, limit
from journal_backends import BACKENDS, read_all, until
from messages_play import MESSAGES, POLICY, unmarked
from messages_streams import ASK, STREAMS, encoded, visible

CUTS = [
    (name, number)
    for name in ("text", "thinking", "tool", "server tool")
    for number in range(3, len(visible(STREAMS[name])), 2)
]


@pytest.mark.parametrize("backend", ["sqlite", "redis", "of the docs"])
@pytest.mark.parametrize(("name", "delivered"), CUTS)
async def test_a_message_is_taken_over(tmp_path, backend, name, delivered):
    events = visible(STREAMS[name])
    # The last two are stored together, when both have come.
    delivered = min(delivered, len(events) - 2)
    kind = BACKENDS[backend](tmp_path)
    upstream = ManualUpstream()
    target = Target(name="manual", policy=POLICY)
    journal = await kind.open()
    relay = await Relays({"manual": upstream}, lambda _: [target], journal).begin(MESSAGES.request(ASK))
    attempt = await upstream.attempt()
    attempt.accept()
    attempt.sink.on_data(b"".join(encoded(events)[:delivered]))
    held = 0 if any(_says(event) for event in events[:delivered]) else delivered
    await until(lambda: relay.log.tail == delivered - held)
    stream_id = relay.stream_id
    relay.let_go()
    await kind.crash(journal)

    again = await kind.open()
    relays = Relays({"manual": upstream}, lambda _: [target], again)
    async with limit():
        while not await relays.take_over():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
    attempt = await upstream.attempt(1)
    assert attempt.body == ASK
    attempt.accept()
    attempt.sink.on_data(b"".join(encoded(events)))
    log = await again.open(stream_id)
    await until(lambda: log.closed)
    records = [json.loads(record) for record in await read_all(log)]
    assert unmarked(records) == unmarked(events)
    assert log.info.result["outcome"] == "completed"
    await again.stop()


def _says(event):
    said = {**event.get("delta", {}), **event.get("content_block", {})}
    return any(value for name, value in said.items() if name != "type")


@pytest.mark.parametrize("backend", ["memory", "sqlite", "redis"])
async def test_what_did_not_complete_ends_in_an_error_of_the_api(tmp_path, backend):
    kind = BACKENDS[backend](tmp_path)
    upstream = ManualUpstream()
    target = Target(name="manual", policy=Policy(attempts=1))
    journal = await kind.open()
    relay = await Relays({"manual": upstream}, lambda _: [target], journal).begin(MESSAGES.request(ASK))
    attempt = await upstream.attempt()
    attempt.accept()
    attempt.sink.on_data(b"".join(encoded(STREAMS["text"])[:4]))
    relay.stop()
    await until(lambda: relay.log.closed)
    *_, last = await read_all(relay.log)
    told = {"type": "api_error", "message": "the response was stopped", "code": "cancelled"}
    assert json.loads(last) == {"type": "error", "error": told}
    await journal.stop()
