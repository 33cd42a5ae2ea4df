"""`/admin/keys` over HTTP, and what the keys made there may do everywhere else."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from tests.journal_backends import shared_redis

from everytoken.journal.redis import RedisJournal
from gateway_serving import HELLO, ManualUpstream, Wire, limit, serving

ADMIN = "sk-admin-0123456789"
CHAT = "/v1/chat/completions"
MESSAGES = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


class Administered:
    """A gateway and its administrator."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.ask = gateway.ask

    async def admin(self, method, path, body=None, key=ADMIN):
        return await self.gateway.ask(method, f"/admin/{path}", body, bearer(key))

    async def create(self, name, **more):
        answer = await self.admin("POST", "keys", {"name": name, **more})
        assert answer.status == 201
        return answer.json


@asynccontextmanager
async def administered(*upstreams, **settings):
    async with limit(), serving(*upstreams, admin_keys=[ADMIN], **settings) as gateway:
        yield Administered(gateway)


async def test_a_key_is_made_listed_shown_rotated_and_revoked():
    async with administered(ManualUpstream()) as gateway:
        made = await gateway.create("ci", models=["m"], labels={"team": "a"})
        assert made["secret"].startswith("sk-et-")
        assert made["state"] == "active"
        listed = (await gateway.admin("GET", "keys")).json["keys"]
        assert [key["name"] for key in listed] == ["admin_keys 1", "ci"]
        assert "secret" not in listed[1]
        shown = await gateway.admin("GET", "keys/ci")
        assert shown.json["id"] == made["id"]
        assert shown.headers["cache-control"] == "no-store"
        rotated = (await gateway.admin("POST", f"keys/{made['id']}/rotate", {"overlap": 0})).json
        assert rotated["secret"] != made["secret"]
        assert (await gateway.ask("GET", "/v1/models", headers=bearer(made["secret"]))).status == 401
        assert (await gateway.ask("GET", "/v1/models", headers=bearer(rotated["secret"]))).status == 200
        assert (await gateway.admin("POST", "keys/ci/revoke")).json["state"] == "revoked"
        refused = await gateway.ask("GET", "/v1/models", headers=bearer(rotated["secret"]))
        assert refused.status == 401
        assert "revoked" in refused.error["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "keys/other", None, 404, "key-not-found"),
        ("POST", "keys/other/revoke", None, 404, "key-not-found"),
        ("POST", "keys", {"name": ""}, 400, "invalid-request"),
        ("POST", "keys", b"[]", 400, "invalid-request"),
        ("POST", "keys/ci/limits", {"limits": {"rpm": 1}}, 400, "invalid-request"),
        ("POST", "keys/ci/rotate", {"overlap": "1d"}, 400, "invalid-request"),
        ("POST", "keys/ci/revoke", {"stop": 1}, 400, "invalid-request"),
        ("DELETE", "keys/ci", None, 405, "method-not-allowed"),
        ("GET", "keys/ci/revoke", None, 405, "method-not-allowed"),
        ("GET", "other", None, 404, "route-not-found"),
    ],
)
async def test_what_cannot_be_done_is_said(method, path, body, status, code):
    async with administered(ManualUpstream()) as gateway:
        await gateway.create("ci")
        answer = await gateway.admin(method, path, body)
    assert (answer.status, answer.error["code"]) == (status, code)


@pytest.mark.parametrize("path", ["keys", "keys/ci", "other"])
async def test_only_an_administrator_gets_in(path):
    async with administered(ManualUpstream()) as gateway:
        made = await gateway.create("ci")
        boss = await gateway.create("boss", admin=True)
        for key in (made["secret"], "sk-wrong-0123456789", ""):
            answer = await gateway.admin("GET", path, key=key)
            assert answer.status == 401
            assert b"keys" not in answer.body
        assert (await gateway.admin("GET", path, key=boss["secret"])).status in (200, 404)


