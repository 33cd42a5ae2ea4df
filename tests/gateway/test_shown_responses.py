"""The request log through a gateway: what entries say of responses that completed, were recovered, failed, were refused."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager

import pytest

from everytoken.cli.logformat import JsonFormatter
from everytoken.gateway.prices import PriceConfig
from everytoken.journal.sqlite import SqliteJournal
from everytoken.relay.logs import ENDS
from gateway_serving import HELLO, ManualUpstream, Wire, event, limit, serving

ADMIN = "sk-admin-0123456789"
KEY = "sk-0123456789abcdef"
CHAT = "/v1/chat/completions"
USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


class Seen:
    def __init__(self, gateway):
        self.gateway, self.ask = gateway, gateway.ask

    async def admin(self, path, method="GET"):
        return await self.gateway.ask(method, f"/admin/{path}", headers=bearer(ADMIN))

    async def entries(self, query=""):
        await self.gateway.until_idle()
        answer = await self.admin(f"responses{query}")
        assert answer.status == 200, answer.body
        return answer.json["responses"]


@asynccontextmanager
async def watched(tmp_path, *upstreams, **settings):
    journal = SqliteJournal(tmp_path / "j.sqlite")
    async with limit(), serving(*upstreams, kept_in=journal, admin_keys=[ADMIN], **settings) as gateway:
        yield Seen(gateway)


async def test_an_entry_says_everything_about_a_response(tmp_path, scripted_upstream):
    prices = {"m": PriceConfig(input=1.0, output=2.0)}
    async with watched(
        tmp_path, await scripted_upstream("Hello you"), prices=prices, api_keys=[KEY]
    ) as gateway:
        headers = {**bearer(KEY), "x-request-id": "req-1"}
        answer = await gateway.ask("POST", CHAT, HELLO, headers)
        (entry,) = await gateway.entries()
        shown = (await gateway.admin("responses/req-1")).json
    stream = answer.headers["location"].rsplit("/", 1)[1]
    assert entry == shown
    assert entry["response"] == stream
    assert (entry["request"], entry["key"], entry["api"], entry["model"]) == (
        "req-1",
        "api_keys 1",
        "chat",
        "m",
    )
    assert (entry["outcome"], entry["error"], entry["upstreams"]) == ("completed", None, ["scripted-0"])
    assert entry["readers"] == 1
    assert entry["bytes"] > 100
    assert 0 <= entry["first_content"] <= entry["seconds"]
    assert entry["gap_longest"] >= entry["gap_median"] >= 0
    (attempt,) = entry["attempts"]
    assert (attempt["upstream"], attempt["strategy"], attempt["cause"]) == ("scripted-0", "first", None)
    tokens = entry["tokens"]
    assert entry["cost"] == pytest.approx((tokens["input"] + 2 * tokens["output"]) / 1e6)


async def test_an_entry_shows_what_recovery_did(tmp_path, scripted_upstream):
    cut = await scripted_upstream("Hello you there", faults=[(0, "clean-end", "middle")])
    async with watched(tmp_path, cut) as gateway:
        assert (await gateway.ask("POST", CHAT, HELLO)).text == "Hello you there"
        (entry,) = await gateway.entries()
    first, second = entry["attempts"]
    assert first["cause"]["code"] == "upstream-truncated"
    assert second["cause"] is None
    (seam,) = entry["seams"]
    assert seam["attempt"] == 2
    assert seam["offset"] == second["offset"] > 0
    assert seam["gap"] >= 0
    assert entry["outcome"] == "completed"


async def test_what_failed_and_what_was_refused_have_entries_too(tmp_path, scripted_upstream):
    broken = await scripted_upstream("Hello you there", faults=[("always", "clean-end", "middle")])
    async with watched(tmp_path, broken, api_keys=[KEY]) as gateway:
        await gateway.ask("POST", CHAT, HELLO, bearer(KEY))
        await gateway.ask("POST", CHAT, HELLO, bearer("sk-wrong"))
        await gateway.ask("POST", CHAT, b"{", bearer(KEY))
        await gateway.ask("GET", "/v1/stream/nothing", headers=bearer(KEY))
        entries = await gateway.entries()
        by_key = await gateway.entries("?key=api_keys%201")
        refused = await gateway.entries("?outcome=refused&error=authentication-failed")
    assert [entry["outcome"] for entry in entries] == ["refused", "refused", "refused", "interrupted"]
    assert {entry["error"] for entry in entries[:3]} == {
        "authentication-failed",
        "invalid-request",
        "stream-not-found",
    }
    (one,) = refused
    assert (one["status"], one["peer"]) == (401, "127.0.0.1")
    assert not {"path", "method", "message"} & one.keys(), "nothing that a stranger has written is kept"
    assert "sk-wrong" not in json.dumps(entries)
    assert len(by_key) == 3
    assert by_key[0]["path"] == "/v1/stream/nothing"
    assert entries[3]["message"]


async def test_a_flood_of_refusals_makes_few_entries(tmp_path):
    async with watched(tmp_path, ManualUpstream()) as gateway:
        for _ in range(100):
            assert (await gateway.ask("GET", "/nowhere")).status == 404
        assert 10 <= len(await gateway.entries("?outcome=refused&limit=1000")) <= 40
        for _ in range(50):
            refused = await gateway.ask("GET", "/v1/models", headers={"Sec-Fetch-Site": "cross-site"})
            assert refused.status == 403
        assert 1 <= len(await gateway.entries("?error=origin-not-allowed&limit=1000")) <= 5


async def test_what_runs_is_seen_and_can_be_stopped(tmp_path):
    upstream = ManualUpstream()
    async with watched(tmp_path, upstream) as gateway, Wire.to(gateway.gateway.port) as wire:
        wire.send("POST", CHAT, HELLO, {"x-request-id": "req-2"})
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("Hello")
        await wire.head()
        await wire.frame()
        (entry,) = (await gateway.admin("responses?outcome=running")).json["responses"]
        assert (entry["request"], entry["outcome"], entry["records"], entry["readers"]) == (
            "req-2",
            "running",
            1,
            1,
        )
        assert (await gateway.admin("responses/req-2")).json["response"] == entry["response"]
        assert (await gateway.admin("responses?outcome=running&key=ci")).json["responses"] == []
        for query, found in (("", [entry["response"]]), ("?key=ci", []), ("?outcome=completed", [])):
            listed = (await gateway.admin(f"responses{query}")).json["responses"]
            assert [one["response"] for one in listed] == found
        assert (await gateway.admin(f"responses/{entry['response']}/stop", "POST")).json["stopped"]
        assert b'"cancelled"' in (await wire.frame() or b"")
        (entry,) = await gateway.entries()
        assert entry["outcome"] == "cancelled"


async def test_usage_of_all_attempts_is_counted(tmp_path):
    upstream = ManualUpstream()
    prices = {"m": PriceConfig(input=1.0, output=1.0)}
    async with watched(tmp_path, upstream, prices=prices) as gateway, Wire.to(gateway.gateway.port) as wire:
        wire.send("POST", CHAT, HELLO)
        for number, last in ((0, False), (1, True)):
            attempt = await upstream.attempt(number)
            attempt.accept()
            attempt.send("Hello", " you")
            if last:
                attempt.sink.on_data(event(finish="stop"))
                attempt.sink.on_data(event(usage=USAGE).replace(b'"choices"', b'"_"'))
            attempt.sink.on_eof()
        await wire.answer()
        (entry,) = await gateway.entries()
    assert entry["tokens"]["input"] >= 10
    assert entry["tokens"]["output"] >= 4


@pytest.mark.parametrize("settings", [{"keep_log": 0.0}, {}])
async def test_without_a_log_that_is_said(tmp_path, settings):
    kept = SqliteJournal(tmp_path / "j.sqlite") if settings else None
    off = {"admin_keys": [ADMIN], "metrics": "off", **settings}
    async with limit(), serving(ManualUpstream(), kept_in=kept, **off) as gateway:
        answer = await gateway.ask("GET", "/admin/responses", headers=bearer(ADMIN))
        assert answer.status == 400
        assert "keeps no request log" in answer.error["message"]
        assert not gateway.gateway.observers, "and it costs nothing"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "responses?limit=0", 400),
        ("GET", "responses/nothing", 404),
        ("POST", "responses", 405),
        ("GET", "responses/x/stop", 405),
    ],
)
async def test_what_cannot_be_shown_is_said(tmp_path, method, path, status):
    async with watched(tmp_path, ManualUpstream()) as gateway:
        assert (await gateway.admin(path, method)).status == status
        assert (await gateway.ask(method, f"/admin/{path}")).status == 401


async def test_each_response_and_refusal_is_one_line_of_json(tmp_path, scripted_upstream, caplog):
    async with watched(tmp_path, await scripted_upstream("Hi"), log_format="json", keep_log=0.0) as gateway:
        with caplog.at_level(logging.INFO, "everytoken.requests"):
            await gateway.ask("POST", CHAT, HELLO)
            await gateway.gateway.until_idle()
            await gateway.ask("POST", CHAT, b"{")
    lines = [json.loads(JsonFormatter().format(r)) for r in caplog.records if r.name == "everytoken.requests"]
    assert [(line["outcome"], line["level"]) for line in lines] == [
        ("completed", "info"),
        ("refused", "warning"),
    ]
    assert lines[0]["tokens"]
    assert "Hello" not in json.dumps(lines), "no content"
    assert [r for r in caplog.records if r.name == ENDS] == [], "the entry says it all"
    assert not logging.getLogger(ENDS).disabled, "the next gateway may want it"


async def test_content_is_in_the_log_only_if_it_was_asked_for(tmp_path, scripted_upstream):
    upstream = await scripted_upstream("Hello you there")
    asked = {**HELLO, "messages": [{"role": "user", "content": "a secret question"}]}
    async with watched(tmp_path, upstream) as gateway:
        await gateway.ask("POST", CHAT, asked)
        (entry,) = await gateway.entries()
        assert "content" not in entry
        assert "secret question" not in json.dumps(entry)
    async with watched(tmp_path, upstream, log_content=True) as gateway:
        await gateway.ask("POST", CHAT, asked)
        await gateway.ask("POST", CHAT, {**asked, "messages": [{"role": "user", "content": "x" * 100_000}]})
        long, entry, _ = await gateway.entries()
    content = entry["content"]
    assert content["body"]["messages"] == asked["messages"]
    assert content["answer"]["choices"][0]["message"]["content"] == "Hello you there"
    assert len(long["content"]["body"]) < 66_000
    assert long["content"]["body"].endswith("x…")
