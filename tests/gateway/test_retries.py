"""What a caller's own retries cost behind a gateway that has tried already: nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import openai
import pytest

from command_line import gateway as serve
from everytoken.errors import RateLimitedError
from everytoken.gateway import Config, Gateway, UpstreamConfig
from everytoken.recovery import Policy
from everytoken.testing import CleanEnd, Close, Head, ScriptedUpstream, Send, Status
from gateway_serving import HELLO, ManualUpstream, served, serving

CHAT = "/v1/chat/completions"
QUICK = Policy(backoff=0.0, attempts=3, max_attempts=4)
FAILS = {
    "503 for good": [Status(503)],
    "500": [Status(500)],
    "429 with Retry-After": [Status(429, retry_after=0)],
    "408": [Status(408)],
    "409": [Status(409)],
    "401": [Status(401)],
    "400 which asks to try again": [Status(400, headers=(("x-should-retry", "true"),))],
    "cut before the answer": [Close()],
    "cut before any content": [Head(), Close()],
    "an empty answer": [Head(), Send(b"data: [DONE]\n\n"), CleanEnd()],
    "an error event": [Head(), Send(b'data: {"error": {"message": "down", "code": 500}}\n\n'), CleanEnd()],
    "not a stream": [Head(content_type="text/html"), Send(b"<html>not a model</html>"), CleanEnd()],
}


async def _read(client, *, stream):
    answer = await client.chat.completions.create(**{**HELLO, "stream": stream})
    async for _ in answer:
        pass


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", FAILS.values(), ids=FAILS.keys())
async def test_one_call_of_the_sdk_costs_no_more_than_our_own_attempts(script, stream, scripted_upstream):
    upstream = await scripted_upstream(script)
    async with serving(upstream, policy=QUICK) as gateway:
        before = await gateway.ask("POST", CHAT, {**HELLO, "stream": stream})
        own = len(upstream.attempts)
        client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-caller")
        assert client.max_retries > 0
        async with client:
            with pytest.raises(openai.APIError):
                await _read(client, stream=stream)
    assert own <= QUICK.max_attempts
    assert len(upstream.attempts) == 2 * own
    if before.status >= 400:
        assert before.headers["x-should-retry"] == "false"


NODE = """
import OpenAI from "openai";
const client = new OpenAI({ baseURL: process.argv[2], apiKey: "sk-caller" });
const body = { model: "m", messages: [{ role: "user", content: "Hello" }] };
for (const stream of [false, true]) {
  try {
    for await (const _ of await client.chat.completions.create({ ...body, stream })) ;
    process.exit(1);
  } catch (error) {
    if (!(error instanceof OpenAI.APIError)) throw error;
  }
}
"""


def test_so_it_is_for_the_sdk_of_node(tmp_path):
    node = shutil.which("node") or pytest.skip("node is not installed")
    packages = Path(__file__).parents[2] / "js" / "node_modules"
    if not (packages / "openai").exists():
        pytest.skip("the packages of js/ are not installed")
    (tmp_path / "node_modules").symlink_to(packages)
    (tmp_path / "ask.mjs").write_text(NODE, encoding="utf-8")
    with ScriptedUpstream([Status(503)]) as upstream, serve("--upstream", upstream.base_url) as (_, url):
        done = subprocess.run(
            [node, "ask.mjs", f"{url}/v1"], cwd=tmp_path, timeout=60, capture_output=True, check=False
        )
    assert done.returncode == 0, done.stderr.decode()
    assert len(upstream.attempts) <= 2 * Policy().max_attempts


async def test_our_own_refusals_may_be_tried_again():
    upstream = ManualUpstream()

    def refuse(_):
        raise RateLimitedError("slowly", retry_after=1)

    config = Config(upstream=[UpstreamConfig(name="manual", url="http://manual")])
    async with Gateway(config, {"manual": upstream}, admission=refuse) as gateway, served(gateway) as port:
        client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="k", max_retries=0)
        async with client:
            with pytest.raises(openai.RateLimitError) as refused:
                await client.chat.completions.create(**HELLO)
    assert "x-should-retry" not in refused.value.response.headers


async def test_a_gateway_that_is_stopping_may_be_asked_again(scripted_upstream):
    async with serving(await scripted_upstream("Hi")) as gateway:
        gateway.gateway.relays.draining = True
        answer = await gateway.ask("POST", CHAT, HELLO)
    assert answer.status == 503
    assert "x-should-retry" not in answer.headers


async def test_an_answer_says_nothing_of_it(scripted_upstream):
    async with serving(await scripted_upstream("Hi")) as gateway:
        answer = await gateway.ask("POST", CHAT, HELLO)
    assert answer.status == 200
    assert "x-should-retry" not in answer.headers
