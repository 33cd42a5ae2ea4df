"""The official SDK's `responses` inside our clients: cut anywhere, it reads one stream."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest

import everytoken
from everytoken.recovery import Policy
from gateway_serving import ManualUpstream, limit, serving
from guide_loops import CONTEXT
from responses_streams import STREAMS, check_one_stream, wire

POLICY = Policy(backoff=0.0, retry_after_max=0.0)
ASK = {"model": "m", "input": "Hello", "stream": True}


class Server:
    """Answers the first request with the beginning of a stream, then closes; all others with all of it."""

    def __init__(self, name, cut):
        self.name = name
        self.cut = cut
        self.asked = []

    async def serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        self.asked.append(json.loads(await reader.readexactly(size)))
        events = wire(STREAMS[self.name]("ab"[min(len(self.asked), 2) - 1]))
        body = b"".join(events[: self.cut] if len(self.asked) == 1 else events)
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + body
        )
        await writer.drain()
        writer.close()


@pytest.mark.parametrize("cut", [1, 3, 5, 6, 9, 12])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_cut_stream_is_one_stream(cut, kind):
    server = Server("function_call", cut)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"

    def ask():
        with everytoken.Client(policy=POLICY, trust_env=False, verify=CONTEXT) as http:
            client = openai.OpenAI(base_url=url, api_key="none", http_client=http, max_retries=0)
            return list(client.responses.create(**ASK))

    async def ask_async():
        async with everytoken.AsyncClient(policy=POLICY, trust_env=False, verify=CONTEXT) as http:
            client = openai.AsyncOpenAI(base_url=url, api_key="none", http_client=http, max_retries=0)
            return [event async for event in await client.responses.create(**ASK)]

    async with listening, limit():
        events = await (asyncio.to_thread(ask) if kind == "sync" else ask_async())
    check_one_stream([event.to_dict() for event in events], STREAMS["function_call"]("a"))
    assert len(server.asked) == 2


async def test_what_stays_cut_is_no_end():
    server = Server("text", 6)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    once = Policy(attempts=1)
    async with (
        listening,
        limit(),
        everytoken.AsyncClient(policy=once, trust_env=False, verify=CONTEXT) as http,
    ):
        client = openai.AsyncOpenAI(base_url=url, api_key="none", http_client=http, max_retries=0)
        stream = await client.responses.create(**ASK)
        seen = [(await anext(stream)).type for _ in range(6)]
        with pytest.raises(openai.APIError):
            await anext(stream)
    assert seen == [event["type"] for event in STREAMS["text"]("a")[:6]]


async def test_through_a_gateway_it_has_the_gateways_ids():
    upstream = ManualUpstream()
    async with (
        serving(upstream) as gateway,
        limit(),
        everytoken.AsyncClient(policy=POLICY, trust_env=False, verify=CONTEXT) as http,
    ):
        client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", http_client=http)
        asking = asyncio.create_task(client.responses.create(**ASK))
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.sink.on_data(b"".join(wire(STREAMS["text"]("a"))))
        events = [event async for event in await asking]
        again = await client.responses.retrieve(events[0].response.id)
    check_one_stream([event.to_dict() for event in events], STREAMS["text"]("a"))
    assert again.output_text == events[-1].response.output_text
