"""`/admin/overview` of a gateway, with real traffic."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from everytoken.gateway.prices import PriceConfig
from everytoken.gateway.rates import LimitsConfig, Rates
from everytoken.journal.sqlite import SqliteJournal
from gateway_serving import HELLO, ManualUpstream, Wire, limit, serving

ADMIN = "sk-admin-0123456789"
KEY = "sk-0123456789abcdef"
CHAT = "/v1/chat/completions"


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


@asynccontextmanager
async def watched(tmp_path, *upstreams, **settings):
    journal = SqliteJournal(tmp_path / "j.sqlite")
    async with limit(), serving(*upstreams, kept_in=journal, admin_keys=[ADMIN], **settings) as gateway:
        yield gateway


async def overview(gateway, query=""):
    await gateway.until_idle()
    answer = await gateway.ask("GET", f"/admin/overview{query}", headers=bearer(ADMIN))
    assert answer.status == 200, answer.body
    return answer.json


async def test_it_says_what_was_done_by_whom_at_which_price(tmp_path, scripted_upstream):
    upstream = await scripted_upstream("Hello you there", faults=[(0, "clean-end", "middle")])
    settings = {
        "api_keys": [KEY],
        "prices": {"m": PriceConfig(input=1.0, output=2.0)},
        "limits": LimitsConfig(each_key=Rates(usd_per_day=3.0)),
    }
    async with watched(tmp_path, upstream, **settings) as gateway:
        for _ in range(2):
            await gateway.ask("POST", CHAT, HELLO, bearer(KEY))
        await gateway.ask("POST", CHAT, b"{", bearer(KEY))
        found = await overview(gateway)
        entries = (await gateway.ask("GET", "/admin/responses", headers=bearer(ADMIN))).json["responses"]
    done = [entry for entry in entries if entry["outcome"] == "completed"]
    totals = found["totals"]
    assert (totals["begun"], totals["ended"], totals["outcomes"]) == (2, 2, {"completed": 2, "refused": 1})
    assert totals["tokens"]["output"] == sum(entry["tokens"]["output"] for entry in done)
    assert totals["cost"] == pytest.approx(sum(entry["cost"] for entry in done))
    assert 60 <= len(found["steps"]) <= 61
    assert sum(step["begun"] for step in found["steps"]) == 2
    assert [step["at"] for step in found["steps"][:2]] == [found["since"], found["since"] + 60]
    assert found["errors"] == [{"error": "invalid-request", "count": 1}]
    (one,) = found["upstreams"]
    assert (one["upstream"], one["state"], one["attempts"], one["failed"]) == ("scripted-0", "ready", 3, 1)
    assert one["causes"] == {"upstream-truncated": 1}
    assert one["latency"][0]["first_token"] >= 0
    (model,) = found["models"]
    assert (model["model"], model["responses"], model["completed"]) == ("m", 2, 2)
    key = next(key for key in found["keys"] if key["key"] == "api_keys 1")
    assert key["limits"] == {"usd_per_day": 3.0, "usd_per_month": 0.0}
    assert key["spent"]["day"] == pytest.approx(totals["cost"], abs=1e-5)
    assert found["journal"] == {"kind": "sqlite", "durable": True}
    assert found["log"]["kept"]
    assert found["version"]
    assert found["uptime"] >= 0


async def test_what_runs_has_begun(tmp_path):
    upstream = ManualUpstream()
    async with watched(tmp_path, upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, HELLO)
        await upstream.attempt()
        found = (await gateway.ask("GET", "/admin/overview", headers=bearer(ADMIN))).json
        assert found["now"] == {"running": 1, "waiting": 0}
        assert (found["totals"]["begun"], found["totals"]["ended"]) == (1, 0)
        assert found["upstreams"][0]["in_flight"] == 1


async def test_an_upstream_that_is_set_aside_is_shown_as_such(tmp_path):
    async with watched(tmp_path, ManualUpstream()) as gateway:
        for _ in range(3):
            gateway.gateway.relays._breaker.failed(("manual", "m"), asyncio.get_running_loop().time())
        (one,) = (await overview(gateway))["upstreams"]
    assert one["state"] == "set aside"
    assert one["set_aside"][0]["model"] == "m"
    assert 0 < one["set_aside"][0]["seconds"] <= 5


async def test_without_a_request_log_there_is_what_is_now():
    async with limit(), serving(ManualUpstream(), admin_keys=[ADMIN]) as gateway:
        found = await overview(gateway)
    assert not found["log"]["kept"]
    assert found["journal"] == {"kind": "memory", "durable": False}
    assert found["totals"]["begun"] == 0


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("?step=0", "step"),
        ("?step=x", "step"),
        ("?since=-86400&step=10", "step"),
        ("?from=1", "from"),
        ("?since=nan", "since"),
    ],
)
async def test_what_makes_no_sense_is_refused(tmp_path, query, param):
    async with watched(tmp_path, ManualUpstream()) as gateway:
        answer = await gateway.ask("GET", f"/admin/overview{query}", headers=bearer(ADMIN))
    assert (answer.status, answer.error["param"]) == (400, param)


async def test_the_time_is_bounded_by_what_is_kept(tmp_path):
    async with watched(tmp_path, ManualUpstream(), keep_log=7200.0) as gateway:
        found = await overview(gateway, "?since=-864000&step=60")
    assert time.time() - found["since"] < 7300


async def test_it_needs_an_admin_key(tmp_path):
    async with watched(tmp_path, ManualUpstream(), api_keys=[KEY]) as gateway:
        for headers in ({}, bearer(KEY)):
            assert (await gateway.ask("GET", "/admin/overview", headers=headers)).status == 401
        assert (await gateway.ask("POST", "/admin/overview", headers=bearer(ADMIN))).status == 405


async def test_the_page_is_there_for_everybody_and_from_this_host_alone(tmp_path):
    async with watched(tmp_path, ManualUpstream(), api_keys=[KEY]) as gateway:
        page = await gateway.ask("GET", "/console")
        assert page.status == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        for path in ("console/main.js", "console/style.css", "vendor/uPlot.js", "vendor/uPlot.css"):
            assert (await gateway.ask("GET", f"/assets/{path}")).status == 200