async def test_a_page_of_another_origin_cannot_administer():
    async with administered(ManualUpstream()) as gateway:
        answer = await gateway.ask(
            "POST", "/admin/keys", {"name": "x"}, {**bearer(ADMIN), "Sec-Fetch-Site": "cross-site"}
        )
        assert answer.status == 403
        assert len((await gateway.admin("GET", "keys")).json["keys"]) == 1


REFUSALS = {
    "chat": (CHAT, HELLO, "permission_error"),
    "plain": ("/api/chat", {"prompt": "Hi", "model": "m"}, "permission_error"),
    "messages": ("/v1/messages", MESSAGES, "permission_error"),
    "count": ("/v1/messages/count_tokens", MESSAGES, "permission_error"),
    "responses": ("/v1/responses", {"model": "m", "input": "Hi"}, "permission_error"),
    "completions": ("/v1/completions", {"model": "m", "prompt": "Hi"}, "permission_error"),
    "other": ("/v1/embeddings", {"model": "m", "input": "Hi"}, "permission_error"),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_key_for_other_models_or_apis_is_refused_before_anything_is_asked(name):
    path, body, kind = REFUSALS[name]
    upstream = ManualUpstream()
    async with administered(upstream) as gateway:
        of_models = await gateway.create("models", models=["other", "else-*"])
        of_apis = await gateway.create("apis", apis=["streams"])
        for made, said in ((of_models, "other, else-*"), (of_apis, "streams")):
            answer = await gateway.ask("POST", path, body, bearer(made["secret"]))
            assert answer.status == 403
            assert answer.error["type"] == kind
            assert said in answer.error["message"]
        assert upstream.attempts == []


async def test_a_key_sees_only_its_models(scripted_upstream):
    async with administered(await scripted_upstream("Hi")) as gateway:
        models = [
            m["id"] for m in (await gateway.ask("GET", "/v1/models", headers=bearer(ADMIN))).json["data"]
        ]
        some = await gateway.create("some", models=models[:1])
        none = await gateway.create("none", models=["other"])
        for made, seen in ((some, models[:1]), (none, [])):
            answer = await gateway.ask("GET", "/v1/models", headers=bearer(made["secret"]))
            assert [m["id"] for m in answer.json["data"]] == seen
        answer = await gateway.ask("GET", f"/v1/models/{models[0]}", headers=bearer(none["secret"]))
        assert answer.status == 403


async def test_a_response_stays_its_keys_when_the_key_is_rotated(scripted_upstream):
    async with administered(await scripted_upstream("Hi")) as gateway:
        made, other = await gateway.create("ci"), await gateway.create("other")
        url = (await gateway.ask("POST", CHAT, HELLO, bearer(made["secret"]))).headers["location"]
        rotated = (await gateway.admin("POST", "keys/ci/rotate", {"overlap": 0})).json
        mine = await gateway.ask("GET", f"{url}/events", headers=bearer(rotated["secret"]))
        assert mine.text == "Hi"
        others = await gateway.ask("GET", f"{url}/events", headers=bearer(other["secret"]))
        assert others.status == 404


async def test_revoking_stops_what_runs_only_if_that_is_asked_for():
    upstream = ManualUpstream()
    async with administered(upstream) as gateway:
        made, other = await gateway.create("ci"), await gateway.create("other")
        async with Wire.to(gateway.gateway.port) as mine, Wire.to(gateway.gateway.port) as others:
            for number, (wire, key) in enumerate(((mine, made), (others, other))):
                wire.send("POST", CHAT, HELLO, bearer(key["secret"]))
                attempt = await upstream.attempt(number)
                attempt.accept()
                attempt.send("Hello")
                await wire.head()
                await wire.frame()
            await gateway.admin("POST", "keys/ci/revoke")
            upstream.attempts[0].send(" you")
            assert b" you" in (await mine.frame() or b"")
            await gateway.admin("POST", "keys/ci/revoke", {"stop": True})
            frame = await mine.frame()
            assert frame is not None
            assert b'"cancelled"' in frame
            upstream.attempts[1].send(" two")
            assert b" two" in (await others.frame() or b"")
            upstream.attempts[1].finish()


async def test_a_node_stops_what_a_key_runs_there_when_it_is_revoked_elsewhere(monkeypatch):
    monkeypatch.setattr("everytoken.gateway.keys.stored._AGAIN", 0.01)
    upstream, url = ManualUpstream(), shared_redis().url
    one, other = RedisJournal(url), RedisJournal(url)
    async with (
        administered(upstream, kept_in=one) as here,
        administered(ManualUpstream(), kept_in=other) as there,
    ):
        made = await there.create("ci")
        async with Wire.to(here.gateway.port) as wire:
            while not here.gateway.gateway.keys.required:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
            wire.send("POST", CHAT, HELLO, bearer(made["secret"]))
            attempt = await upstream.attempt()
            attempt.accept()
            attempt.send("Hello")
            await wire.head()
            await wire.frame()
            await there.admin("POST", "keys/ci/revoke", {"stop": True})
            frame = await wire.frame()
            assert b'"cancelled"' in (frame or b"")


@pytest.mark.virtual_time
async def test_who_tries_wrong_keys_waits_and_who_has_a_right_one_does_not():
    async with administered(ManualUpstream()) as gateway:
        made = await gateway.create("ci")
        loop = asyncio.get_running_loop()
        began = loop.time()
        for _ in range(8):
            assert (await gateway.ask("GET", "/v1/models", headers=bearer("sk-wrong"))).status == 401
        assert 3 < loop.time() - began < 4
        for headers in ({}, bearer(made["secret"])):  # none at all is no guess
            began = loop.time()
            await gateway.ask("GET", "/v1/models", headers=headers)
            assert loop.time() - began < 0.1
        async with asyncio.TaskGroup() as tasks:
            asked = [
                tasks.create_task(gateway.ask("GET", "/v1/models", headers=bearer("sk-wrong")))
                for _ in range(40)
            ]
        statuses = [task.result().status for task in asked]
        assert statuses.count(401) == 16
        assert statuses.count(429) == 24
        refused = next(task.result() for task in asked if task.result().status == 429)
        assert int(refused.headers["retry-after"]) >= 1


async def test_without_a_key_nobody_calls_if_one_is_required(scripted_upstream):
    async with administered(await scripted_upstream("Hi"), require_key=True) as gateway:
        assert (await gateway.ask("POST", CHAT, HELLO)).status == 401
        made = await gateway.create("ci")
        assert (await gateway.ask("POST", CHAT, HELLO, bearer(made["secret"]))).text == "Hi"


async def test_an_admin_key_that_nothing_else_needs_leaves_the_gateway_open(scripted_upstream):
    async with administered(await scripted_upstream("Hi")) as gateway:
        assert (await gateway.ask("POST", CHAT, HELLO)).text == "Hi"
        # What an administrator does there is nobody's own: the page shows it.
        url = (await gateway.ask("POST", CHAT, HELLO, bearer(ADMIN))).headers["location"]
        assert (await gateway.ask("GET", f"{url}/events")).text == "Hi"


async def test_the_stream_of_keys_is_out_of_everybodys_reach():
    async with administered(ManualUpstream()) as gateway:
        made = await gateway.create("ci")
        for path in ("/v1/stream/~keys", "/v1/stream/~keys/events", "/v1/stream/%7Ekeys"):
            for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
                for key in (made["secret"], ADMIN):
                    answer = await gateway.ask(
                        method, path, b"x" if method in ("PUT", "POST") else None, bearer(key)
                    )
                    assert answer.status in (400, 404, 405), (method, path)
                    assert json.dumps(made["id"]).encode() not in answer.body
