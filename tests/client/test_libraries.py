"""Other libraries over the clients, straight at a model server. Through the gateway: tests/project/test_clients_docs.py."""

from __future__ import annotations

import asyncio

import anthropic
import langchain_openai
import openai
import pytest
import trio

import everytoken
from completion_streams import PARTS, TEXT, like_openai, wire
from everytoken.testing import CleanEnd, Head, ScriptedUpstream, Send
from guide_loops import CONTEXT, MESSAGES

CUT = [(0, "clean-end", "middle")]


def chat_openai(upstream, **clients):
    return langchain_openai.ChatOpenAI(base_url=upstream.base_url, api_key="any", model="m", **clients)


def test_langchain():
    with ScriptedUpstream(faults=CUT) as upstream, everytoken.Client(verify=CONTEXT) as ours:
        chunks = chat_openai(upstream, http_client=ours).stream("Hi")
        assert "".join(chunk.content for chunk in chunks) == upstream.text
        assert len(upstream.attempts) == 2


def test_langchain_async():
    async def read(upstream):
        async with everytoken.AsyncClient(verify=CONTEXT) as ours:
            chunks = chat_openai(upstream, http_async_client=ours).astream("Hi")
            return "".join([chunk.content async for chunk in chunks])

    with ScriptedUpstream(faults=CUT) as upstream:
        assert asyncio.run(read(upstream)) == upstream.text
        assert len(upstream.attempts) == 2


def test_anthropic_passes_through():
    with ScriptedUpstream() as upstream, everytoken.Client(verify=CONTEXT) as http_client:
        client = anthropic.Anthropic(api_key="any", base_url=upstream.base_url, http_client=http_client)
        asked = {"max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
        message = client.messages.create(model="m", **asked)
        assert upstream.text.startswith(message.content[0].text)
        with pytest.raises(anthropic.NotFoundError):  # the scripted upstream does not know the route
            client.messages.batches.create(requests=[{"custom_id": "a", "params": {"model": "m", **asked}}])
        assert [request.path for request in upstream.requests] == [
            "/v1/v1/messages",
            "/v1/v1/messages/batches",
        ]


@pytest.mark.parametrize("cut", range(1, len(PARTS) + 1))
def test_completions_of_one_prompt(cut):
    def script(request):
        events = wire(like_openai("ab"[len(upstream.requests) > 1]))
        return [Head(), Send(b"".join(events[:cut] if len(upstream.requests) == 1 else events)), CleanEnd()]

    class Cut(ScriptedUpstream):
        def script_for(self, request):
            self.requests.append(request)
            return script(request)

    async def read():
        async with openai.AsyncOpenAI(http_client=everytoken.AsyncClient(verify=CONTEXT), **options) as sdk:
            stream = await sdk.completions.create(model="m", prompt="Tell.", stream=True)
            return "".join([chunk.choices[0].text async for chunk in stream])

    for kind in ("sync", "async"):
        with Cut() as upstream:
            options = {"base_url": upstream.base_url, "api_key": "any", "max_retries": 0}
            if kind == "async":
                assert asyncio.run(read()) == TEXT
            else:
                with openai.OpenAI(http_client=everytoken.Client(verify=CONTEXT), **options) as sdk:
                    stream = sdk.completions.create(model="m", prompt="Tell.", stream=True)
                    assert "".join(chunk.choices[0].text for chunk in stream) == TEXT
            assert [request.path for request in upstream.requests] == ["/v1/completions"] * 2


def test_trio():
    async def read(upstream):
        asked = {"model": "m", "messages": MESSAGES, "stream": True}
        async with everytoken.AsyncClient(verify=CONTEXT) as client:
            return (await client.post(f"{upstream.base_url}/chat/completions", json=asked)).text

    with ScriptedUpstream(faults=CUT) as upstream:
        assert trio.run(read, upstream).endswith("data: [DONE]\n\n")
        assert len(upstream.attempts) == 2
