"""The embedded model behind a gateway: its defaults, its refusals and its ends, in all three APIs. The real model runs."""

from __future__ import annotations

import json
import os
import statistics

import anthropic
import openai
import pytest
import pytest_asyncio

from embedded_prompts import PROMPTS, measured
from everytoken.gateway import UpstreamConfig
from everytoken.testing import DEFAULT_TEXT, Answer, ScriptedUpstream
from everytoken.upstream.local import MAX_TOKENS, MODEL, SAMPLING
from gateway_serving import serving

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]
SOAK = bool(os.environ.get("EVERYTOKEN_SOAK"))
ASK = [{"role": "user", "content": "Name three rivers."}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
PIXEL = "data:image/png;base64,iVBORw0KGgo="
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
EXTRA = {
    "/v1/chat/completions": {"messages": ASK},
    "/v1/messages": {"messages": ASK, "max_tokens": 9},
    "/v1/responses": {"input": ASK},
}
TOOLS = {
    "/v1/chat/completions": CHAT_TOOL,
    "/v1/messages": {"name": "weather", "input_schema": SCHEMA},
    "/v1/responses": {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False},
}
IMAGES = {
    "/v1/chat/completions": {"type": "image_url", "image_url": {"url": PIXEL}},
    "/v1/messages": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
    },
    "/v1/responses": {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway():
    async with serving(UpstreamConfig(name="embedded", url="embedded:")) as gateway:
        yield gateway


def refused(path, answer):
    assert answer.status == 400, answer.body
    if path == "/v1/messages":
        assert answer.json["type"] == "error"
    assert answer.error["type"] == "invalid_request_error"
    return answer.error["message"]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("path", EXTRA)
async def test_tools_and_images_are_refused_in_words(gateway, path, streamed):
    asked = {"model": MODEL, "stream": streamed, **EXTRA[path]}
    answer = await gateway.ask("POST", path, {**asked, "tools": [TOOLS[path]]})
    assert refused(path, answer) == "the embedded model does not call tools; configure an upstream that does"
    messages = [{"role": "user", "content": [IMAGES[path]]}]
    answer = await gateway.ask("POST", path, {**asked, "input" if "input" in asked else "messages": messages})
    assert refused(path, answer) == "the embedded model does not see images; configure an upstream that does"


async def test_another_upstream_is_asked_for_what_it_cannot_do():
    async with ScriptedUpstream(Answer(model=MODEL)) as other:
        embedded = UpstreamConfig(name="embedded", url="embedded:")
        async with serving(embedded, UpstreamConfig(name="other", url=other.base_url)) as gateway:
            body = {"model": MODEL, "messages": ASK, "tools": [CHAT_TOOL]}
            answer = await gateway.ask("POST", "/v1/chat/completions", body)
    assert answer.json["choices"][0]["message"]["content"] == DEFAULT_TEXT


async def test_an_end_by_a_limit_is_called_so_in_every_api(gateway):
    async with openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="x", max_retries=0) as sdk:
        chat = await sdk.chat.completions.create(model=MODEL, messages=ASK, max_completion_tokens=5)
        response = await sdk.responses.create(model=MODEL, input="Name three rivers.", max_output_tokens=5)
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="x", max_retries=0) as sdk:
        message = await sdk.messages.create(model=MODEL, messages=ASK, max_tokens=5)
    assert chat.choices[0].finish_reason == "length"
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert message.stop_reason == "max_tokens"


async def test_an_answer_without_a_limit_ends_by_itself(gateway):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "seed": 1}
    first, again = [
        json.loads((await gateway.ask("POST", "/v1/chat/completions", body)).body) for _ in range(2)
    ]
    assert first["choices"][0]["finish_reason"] == "stop"
    assert first["usage"]["completion_tokens"] < 100
    assert first["choices"] == again["choices"]


async def test_tokens_are_still_counted(gateway):
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="x", max_retries=0) as sdk:
        counted = await sdk.messages.count_tokens(model=MODEL, messages=ASK)
    assert counted.input_tokens > 5


async def test_a_format_is_kept_in_responses_too(gateway):
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }
    text = {"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}}
    body = {"model": MODEL, "input": "Is water wet?", "text": text, "max_output_tokens": 60}
    answer = await gateway.ask("POST", "/v1/responses", body)
    [part] = answer.json["output"][0]["content"]
    assert set(json.loads(part["text"])) == {"yes"}


async def test_what_people_try_first_is_answered_in_a_few_hundred_tokens():
    """All of it with EVERYTOKEN_SOAK=1, which takes minutes."""
    answers = [one async for one in measured(PROMPTS if SOAK else PROMPTS[:1], [1])]
    assert statistics.median(one.tokens for one in answers) < 500
    for one in answers:
        # "stop" is the model's own end, "length" that of the ceiling, and there is no other.
        assert one.finish_reason == ("length" if one.tokens == MAX_TOKENS else "stop"), one


async def test_the_defaults_are_those_of_its_makers_and_end():
    assert (SAMPLING["temp"], SAMPLING["top_p"]) == (0.2, 0.9)
    assert SAMPLING["penalty_repeat"] > 1
    assert 500 <= MAX_TOKENS <= 1024
