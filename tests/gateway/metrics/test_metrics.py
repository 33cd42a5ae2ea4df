"""Who may read `/metrics`, in which format, and what it costs where nobody may."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics

from everytoken.errors import ConfigurationError
from everytoken.gateway import Gateway
from everytoken.gateway.metrics import metrics as module
from everytoken.observer import Observers
from gateway_serving import HELLO, ManualUpstream, Served, limit, over, served, serving
from scraped import scrape

ADMIN = "sk-admin-0123456789"
CALLER = "sk-caller-0123456789"
LOCAL = {"Host": "127.0.0.1"}


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@asynccontextmanager
async def on_loopback(**settings):
    """Serve a gateway that listens on loopback, as `everytoken serve` does."""
    gateway = over(ManualUpstream(), **settings)
    gateway.on_loopback = True
    async with limit(), gateway, served(gateway) as port:
        yield Served(gateway, port)


@pytest.mark.parametrize(
    ("mode", "statuses"),
    [
        # nobody, a wrong key, a caller's, an administrator's
        ("auto", (401, 401, 401, 200)),
        ("admin", (401, 401, 401, 200)),
        ("open", (200, 200, 200, 200)),
        ("off", (404, 404, 404, 404)),
    ],
)
async def test_who_may_read_beyond_loopback(mode, statuses):
    keys = {"api_keys": [CALLER], "admin_keys": [ADMIN]}
    async with limit(), serving(ManualUpstream(), metrics=mode, **keys) as gateway:
        asked = ({}, bearer("sk-wrong-0123456789"), bearer(CALLER), bearer(ADMIN))
        answers = [await gateway.ask("GET", "/metrics", headers=headers) for headers in asked]
    assert tuple(answer.status for answer in answers) == statuses
    assert all(b"everytoken_" not in answer.body for answer in answers if answer.status != 200)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"X-Forwarded-For": "203.0.113.7"}, 401),
        ({"Forwarded": "for=203.0.113.7"}, 401),
        ({"X-Forwarded-For": "203.0.113.7", **bearer(ADMIN)}, 200),
    ],
)
async def test_on_loopback_it_is_open_for_this_machine_but_not_through_a_proxy(headers, status):
    async with on_loopback(admin_keys=[ADMIN]) as gateway:
        answer = await gateway.ask("GET", "/metrics", headers={**LOCAL, **headers})
    assert answer.status == status


@pytest.mark.parametrize("host", ["gateway.example", "localhost", "127.0.0.1"])
async def test_who_has_a_proxy_needs_a_key_whatever_host_a_request_names(host):
    async with on_loopback(admin_keys=[ADMIN], hosts=["gateway.example"]) as gateway:
        for headers, status in (({}, 401), (bearer(ADMIN), 200)):
            answer = await gateway.ask("GET", "/metrics", headers={"Host": host, **headers})
            assert answer.status == status


async def test_admin_also_counts_on_loopback():
    async with on_loopback(metrics="admin", admin_keys=[ADMIN]) as gateway:
        assert (await gateway.ask("GET", "/metrics", headers=LOCAL)).status == 401
        assert (await gateway.ask("GET", "/metrics", headers={**LOCAL, **bearer(ADMIN)})).status == 200


async def test_an_administrator_whose_key_was_made_later_is_shown_what_happens_from_then_on():
    async with limit(), serving(ManualUpstream()) as gateway:
        assert gateway.gateway.metrics.recorder is None
        _, secret = await gateway.gateway.keys.create({"name": "boss", "admin": True})
        seen = await scrape(gateway, **bearer(secret))
        assert seen.of("everytoken_responses_total") == 0
        await gateway.ask("GET", "/none")
        seen = await scrape(gateway, **bearer(secret))
    assert seen.of("everytoken_refusals_total", code="route-not-found") == 1


@pytest.mark.parametrize("settings", [{"metrics": "off", "admin_keys": [ADMIN]}, {}])
async def test_where_nobody_may_read_nothing_is_observed(settings):
    async with limit(), serving(ManualUpstream(), **settings) as gateway:
        assert gateway.gateway.metrics.recorder is None
        assert not gateway.gateway.observers
        assert isinstance(gateway.gateway.observers, Observers)


async def test_the_format_is_the_one_that_is_asked_for():
    async with limit(), serving(ManualUpstream(), metrics="open") as gateway:
        accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
        answer = await gateway.ask("GET", "/metrics", headers=accept)
        plain = await gateway.ask("GET", "/metrics")
        head = await gateway.ask("HEAD", "/metrics/")
        refused = await gateway.ask("POST", "/metrics", {})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in open_metrics(answer.body.decode())} >= {"everytoken_responses"}
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert plain.headers["cache-control"] == "no-store"
    assert (head.status, head.body, refused.status) == (200, b"", 405)


async def test_every_gateway_has_its_own():
    first, second = (over(ManualUpstream(), metrics="open") for _ in range(2))
    async with limit(), first, second, served(first) as one, served(second) as two:
        await Served(first, one).ask("GET", "/none")
        seen = [await scrape(Served(gateway, port)) for gateway, port in ((first, one), (second, two))]
    assert [one.of("everytoken_refusals_total") for one in seen] == [1, 0]


async def test_the_process_and_the_version():
    async with limit(), serving(ManualUpstream(), metrics="open") as gateway:
        seen = await scrape(gateway)
    assert seen.of("everytoken_build_info") == 1
    assert seen.of("process_cpu_seconds_total") > 0
    assert seen.of("everytoken_draining") == 0


@pytest.mark.parametrize("mode", ["open", "admin"])
async def test_without_the_package_who_asks_for_metrics_is_told_which(mode, monkeypatch):
    monkeypatch.setattr(module, "is_installed", lambda: False)
    with pytest.raises(ConfigurationError, match="pip install prometheus-client"):
        async with over(ManualUpstream(), metrics=mode):
            pass


async def test_without_the_package_the_gateway_works_and_a_scrape_is_told_which(monkeypatch):
    monkeypatch.setattr(module, "is_installed", lambda: False)
    async with on_loopback() as gateway:
        answer = await gateway.ask("GET", "/metrics", headers=LOCAL)
    assert (answer.status, answer.error["code"]) == (501, "not-implemented")
    assert "pip install prometheus-client" in answer.error["message"]


async def test_a_chunk_costs_the_same_with_metrics():
    upstream, seen = ManualUpstream(), []
    async with limit(), serving(upstream, metrics="open") as gateway:
        task = asyncio.ensure_future(gateway.ask("POST", "/v1/chat/completions", HELLO))
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("one ", "two ")

        def note(frame, what, _argument):
            if what == "call":
                seen.append(frame.f_code.co_filename)

        sys.setprofile(note)
        attempt.send("three ")
        sys.setprofile(None)
        attempt.finish()
        await task
    assert any("journal" in one for one in seen)
    assert not [one for one in seen if "/metrics/" in one.partition("everytoken/")[2] or "observer" in one]


def test_a_gateway_that_was_never_started_has_nothing():
    assert Gateway(over(ManualUpstream()).config, {}).metrics.recorder is None
