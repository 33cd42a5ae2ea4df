"""`starting_after` at every number gives what the journal has behind it, no byte more or less: for every shape of response."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from everytoken.formats.openai import KEEP_ALIVE
from gateway_serving import ManualUpstream, Wire, limit, serving
from journal_backends import read_all, shared_redis, until
from plug_nodes import one_started_again, request, two_of_which_one_dies
from responses_streams import STREAMS, check_one_stream, wire

ASK = {"model": "m", "input": "Hello", "stream": True}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
BEGUN = 4  # events of which some wait until there is content
JOURNALS = ["memory", "sqlite", "redis"]


def journal_at(backend, directory):
    return {
        "memory": lambda: "",
        "sqlite": lambda: f"sqlite:///{directory}/journal.sqlite",
        "redis": lambda: shared_redis().url,
    }[backend]()


def shown(records, begin):
    """Return records as the events that a reader gets; `begin` is the number of the first one."""
    return b"".join(
        b"event: %b\ndata: %b\nid: %016d\n\n" % (json.loads(record)["type"].encode(), record, number + 1)
        for number, record in enumerate(records, begin)
    )


def path_of(stream_id, number):
    return f"/v1/responses/resp_{stream_id}?stream=true&starting_after={number}"


@pytest.mark.parametrize("backend", JOURNALS)
@pytest.mark.parametrize("name", STREAMS)
async def test_at_every_number_it_is_the_rest_of_the_journal(tmp_path, backend, name):
    events = wire(STREAMS[name]("a"))
    upstream = ManualUpstream()
    async with serving(upstream, journal=journal_at(backend, tmp_path)) as gateway, limit():
        async with Wire.to(gateway.port) as first:
            first.send("POST", "/v1/responses", ASK)
            attempt = await upstream.attempt()
            attempt.accept()
            stream_id = (await first.head()).headers["location"].rpartition("/")[2]
            log = gateway.gateway.relays.get(stream_id).log
            reading = {}
            async with asyncio.TaskGroup() as readers:
                for sent, event in enumerate(events, 1):
                    attempt.sink.on_data(event)
                    if sent <= BEGUN:
                        continue  # the first ones wait for content
                    await until(lambda: log.tail == sent)  # noqa: B023  # it is awaited here
                    if sent == len(events):
                        break
                    # Of those that come while the rest is still to come, one for every number.
                    for begin in range(sent + 1) if not reading else [sent]:
                        reading[begin] = readers.create_task(
                            gateway.ask("GET", path_of(stream_id, begin - 1))
                        )
                    early = await gateway.ask("GET", path_of(stream_id, sent))
                    assert (early.status, early.error["param"]) == (400, "starting_after")
        assert sorted(reading) == list(range(len(events)))
        records = await read_all(log)
        assert len(records) == len(events)
        for begin, asking in reading.items():
            assert asking.result().complete
            # Where there is nothing yet, a comment is the first to be sent.
            assert asking.result().body.replace(KEEP_ALIVE, b"", 1) == shown(records[begin:], begin)
        for number in range(-1, len(records)):
            rest = await gateway.ask("GET", path_of(stream_id, number))
            assert (rest.status, rest.complete) == (200, True)
            assert rest.body == shown(records[number + 1 :], number + 1)
        beyond = await gateway.ask("GET", path_of(stream_id, len(records)))
        assert beyond.status == 400


class Server:
    """A model server whose first answer to each question stops behind its first item; the second one waits for a word."""

    def __init__(self):
        self.go_on = asyncio.Event()
        self._asked = set()

    async def serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"POST"):
                writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                return
            size = next(
                int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
            )
            name = json.loads(await reader.readexactly(size))["input"]
            if name in self._asked:
                await self.go_on.wait()
                writer.write(HEAD + b"".join(wire(STREAMS[name]("b"))))
                await writer.drain()
            else:
                self._asked.add(name)
                writer.write(HEAD + b"".join(wire(STREAMS[name]("a"))[: cut_of(name)]))
                await writer.drain()
                await reader.read()  # until the gateway is gone
        finally:
            writer.close()


def cut_of(name):
    """Return how many events the first answer has."""
    truth = STREAMS[name]("a")
    return next(n for n, event in enumerate(truth) if event["type"] == "response.output_item.done") + 1


async def first_half(url, name):
    """Ask, and leave in the middle; return the stream's id and what has come."""
    got, location = [], ""
    asking = request(url, "POST", "/v1/responses", {}, {**ASK, "input": name, "background": True})
    async for part in asking:
        if isinstance(part, dict):
            location = part["location"]
        else:
            got.append(part)
            if len(got) == cut_of(name):
                break
    await asking.aclose()
    return location.rpartition("/")[2], got


class First(random.Random):
    """Has the first gateway killed."""

    def choice(self, seq):
        return seq[0]


async def rest(url, stream_id, number, begun=None):
    """Return what is behind a number; `begun` is told when the head of the answer is there."""
    got = []
    async for part in request(url, "GET", path_of(stream_id, number), {}, None):
        if not isinstance(part, dict):
            got.append(part)
            continue
        assert part[":status"] == "200"
        if begun is not None:
            begun.release()
    return got


@pytest.mark.blocking_allowed("a Redis server is started beside the test")
@pytest.mark.parametrize("backend", ["sqlite", "redis"])
async def test_after_the_response_was_taken_over_too(tmp_path, backend):
    """The gateway that writes all of them is killed in the middle; it is another process that continues them."""
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    config = tmp_path / "everytoken.toml"
    config.write_text("lease = 1.0\n", encoding="utf-8")
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    journal = journal_at(backend, tmp_path)
    options = ("--upstream", url, "--journal", journal, "--config", str(config))
    gateways = one_started_again if backend == "sqlite" else two_of_which_one_dies
    async with listening, asyncio.timeout(50), gateways(*options) as plug:
        dead = plug.alive()[0]
        halves = dict(
            zip(STREAMS, await asyncio.gather(*(first_half(dead, name) for name in STREAMS)), strict=True)
        )
        await plug.kill(First())
        (now,) = plug.alive()
        begun = asyncio.Semaphore(0)
        during = {
            (name, number): asyncio.create_task(rest(now, halves[name][0], number, begun))
            for name in STREAMS
            for number in range(-1, cut_of(name))
        }
        for _ in during:
            await begun.acquire()
        server.go_on.set()
        for asking in during.values():
            await asking
        for name, (stream_id, before) in halves.items():
            whole = await rest(now, stream_id, -1)
            assert whole[: len(before)] == before
            check_one_stream([json.loads(data) for data, _ in whole], STREAMS[name]("a"))
            assert [int(offset) for _, offset in whole] == list(range(1, len(whole) + 1))
            for number in range(-1, len(whole)):
                assert await rest(now, stream_id, number) == whole[number + 1 :]
            for number in range(-1, cut_of(name)):
                assert during[name, number].result() == whole[number + 1 :]
