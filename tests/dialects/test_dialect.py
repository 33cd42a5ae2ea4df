"""The core knows no API but by its dialect: a toy one goes through recovery, the journals, takeover and the clients."""

from __future__ import annotations

import asyncio
import json

import httpx2
import pytest
from tests.dialects.toy import TOY

import everytoken
from everytoken.dialects import registry
from everytoken.errors import InvalidRequestError
from everytoken.recovery import Breaker, Connect, End, LearnedCapabilities, Policy, Recovery, Target
from everytoken.relay import Relays
from everytoken.testing.splits import split_everywhere
from gateway_serving import ManualUpstream, limit
from guide_loops import CONTEXT
from journal_backends import BACKENDS, read_all, until

WORDS = ["Hm. ", "One ", "two ", "three."]
RECORDS = [
    {"n": 1, "think": "Hm. "},
    *({"n": number, "say": word} for number, word in enumerate(WORDS[1:], 2)),
    {"n": 5, "end": True},
]
EVENTS = [b"data: %b\n\n" % json.dumps(record).encode() for record in RECORDS]
STREAM = b"".join(EVENTS)
ASK = {"ask": "Count.", "stream": True}
POLICY = Policy(backoff=0.0, retry_after_max=0.0)


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(registry._DIALECTS, TOY.name, TOY)


def recovery_of(policy=POLICY):
    learned = LearnedCapabilities()
    return Recovery(
        request=TOY.request(ASK),
        targets=[Target(name="a", policy=policy)],
        seed=None,
        jitter=lambda: 0.0,
        experience=lambda _: learned,
        breaker=Breaker(),
    )


def play(*attempts):
    """Return the recovery and what it delivers when each attempt sends these reads and then ends."""
    recovery = recovery_of()
    recovery.start(0.0)
    records = []
    reads = iter(attempts)
    while recovery.outcome is None:
        decisions, recovery.decisions = list(recovery.decisions), type(recovery.decisions)()
        if not any(isinstance(decision, (Connect, End)) for decision in decisions):
            records += recovery.tick(recovery.deadline)
            continue
        recovery.accept(0.0)
        for data in next(reads):
            records += recovery.receive_data(0.0, data)
        records += recovery.receive_eof(0.0)
    return recovery, [json.loads(record) for record in records]


def test_cut_anywhere_it_is_continued_with_the_right_numbers():
    for cut in range(len(STREAM)):
        recovery, records = play([STREAM[:cut]], [STREAM])
        assert (cut, recovery.outcome, records) == (cut, "completed", RECORDS)


def test_a_continuation_in_other_pieces_is_cut_where_the_text_was():
    joined = b'data: {"n": 1, "think": "Hm. ", "say": "One two "}\n\ndata: {"n": 2, "say": "three."}\n\n'
    wanted = [*RECORDS[:2], {"n": 3, "think": "", "say": "two "}, *RECORDS[3:]]
    for reads in split_everywhere(joined + EVENTS[4]):
        recovery, records = play([b"".join(EVENTS[:2])], reads)
        assert (reads, recovery.outcome, records) == (
            reads,
            "completed",
            [*wanted[:3], {"n": 4, "say": "three."}, RECORDS[4]],
        )


def test_an_end_without_its_mark_is_never_complete():
    recovery, records = play(*[[b"".join(EVENTS[:4])]] * 3)
    assert recovery.outcome == "interrupted"
    assert [record.get("end") for record in records] == [None] * 4


def test_what_cannot_be_read_names_its_field():
    with pytest.raises(InvalidRequestError) as error:
        TOY.request({})
    assert error.value.param == "ask"


@pytest.mark.parametrize("backend", ["sqlite", "redis", "of the docs"])
@pytest.mark.parametrize("delivered", range(len(RECORDS)))
async def test_a_response_is_taken_over_in_its_dialect(tmp_path, backend, delivered):
    kind = BACKENDS[backend](tmp_path)
    upstream = ManualUpstream()
    target = Target(name="manual", policy=POLICY)
    journal = await kind.open()
    relay = await Relays({"manual": upstream}, lambda _: [target], journal).begin(TOY.request(ASK))
    attempt = await upstream.attempt()
    attempt.accept()
    attempt.sink.on_data(b"".join(EVENTS[:delivered]))
    await until(lambda: relay.log.tail == delivered)
    stream_id = relay.stream_id
    relay.let_go()
    await kind.crash(journal)

    again = await kind.open()
    relays = Relays({"manual": upstream}, lambda _: [target], again)
    async with limit():
        while not await relays.take_over():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
    attempt = await upstream.attempt(1)
    assert attempt.body == {**ASK, "stream": True}
    attempt.accept()
    attempt.sink.on_data(STREAM)
    log = await again.open(stream_id)
    await until(lambda: log.closed)
    assert [json.loads(record) for record in await read_all(log)] == RECORDS
    assert log.info.result["outcome"] == "completed"
    await again.stop()


@pytest.mark.parametrize("backend", ["memory", "sqlite", "redis"])
async def test_what_did_not_complete_ends_in_the_dialects_own_error(tmp_path, backend):
    kind = BACKENDS[backend](tmp_path)
    upstream = ManualUpstream()
    target = Target(name="manual", policy=Policy(attempts=1))
    journal = await kind.open()
    relay = await Relays({"manual": upstream}, lambda _: [target], journal).begin(TOY.request(ASK))
    attempt = await upstream.attempt()
    attempt.accept()
    attempt.sink.on_data(EVENTS[0])
    relay.stop()
    await until(lambda: relay.log.closed)
    *_, last = await read_all(relay.log)
    assert json.loads(last) == {"oops": "the response was stopped"}
    await journal.stop()


class _Server:
    """Answers the first request with the beginning of the stream, then closes; all others with all of it."""

    def __init__(self, cut):
        self.cut = cut
        self.asked = []

    async def serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        self.asked.append((head.split()[1], json.loads(await reader.readexactly(size))))
        body = STREAM[: self.cut] if len(self.asked) == 1 else STREAM
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + body
        )
        await writer.drain()
        writer.close()


@pytest.mark.parametrize("cut", range(0, len(STREAM), 7))
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_both_clients_recover_it(cut, kind):
    server = _Server(cut)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/toy"

    def ask():
        with everytoken.Client(policy=POLICY, trust_env=False, verify=CONTEXT) as client:
            return client.post(url, json=ASK).content

    async def ask_async():
        async with everytoken.AsyncClient(policy=POLICY, trust_env=False, verify=CONTEXT) as client:
            return (await client.post(url, json=ASK)).content

    async with listening, limit():
        body = await (asyncio.to_thread(ask) if kind == "sync" else ask_async())
    assert [json.loads(block[6:]) for block in body.decode().split("\n\n")[:-1]] == RECORDS
    assert [path for path, _ in server.asked] == [b"/v1/toy"] * 2


async def test_the_client_raises_for_what_stays_cut():
    server = _Server(20)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/toy"
    async with (
        listening,
        limit(),
        everytoken.AsyncClient(policy=Policy(attempts=1), trust_env=False, verify=CONTEXT) as client,
    ):
        with pytest.raises(httpx2.TransportError):
            await client.post(url, json=ASK)
