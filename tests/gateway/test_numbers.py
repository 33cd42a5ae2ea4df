"""What an operator is shown in five places is the same everywhere, and is what the upstream itself has counted."""

from __future__ import annotations

import json

import pytest

from everytoken.gateway.prices import PriceConfig
from everytoken.gateway.rates import LimitsConfig, Rates
from everytoken.journal.sqlite import SqliteJournal
from gateway_serving import HELLO, Wire, limit, serving
from scraped import scrape

ADMIN = "sk-admin-0123456789"
CALLERS = {"sk-0123456789abcdef": 3, "sk-fedcba9876543210": 5}  # keys, and how often each asks
CHAT = "/v1/chat/completions"
TEXT = "Hello you there"
CUT = (1, 6)  # attempts that break off in the middle
INPUT, OUTPUT = 3.0, 7.0  # dollars for a million tokens


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


async def counts(upstream):
    """Return what an upstream itself counts of a prompt, of an answer, and of one that is cut, asked without a gateway."""
    port = int(upstream.base_url.rpartition(":")[2].partition("/")[0])
    answers, prompt = [], 0
    for _ in range(2):
        async with Wire.to(port) as wire:
            wire.send("POST", CHAT, {**HELLO, "stream_options": {"include_usage": True}})
            answer = await wire.answer()
        chunks = [json.loads(data) for data, _ in answer.events if data != "[DONE]"]
        answers.append(sum(bool(c["delta"].get("content")) for chunk in chunks for c in chunk["choices"]))
        prompt = next((chunk["usage"]["prompt_tokens"] for chunk in chunks if chunk.get("usage")), prompt)
    return prompt, answers[1], answers[0]


async def test_console_log_metrics_budgets_and_upstream_agree(tmp_path, scripted_upstream):
    prompt, answer, cut = await counts(await scripted_upstream(TEXT, faults=[(0, "clean-end", "middle")]))
    upstream = await scripted_upstream(TEXT, faults=[(number, "clean-end", "middle") for number in CUT])
    settings = {
        "api_keys": list(CALLERS),
        "prices": {"m": PriceConfig(input=INPUT, output=OUTPUT)},
        "limits": LimitsConfig(each_key=Rates(usd_per_day=1000.0)),
        "kept_in": SqliteJournal(tmp_path / "j.sqlite"),
    }
    async with limit(), serving(upstream, admin_keys=[ADMIN], metrics="open", **settings) as gateway:
        for secret, times in CALLERS.items():
            for _ in range(times):
                assert (await gateway.ask("POST", CHAT, HELLO, bearer(secret))).text == TEXT
        assert (await gateway.ask("POST", CHAT, b"{", bearer(ADMIN))).status == 400
        await gateway.until_idle()

        async def admin(path):
            return (await gateway.ask("GET", f"/admin/{path}", headers=bearer(ADMIN))).json

        overview, scraped = await admin("overview"), await scrape(gateway)
        entries = (await admin("responses"))["responses"]

    attempts = len(upstream.attempts)
    responses = sum(CALLERS.values())
    assert attempts == responses + len(CUT), "each that was cut was repeated"
    inputs, outputs = attempts * prompt, responses * answer + len(CUT) * cut
    cost = (inputs * INPUT + outputs * OUTPUT) / 1_000_000

    totals = overview["totals"]
    done = [entry for entry in entries if entry["outcome"] == "completed"]
    shown = {
        "console": (totals["ended"], totals["tokens"]["input"], totals["tokens"]["output"], totals["cost"]),
        "log": (
            len(done),
            sum(entry["tokens"]["input"] for entry in done),
            sum(entry["tokens"]["output"] for entry in done),
            sum(entry["cost"] for entry in done),
        ),
        "metrics": (
            scraped.of("everytoken_responses_total", outcome="completed"),
            scraped.of("everytoken_tokens_total", kind="input"),
            scraped.of("everytoken_tokens_total", kind="output"),
            scraped.of("everytoken_cost_usd_total"),
        ),
    }
    for place, found in shown.items():
        assert found == pytest.approx((responses, inputs, outputs, cost)), place
    keys = [key for key in overview["keys"] if key["completed"]]
    assert sorted(key["completed"] for key in keys) == sorted(CALLERS.values())
    assert sum(key["spent"]["day"] for key in keys) == pytest.approx(cost)
    assert sum(key["cost"] for key in keys) == pytest.approx(cost)
    assert totals["outcomes"]["refused"] == scraped.of("everytoken_refusals_total") == 1
    tried = {
        "console": sum(one["attempts"] for one in overview["upstreams"]),
        "log": sum(len(entry["attempts"]) for entry in done),
        "metrics": scraped.of("everytoken_attempts_total"),
    }
    assert set(tried.values()) == {attempts}, tried
