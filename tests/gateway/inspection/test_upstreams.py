"""`/admin/health` and `/admin/probe`: the facts that only the gateway can find out."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest
from tests.journal_backends import shared_redis

from everytoken.gateway import UpstreamConfig
from everytoken.journal.redis import RedisJournal
from everytoken.journal.sqlite import SqliteJournal
from everytoken.testing import Answer, ScriptedUpstream, Status
from gateway_serving import ManualUpstream, limit, serving

ADMIN = "sk-admin-0123456789"
AUTHORIZED = {"Authorization": f"Bearer {ADMIN}"}
SECRET = "sk-upstream-secret-0123"
TEXT = Answer(" ".join(str(number) for number in range(1, 21)))


def configured(upstream, **more):
    return UpstreamConfig(name="u", url=upstream.base_url, **more)


@asynccontextmanager
async def administered(*upstreams, **settings):
    async with limit(), serving(*upstreams, admin_keys=[ADMIN], **settings) as gateway:
        yield gateway


async def probed(upstream, model="", **more):
    async with upstream, administered(configured(upstream, **more)) as gateway:
        answer = await gateway.ask("POST", "/admin/probe", {"upstream": "u", "model": model}, AUTHORIZED)
        assert answer.status == 200
        assert SECRET not in answer.body.decode()
        return answer.json


def outcomes(told):
    return {one["api"]: one["outcome"] for one in told["apis"]}


async def test_a_healthy_upstream_streams_in_every_api():
    upstream = ScriptedUpstream(TEXT)
    told = await probed(upstream)
    assert outcomes(told) == {"chat": "streamed", "responses": "streamed", "messages": "streamed"}
    assert told["models"] == {"count": 1, "first": ["scripted"], "missing": []}
    assert told["model"] == "scripted"
    assert all(one["events"] > 10 for one in told["apis"])
    for attempt in upstream.attempts:
        assert min(attempt.json[name] for name in attempt.json if name.startswith("max_")) <= 64
        assert attempt.json["model"] == "scripted"


async def test_only_the_configured_apis_are_tried():
    told = await probed(ScriptedUpstream(TEXT, apis=["chat"]), api=["chat", "responses"])
    assert outcomes(told) == {"chat": "streamed", "responses": "lacks-api"}
    assert told["configured_apis"] == ["chat", "responses"]


async def test_a_key_that_is_refused_is_not_repeated():
    refusal = Status(401, body=json.dumps({"error": {"message": f"Incorrect API key {SECRET}"}}).encode())
    told = await probed(ScriptedUpstream([refusal]), api="chat", key=SECRET)
    [one] = told["apis"]
    assert (one["outcome"], one["status"]) == ("refused", 401)
    assert "Incorrect API key" in one["message"]


@pytest.mark.parametrize("fault", ["reset", "close", "clean-end"])
async def test_a_stream_that_is_cut(fault):
    told = await probed(ScriptedUpstream(TEXT, faults=[("always", fault, "middle")]), api="chat")
    assert outcomes(told) == {"chat": "cut"}


async def test_models_that_it_does_not_list_are_named():
    told = await probed(ScriptedUpstream(TEXT), api="chat", models={"a": "scripted", "b": "other"})
    assert told["models"]["missing"] == ["other"]
    assert told["model"] == "scripted"


async def test_an_answer_in_one_piece_is_no_stream():
    plain = Status(200, body=b'{"choices":[{"index":0,"message":{"content":"1 2"},"finish_reason":"stop"}]}')
    told = await probed(ScriptedUpstream([plain]), api="chat")
    assert outcomes(told) == {"chat": "in-one-piece"}


async def test_the_name_for_the_limit_of_tokens_is_tried_the_other_way():
    said = b'{"error":{"message":"max_tokens is not supported, use max_completion_tokens"}}'
    upstream = ScriptedUpstream(TEXT)
    script = upstream.script_for

    def picky(request):
        steps = script(request)
        picky_about = isinstance(request.json, dict) and "max_tokens" in request.json
        return [Status(400, body=said)] if picky_about else steps

    upstream.script_for = picky
    told = await probed(upstream, api="chat")
    assert outcomes(told) == {"chat": "streamed"}


@pytest.mark.parametrize("api", ["chat", "messages"])
async def test_a_connection_that_is_left_open_is_not_waited_for(api):
    told = await probed(ScriptedUpstream(TEXT, faults=[("always", "done-left-open", "end")]), api=api)
    assert outcomes(told) == {api: "streamed"}


@pytest.mark.virtual_time
async def test_one_that_says_nothing_is_not_waited_for_for_ever():
    told = await probed(ScriptedUpstream(TEXT, faults=[("always", "silent", "one")]), api="chat")
    assert outcomes(told) == {"chat": "silent"}


@pytest.mark.parametrize(
    "body", [{}, {"upstream": "other"}, {"upstream": ["u"]}, {"upstream": "u", "model": 1}]
)
async def test_what_cannot_be_probed_is_said(body):
    async with ScriptedUpstream(TEXT) as upstream, administered(configured(upstream)) as gateway:
        answer = await gateway.ask("POST", "/admin/probe", body, AUTHORIZED)
        assert (answer.status, answer.error["code"]) == (400, "invalid-request")
        assert upstream.attempts == []


async def test_health_needs_an_admin_key_and_tells_no_secrets():
    upstream = UpstreamConfig(
        name="u", url=f"http://user:{SECRET}@127.0.0.1:1/v1?key={SECRET}", key=SECRET, models=["m"]
    )
    async with administered(upstream) as gateway:
        assert (await gateway.ask("GET", "/admin/health")).status == 401
        assert (await gateway.ask("PUT", "/admin/health", headers=AUTHORIZED)).status == 405
        answer = await gateway.ask("GET", "/admin/health", headers=AUTHORIZED)
        assert SECRET not in answer.body.decode()
        told = answer.json
    assert told["journal"]["kind"] == "memory"
    assert told["disk"] is None
    assert told["descriptors"]["soft"] > 0
    assert told["upstreams"] == [
        {"name": "u", "server": "http://127.0.0.1:1/v1", "apis": None, "models": ["m"], "has_key": True}
    ]
    assert told["settings"]["keep_alive"] == 15


async def test_health_of_a_journal_on_disk(tmp_path):
    journal = SqliteJournal(tmp_path / "j.sqlite")
    async with administered(ManualUpstream(), kept_in=journal) as gateway:
        told = (await gateway.ask("GET", "/admin/health", headers=AUTHORIZED)).json
    assert told["journal"]["kind"] == "sqlite"
    assert 0 < told["disk"]["free"] <= told["disk"]["total"]
    assert told["disk"]["directory"] == str(tmp_path)


async def test_health_of_a_journal_in_redis():
    async with administered(ManualUpstream(), kept_in=RedisJournal(shared_redis().url)) as gateway:
        told = (await gateway.ask("GET", "/admin/health", headers=AUTHORIZED)).json
    assert told["journal"]["kind"] == "redis"
    assert told["journal"]["settings"]["appendonly"] == "no"
