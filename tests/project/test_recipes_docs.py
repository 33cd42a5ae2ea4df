"""Each block of docs/recipes.md is loaded, and used on a server that is as strict as the provider."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.recovery.test_embedded import Cutter

from everytoken.gateway.config import parse
from everytoken.recovery import Policy
from everytoken.upstream.local import MODEL, LocalModel
from gateway_serving import serving
from recipe_servers import KEY, PROVIDERS, TEXT, USAGE, Server

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
RECIPES = dict(
    re.findall(r"^```toml id=([\w.-]+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
)
ASK = {
    "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
    "messages": ("/v1/messages", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 99}),
    "responses": ("/v1/responses", {"input": "Hi"}),
}
CASES = [(name, api) for name, like in PROVIDERS.items() for api in like.apis]


def upstreams(name: str, port: int, monkeypatch: pytest.MonkeyPatch, key: str = KEY):
    """Return what a recipe configures, on a loopback port in place of the provider."""
    config = parse(RECIPES[name], {}, where="recipe")
    for one in config.upstream:
        if one.key_env is not None:
            monkeypatch.setenv(one.key_env, key)
    parts = urlsplit(config.upstream[0].url)
    text = RECIPES[name].replace(f"{parts.scheme}://{parts.netloc}", f"http://127.0.0.1:{port}")
    return parse(text, {}, where="recipe").upstream


def said(api: str, events: list[dict]) -> str:
    """Return the text in the events of a whole answer."""
    if api == "chat":
        ends = [c["finish_reason"] for e in events for c in e["choices"] if c["finish_reason"]]
        assert ends in (["stop"], ["length"])
        return "".join(c["delta"].get("content") or "" for e in events for c in e["choices"])
    if api == "messages":
        assert [event["type"] for event in events].count("message_stop") == 1
        return "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta")
    assert events[-1]["type"] in {"response.completed", "response.incomplete"}
    return "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")


def test_every_provider_has_a_recipe_and_every_recipe_a_test():
    assert set(RECIPES) == set(PROVIDERS) | {"llama.cpp"}


@pytest.mark.parametrize(("name", "api"), CASES, ids=[f"{name}-{api}" for name, api in CASES])
async def test_a_recipe_is_accepted_and_its_answers_are_recovered(name, api, monkeypatch):
    like = PROVIDERS[name]
    expected = like.attempts if api == like.apis[0] else ("first", "replay")
    path, body = ASK[api]
    async with Server(like, len(expected) - 1).served() as server:
        asked = {"model": "gpt-4o", "stream": True, **body}
        policy = Policy(backoff=0.0)
        async with serving(*upstreams(name, server.port, monkeypatch), policy=policy) as gateway:
            answer = await gateway.ask("POST", path, asked)
    assert answer.status == 200, answer.body
    assert server.refused == []
    events = [json.loads(data) for data, _ in answer.events if data != "[DONE]"]
    assert said(api, events) == TEXT
    bodies = [one for _, one in server.requests]
    assert [api_of for api_of, _ in server.requests] == [api] * len(expected)
    shown = [one["messages"][-1]["role"] if "messages" in one else "user" for one in bodies]
    kinds = ["prefill" if role == "assistant" else "replay" for role in shown]
    assert kinds == [kind if kind == "prefill" else "replay" for kind in expected]
    if api == "chat":
        assert all(("seed" in one) is like.seeded for one in bodies)


@pytest.mark.parametrize("name", [name for name, like in PROVIDERS.items() if "chat" in like.apis])
async def test_usage_comes_to_a_caller_that_does_not_stream(name, monkeypatch):
    async with Server(PROVIDERS[name], 0).served() as server:
        asked = {"model": "gpt-4o", **ASK["chat"][1]}
        async with serving(*upstreams(name, server.port, monkeypatch)) as gateway:
            answer = await gateway.ask("POST", ASK["chat"][0], asked)
    assert answer.json["choices"][0]["message"]["content"] == TEXT
    assert answer.json["usage"].items() >= USAGE.items()
    assert server.refused == []


@pytest.mark.timeout(240)
async def test_llama_cpp_is_the_real_one_uncut_and_cut(monkeypatch):
    async with LocalModel(context_tokens=512, parallel=1) as model:
        cutter = Cutter(int(model.endpoint.base_url.rpartition(":")[2].partition("/")[0]))
        server = await asyncio.start_server(cutter.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        ours = upstreams("llama.cpp", port, monkeypatch, model.endpoint.api_key)
        async with server, serving(*ours, policy=Policy(backoff=0.0)) as gateway:
            for api, (path, body) in ASK.items():
                limit = "max_output_tokens" if api == "responses" else "max_tokens"
                asked = {"stream": True, "temperature": 0, **body, "model": MODEL, limit: 16}
                texts = []
                for cut in (False, True):
                    cutter.after = cutter.sent // 2 if cut else None
                    answer = await gateway.ask("POST", path, asked)
                    events = [json.loads(data) for data, _ in answer.events if data != "[DONE]"]
                    texts.append(said(api, events))
                whole, again = texts
                assert len(whole) > 20
                assert again[:20] == whole[:20]  # a prefill continues in tokens of its own
                assert api != "responses" or again == whole  # which are not prefilled
            assert cutter.cut == 3
