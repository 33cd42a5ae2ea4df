"""The paths that clients use, and the model of a request that names none."""

from __future__ import annotations

import json
import urllib.request

import openai
import pytest

from command_line import gateway as serve
from everytoken.gateway.paths import canonical
from everytoken.testing import ScriptedUpstream
from gateway_serving import HELLO, serving

UNNAMED = {"messages": [{"role": "user", "content": "Hello"}]}
CHAT = "/v1/chat/completions"
DEPLOYED = "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/chat/completions", (CHAT, "")),
        ("/v1/chat/completions/", (CHAT, "")),
        ("//v1//chat/completions//", (CHAT, "")),
        ("/v1/v1/chat/completions", (CHAT, "")),
        ("/openai/v1/chat/completions", (CHAT, "")),
        ("/openai/deployments/a/b/chat/completions/", (CHAT, "a/b")),
        ("/models", ("/v1/models", "")),
        ("/openai/models/", ("/v1/models", "")),
        ("//models//org/model/", ("/v1/models/org/model", "")),
        ("/v1/messages", ("/v1/messages", "")),
        ("//v1//messages//", ("/v1/messages", "")),
        ("/messages/", ("/v1/messages", "")),
        ("/anthropic/v1/messages", ("/v1/messages", "")),
        ("/v1/v1/messages/count_tokens/", ("/v1/messages/count_tokens", "")),
        ("/v1/messages/batches", ("/v1/messages/batches", "")),
        ("//api/chat/", ("/api/chat", "")),
        ("//api//chat/a//b/stream", ("/api/chat/a//b/stream", "")),
        ("//v1/stream/abc/events", ("/v1/stream/abc/events", "")),
        ("/healthz/", ("/healthz", "")),
        ("/", ("/", "")),
        ("//evil.example", ("//evil.example", "")),
        ("/v2/chat/completions", ("/v2/chat/completions", "")),
        ("/xchat/completions", ("/xchat/completions", "")),
    ],
)
def test_what_a_path_stands_for(path, expected):
    assert canonical(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        "/chat/completions",
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/v1//chat/completions",
        DEPLOYED,
    ],
)
async def test_a_completion_at_every_path(path, scripted_upstream):
    async with serving(await scripted_upstream("Hi")) as gateway:
        answer = await gateway.ask("POST", path, HELLO)
        wrong = await gateway.ask("GET", path)
    assert (answer.status, answer.text) == (200, "Hi")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(("named", "asked"), [(None, "my-gpt"), ("other", "other")])
async def test_a_deployment_is_the_model_of_a_request_that_names_none(named, asked, scripted_upstream):
    upstream = await scripted_upstream("Hi")
    async with serving(upstream, default_model="default") as gateway:
        await gateway.ask("POST", DEPLOYED, UNNAMED if named is None else {**UNNAMED, "model": named})
    assert upstream.attempts[0].json["model"] == asked


async def test_azures_client(scripted_upstream):
    key = "k" * 32
    async with serving(await scripted_upstream("Hi"), api_keys=[key]) as gateway:
        client = openai.AsyncAzureOpenAI(api_key=key, api_version="2024-10-21", azure_endpoint=gateway.url)
        async with client:
            answer = await client.chat.completions.create(model="my-gpt", messages=UNNAMED["messages"])
        refused = await gateway.ask("POST", DEPLOYED, HELLO, {"api-key": "another"})
    assert answer.choices[0].message.content == "Hi"
    assert refused.status == 401


async def test_pages_of_other_origins_are_refused_at_every_path(scripted_upstream):
    upstream = await scripted_upstream("Hi")
    async with serving(upstream) as gateway:
        for path in ("/chat/completions", "//v1/chat/completions/", DEPLOYED, "//api/chat"):
            answer = await gateway.ask("POST", path, HELLO, {"Origin": "https://other.example"})
            assert answer.status == 403, path
    assert not upstream.attempts


def test_serve_adds_v1_and_says_so_and_has_a_default_model():
    with (
        ScriptedUpstream("Hi") as upstream,
        serve(
            "--upstream", upstream.base_url.removesuffix("/v1"), "--model", "mine", "--journal", "memory"
        ) as (
            process,
            url,
        ),
    ):
        asked = urllib.request.Request(
            f"{url}/api/chat", json.dumps({"prompt": "Hello"}).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=10) as response:
            assert response.read() == b"Hi"
        process.terminate()
        _, error = process.communicate(timeout=20)
    assert upstream.attempts[0].path == "/v1/chat/completions"
    assert upstream.attempts[0].json["model"] == "mine"
    told = [line for line in error.decode().splitlines() if "/v1 is added" in line]
    assert len(told) == 1
