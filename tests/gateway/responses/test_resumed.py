"""OpenAI's own resume, against us: across `kill -9` of the gateway, and over the model that ships with everytoken."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import openai
import pytest
from tests.recovery.test_embedded import Cutter

from command_line import read_line, started
from everytoken.gateway import UpstreamConfig
from everytoken.recovery import Policy
from everytoken.upstream.local import MODEL, LocalModel
from gateway_serving import serving
from responses_streams import STREAMS, check_one_stream, read_by_sdk, wire

ASK_LOCAL = {
    "model": MODEL,
    "input": "Name three rivers.",
    "instructions": "Be brief.",
    "max_output_tokens": 8,
    "extra_body": {"seed": 11},
}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


class Server:
    """A model server whose first answer stops after `cut` events, and waits; the others are whole."""

    def __init__(self, name, cut):
        self._name = name
        self._cut = cut
        self.asked = []

    async def serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(
                int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
            )
            self.asked.append((head.split()[1], json.loads(await reader.readexactly(size))))
            number = len(self.asked) - 1
            events = wire(STREAMS[self._name]("abc"[number]))
            writer.write(HEAD + b"".join(events[: self._cut] if number == 0 else events))
            await writer.drain()
            if number == 0:
                await reader.read()  # until the gateway is gone
        finally:
            writer.close()


@asynccontextmanager
async def process(url, journal):
    """Run a gateway as a process of its own; gives it and its URL."""
    arguments = ("serve", "--port", "0", "--upstream", url, "--journal", journal)
    with started(*arguments) as gateway:
        line = await asyncio.to_thread(read_line, gateway)
        yield gateway, line.rsplit(maxsplit=1)[-1]


def sdk(url):
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


@pytest.mark.parametrize("name", ["function_call", "reasoning", "parallel_calls"])
async def test_the_sdk_resumes_across_kill_9_of_the_gateway(tmp_path, name):
    truth = STREAMS[name]("a")
    server = Server(name, cut=len(truth) // 2)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    journal = f"sqlite:///{tmp_path}/journal"
    seen = []
    async with listening, asyncio.timeout(50):
        async with process(url, journal) as (gateway, address), sdk(address) as client:
            stream = await client.responses.create(model="m", input="Hello", stream=True, background=True)
            while len(seen) < len(truth) // 2:
                seen.append(await anext(stream))
            gateway.kill()
            with pytest.raises(openai.APIConnectionError):
                await anext(stream)
        async with process(url, journal) as (_, address), sdk(address) as client:
            response_id, number = seen[0].response.id, seen[-1].sequence_number
            async with client.responses.stream(response_id=response_id, starting_after=number) as rest:
                behind = [event async for event in rest]
                final = await rest.get_final_response()
            again = await client.responses.retrieve(response_id)
            raw = await client.responses.retrieve(response_id, stream=True, starting_after=number)
            tail = [event async for event in raw]
    assert [event.sequence_number for event in behind] == list(range(number + 1, len(truth)))
    assert [event.sequence_number for event in tail] == list(range(number + 1, len(truth)))
    check_one_stream([event.to_dict() for event in (*seen, *tail)], truth)
    assert final.output_text == again.output_text == read_by_sdk(truth).output_text
    assert [path for path, _ in server.asked] == [b"/v1/responses"] * 2
    first, second = (body for _, body in server.asked)
    assert first == second
    assert "background" not in first


@pytest.mark.timeout(120)
async def test_the_embedded_model_answers_it_and_a_cut_makes_no_difference():

    async with LocalModel(context_tokens=512, parallel=2) as model:
        cutter = Cutter(int(model.endpoint.base_url.rpartition(":")[2].partition("/")[0]))
        proxy = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
        port = proxy.sockets[0].getsockname()[1]
        local = UpstreamConfig(name="local", url=f"http://127.0.0.1:{port}/v1", key=model.endpoint.api_key)
        policy = Policy(backoff=0.0)
        async with (
            proxy,
            serving(local, policy=policy) as gateway,
            sdk(gateway.url) as client,
            asyncio.timeout(100),
        ):
            whole = await client.responses.create(**ASK_LOCAL)
            assert whole.status == "completed"
            assert whole.usage.output_tokens == 8
            for after in (None, 300, 900, 1300, 1900, 2300):
                cutter.after = after
                async with client.responses.stream(**ASK_LOCAL) as stream:
                    events = [event async for event in stream]
                    final = await stream.get_final_response()
                assert final.output_text == whole.output_text
                assert [event.sequence_number for event in events] == list(range(len(events)))
                deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
                assert "".join(deltas) == whole.output_text
                assert (await client.responses.retrieve(final.id)).output_text == whole.output_text
            assert cutter.cut == 5
            following = await client.responses.create(
                model=MODEL, input="And another?", previous_response_id=whole.id, max_output_tokens=4
            )
            assert following.status == "completed"
            assert following.usage.input_tokens > whole.usage.input_tokens
