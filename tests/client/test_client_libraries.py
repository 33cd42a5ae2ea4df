"""Other libraries over the clients. Each is skipped where it is not installed: none of them is a dependency of ours."""

from __future__ import annotations

import asyncio

import pytest

import everytoken
from everytoken.testing import ScriptedUpstream
from guide_loops import CONTEXT, MESSAGES

CUT = [(0, "clean-end", "middle")]


def chat_openai(upstream):
    langchain = pytest.importorskip("langchain_openai", reason="langchain-openai is not installed")
    return langchain.ChatOpenAI(
        base_url=upstream.base_url,
        api_key="any",
        model="m",
        http_client=everytoken.Client(verify=CONTEXT),
        http_async_client=everytoken.AsyncClient(verify=CONTEXT),
    )


def test_langchain():
    with ScriptedUpstream(faults=CUT) as upstream:
        assert "".join(chunk.content for chunk in chat_openai(upstream).stream("Hi")) == upstream.text
        assert len(upstream.attempts) == 2


def test_langchain_async():
    async def read(upstream):
        return "".join([chunk.content async for chunk in chat_openai(upstream).astream("Hi")])

    with ScriptedUpstream(faults=CUT) as upstream:
        assert asyncio.run(read(upstream)) == upstream.text


def test_anthropic_passes_through():
    anthropic = pytest.importorskip("anthropic", reason="anthropic is not installed")
    with ScriptedUpstream() as upstream, everytoken.Client(verify=CONTEXT) as http_client:
        client = anthropic.Anthropic(api_key="any", base_url=upstream.base_url, http_client=http_client)
        with pytest.raises(anthropic.NotFoundError):  # the scripted upstream does not know the route
            client.messages.create(model="m", max_tokens=5, messages=[{"role": "user", "content": "Hi"}])
        assert [request.path for request in upstream.requests] == ["/v1/v1/messages"]


def test_trio():
    trio = pytest.importorskip("trio", reason="trio is not installed")

    async def read(upstream):
        asked = {"model": "m", "messages": MESSAGES, "stream": True}
        async with everytoken.AsyncClient(verify=CONTEXT) as client:
            return (await client.post(f"{upstream.base_url}/chat/completions", json=asked)).text

    with ScriptedUpstream(faults=CUT) as upstream:
        assert trio.run(read, upstream).endswith("data: [DONE]\n\n")
        assert len(upstream.attempts) == 2
