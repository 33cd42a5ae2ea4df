"""llama.cpp's own `/v1/messages` behind ours, read by Anthropic's SDK, uncut and cut. The real model runs here."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import anthropic
import pytest
from tests.recovery.test_embedded import Cutter

from everytoken.gateway import UpstreamConfig
from everytoken.recovery import Policy
from everytoken.upstream.local import MODEL, LocalModel
from gateway_serving import serving

ASK = {
    "model": MODEL,
    "max_tokens": 24,
    "extra_body": {"temperature": 0.0},  # it repeats itself only so: the API has no seed
    "system": "Be brief.",
    "messages": [{"role": "user", "content": "Name three rivers."}],
}
TOOL = {
    "name": "weather",
    "description": "Tells the weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@asynccontextmanager
async def reading(model, prefill):
    """Yield a cutter, and Anthropic's SDK behind a gateway behind it."""
    port = int(model.endpoint.base_url.rpartition(":")[2].partition("/")[0])
    cutter = Cutter(port)
    server = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    one = UpstreamConfig(name="llama", url=url, key=model.endpoint.api_key, api="messages", prefill=prefill)
    async with (
        server,
        serving(one, policy=Policy(backoff=0.0)) as gateway,
        anthropic.AsyncAnthropic(base_url=gateway.url, api_key="any", max_retries=0) as client,
    ):
        yield cutter, client


@pytest.mark.timeout(240)
async def test_llama_cpp_speaks_messages_through_the_gateway_and_is_recovered():
    async with LocalModel(context_tokens=512, parallel=2) as model:
        async with reading(model, "no") as (cutter, client):
            whole = await client.messages.create(**ASK)
            async with client.messages.stream(**ASK) as stream:
                streamed = await stream.get_final_message()
            size = cutter.sent
            assert len(streamed.content[0].text) > 20
            assert (streamed.content[0].text, streamed.stop_reason) == (
                whole.content[0].text,
                whole.stop_reason,
            )
            asked = {name: ASK[name] for name in ("model", "system", "messages")}
            counted = await client.messages.count_tokens(**asked)
            assert counted.input_tokens == whole.usage.input_tokens
            called = await client.messages.create(tools=[TOOL], tool_choice={"type": "auto"}, **ASK)
            assert called.stop_reason
            for at in range(200, size - 20, size // 9):
                cutter.after = at
                async with client.messages.stream(**ASK) as stream:
                    again = await stream.get_final_message()
                assert (at, again.content[0].text) == (at, streamed.content[0].text)
                assert again.stop_reason == streamed.stop_reason
            assert cutter.cut >= 8
        async with reading(model, "yes") as (cutter, client):
            for at in (size // 2, size * 3 // 4):
                cutter.after = at
                async with client.messages.stream(**ASK) as stream:
                    again = await stream.get_final_message()
                assert cutter.cut
                assert again.stop_reason in {"end_turn", "max_tokens"}
                # It continues what it is given, cut into other tokens than its own, so only the beginning is the same.
                assert again.content[0].text[:20] == streamed.content[0].text[:20]
