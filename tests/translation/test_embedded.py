"""The embedded model speaks all three APIs: what it is asked in any of them for a caller of any other, it answers the same."""

from __future__ import annotations

import httpx2
import pytest
import pytest_asyncio

from everytoken.translation.request import Message, NeutralRequest, Text, Tool, ToolCall, ToolResult
from everytoken.upstream.local import LocalModel
from neutral_requests import APIS, CHAT, MESSAGES, RESPONSES, WRITE, translated

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATHS = {CHAT: "/chat/completions", MESSAGES: "/messages", RESPONSES: "/responses"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def text(value):
    return Text(text=value)


CONVERSATIONS = {
    "a question behind an earlier answer": [
        Message(role="system", parts=[text("Be brief.")]),
        Message(role="user", parts=[text("Hi")]),
        Message(role="assistant", parts=[text("Hello. How are you?")]),
        Message(role="user", parts=[text("Name two colours.")]),
    ],
    "an answer to continue": [
        Message(role="user", parts=[text("Count to nine.")]),
        Message(role="assistant", parts=[text("1, 2, 3,")]),
    ],
    "the result of a tool": [
        Message(role="user", parts=[text("How is the weather in Oslo?")]),
        Message(role="assistant", parts=[ToolCall(id="a", name="weather", arguments='{"city":"Oslo"}')]),
        Message(role="user", parts=[ToolResult(call_id="a", parts=[text("Sunny.")])]),
    ],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client():
    async with (
        LocalModel(context_tokens=1024, parallel=1) as model,
        httpx2.AsyncClient(
            base_url=model.endpoint.base_url,
            headers={"authorization": f"Bearer {model.endpoint.api_key}"},
            timeout=60,
        ) as client,
    ):
        yield client


def answer_in(api, body):
    if api == CHAT:
        return body["choices"][0]["message"]["content"]
    if api == MESSAGES:
        return "".join(block["text"] for block in body["content"] if block["type"] == "text")
    return "".join(part["text"] for item in body["output"] for part in item["content"])


@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
async def test_the_answer_is_the_same_in_every_api(client, messages):
    request = NeutralRequest(
        model="embedded",
        messages=messages,
        tools=[Tool(name="weather", description="The weather.", schema=SCHEMA)],
        max_tokens=16,
        temperature=0,
    )
    answers = set()
    for caller, upstream in zip(APIS, (*APIS[1:], APIS[0]), strict=True):
        body = translated(WRITE[caller](request), caller, upstream)
        response = await client.post(PATHS[upstream], json=body)
        assert response.status_code == 200, response.text
        answers.add(answer_in(upstream, response.json()))
    assert len(answers) == 1
    assert answers != {""}
