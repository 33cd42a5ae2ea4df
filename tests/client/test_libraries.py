"""Other libraries over the clients, straight at a model server. Through the gateway: tests/project/test_clients_docs.py."""

from __future__ import annotations

import asyncio

import anthropic
import langchain_openai
import pytest
import trio

import everytoken
from everytoken.testing import ScriptedUpstream
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


def test_trio():
    async def read(upstream):
        asked = {"model": "m", "messages": MESSAGES, "stream": True}
        async with everytoken.AsyncClient(verify=CONTEXT) as client:
            return (await client.post(f"{upstream.base_url}/chat/completions", json=asked)).text

    with ScriptedUpstream(faults=CUT) as upstream:
        assert trio.run(read, upstream).endswith("data: [DONE]\n\n")
        assert len(upstream.attempts) == 2
