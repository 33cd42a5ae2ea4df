"""What has happened, in exact numbers."""

from __future__ import annotations

import asyncio

import pytest

from everytoken.gateway import UpstreamConfig
from everytoken.gateway.config import BreakerConfig
from everytoken.gateway.metrics.labels import MAX_MODELS, OTHER
from everytoken.gateway.metrics.usage import operation_of, provider_of, tokens_of
from everytoken.gateway.prices import PriceConfig
from everytoken.journal.sqlite import SqliteJournal
from everytoken.recovery import Policy
from everytoken.testing import Answer, ScriptedUpstream
from everytoken.testing.answer import tokenise
from gateway_serving import HELLO, ManualUpstream, Wire, limit, serving
from scraped import scrape

CHAT = "/v1/chat/completions"
WORDS = "one two three four"


def scripted(**more):
    return ScriptedUpstream(Answer(WORDS), **more)


async def test_a_response_that_completes():
    async with limit(), scripted() as upstream, serving(upstream, metrics="open") as gateway:
        answer = await gateway.ask("POST", CHAT, HELLO)
        assert answer.text == WORDS
        await gateway.until_idle()
        seen = await scrape(gateway)
    api = {"api": "openai-chat", "model": "m"}
    assert seen.of("everytoken_responses_total", **api, outcome="completed") == 1
    assert seen.of("everytoken_responses_total") == 1
    assert seen.of("everytoken_attempts_total", upstream="scripted-0", strategy="first", cause="none") == 1
    assert seen.of("everytoken_response_errors_total") == 0
    assert seen.of("everytoken_recovered_responses_total") == 0
    assert seen.of("everytoken_seam_gap_seconds_count") == 0
    assert seen.of("everytoken_reader_connections_total") == 1
    assert seen.of("everytoken_running_responses") == seen.of("everytoken_readers") == 0
    gen_ai = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "openai",
        "gen_ai_request_model": "m",
    }
    for name in ("duration_seconds", "time_to_first_chunk_seconds", "time_per_output_chunk_seconds"):
        assert seen.of(f"gen_ai_client_operation_{name}_count", **gen_ai) == 1
    assert seen.of("gen_ai_client_operation_duration_seconds_count", error_type="") == 1
    for kind in ("input", "output"):
        tokens = seen.of("everytoken_tokens_total", model="m", kind=kind)
        assert tokens == seen.of("gen_ai_client_token_usage_sum", gen_ai_token_type=kind, **gen_ai) > 0
    assert seen.of("everytoken_tokens_total", kind="output") == len(tokenise(WORDS))


async def test_a_response_that_is_cut_and_recovered():
    async with (
        limit(),
        scripted(faults=[(0, "reset", "middle")]) as upstream,
        serving(upstream, metrics="open") as gateway,
    ):
        assert (await gateway.ask("POST", CHAT, HELLO)).text == WORDS
        await gateway.until_idle()
        seen = await scrape(gateway)
    assert seen.of("everytoken_responses_total", outcome="completed") == 1
    assert seen.of("everytoken_attempts_total", strategy="first", cause="upstream-truncated") == 1
    assert seen.of("everytoken_attempts_total", strategy="replay", cause="none") == 1
    assert seen.of("everytoken_recovered_responses_total", model="m", how="seam") == 1
    assert seen.of("everytoken_recovered_responses_total", how="retry") == 0
    assert seen.of("everytoken_seam_gap_seconds_count", upstream="scripted-0", strategy="replay") == 1
    assert 0 < seen.of("everytoken_seam_gap_seconds_sum") < 10
    assert seen.of("everytoken_attempt_first_content_seconds_count", upstream="scripted-0") == 2


async def test_a_response_that_is_retried_before_anything_was_delivered():
    async with (
        limit(),
        scripted(faults=[(0, "status-500", "start")]) as upstream,
        serving(upstream, metrics="open", policy=Policy(backoff=0.01)) as gateway,
    ):
        assert (await gateway.ask("POST", CHAT, HELLO)).text == WORDS
        await gateway.until_idle()
        seen = await scrape(gateway)
    assert seen.of("everytoken_recovered_responses_total", how="retry") == 1
    assert seen.of("everytoken_attempts_total", cause="upstream-status") == 1
    assert seen.of("everytoken_seam_gap_seconds_count") == 0


async def test_a_response_that_is_interrupted_is_no_completed_one():
    upstream = ManualUpstream()
    policy = Policy(attempts=1)
    async with (
        limit(),
        serving(upstream, metrics="open", policy=policy) as gateway,
        Wire.to(gateway.port) as wire,
    ):
        wire.send("POST", CHAT, HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("one ")
        attempt.sink.on_eof()
        await wire.answer()
        await gateway.until_idle()
        seen = await scrape(gateway)
    assert seen.of("everytoken_responses_total", outcome="interrupted", model=OTHER) == 1
    assert seen.of("everytoken_responses_total") == 1
    assert seen.of("everytoken_response_errors_total", outcome="interrupted", code="upstream-truncated") == 1
    assert seen.of("gen_ai_client_operation_duration_seconds_count", error_type="upstream-truncated") == 1


async def test_what_runs_and_is_then_cancelled():
    upstream = ManualUpstream()
    async with limit(), serving(upstream, metrics="open") as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("one ")
        stream = (await wire.head()).headers["location"]
        seen = await scrape(gateway)
        assert seen.of("everytoken_running_responses") == seen.of("everytoken_readers") == 1
        assert seen.of("everytoken_responses_total") == 0
        assert (await gateway.ask("POST", f"{stream}/cancel")).status == 204
        await gateway.until_idle()
        seen = await scrape(gateway)
    assert seen.of("everytoken_running_responses") == 0
    assert seen.of("everytoken_responses_total", outcome="cancelled") == 1
    assert seen.of("everytoken_response_errors_total", outcome="cancelled", code="cancelled") == 1


async def test_a_refusal_of_the_upstream_is_a_failed_response():
    async with (
        limit(),
        scripted(faults=[("always", "status-400", "start")]) as upstream,
        serving(upstream, metrics="open") as gateway,
    ):
        assert (await gateway.ask("POST", CHAT, HELLO)).status == 400
        await gateway.until_idle()
        seen = await scrape(gateway)
    assert seen.of("everytoken_responses_total", outcome="failed") == 1
    assert seen.of("everytoken_refusals_total") == 0


async def test_requests_that_are_refused_are_counted_by_their_code():
    async with limit(), serving(ManualUpstream(), metrics="open", api_keys=["k" * 16]) as gateway:
        for path, body in (("/v1/none", None), ("/v1/none", None), (CHAT, HELLO)):
            await gateway.ask("POST" if body else "GET", path, body)
        await gateway.ask("GET", CHAT, headers={"Authorization": f"Bearer {'k' * 16}"})
        seen = await scrape(gateway)
    assert seen.of("everytoken_refusals_total", code="route-not-found") == 2
    assert seen.of("everytoken_refusals_total", code="authentication-failed") == 1
    assert seen.of("everytoken_refusals_total", code="method-not-allowed") == 1
    assert seen.of("everytoken_refusals_total") == 4


async def test_readers_that_come_back():
    async with limit(), scripted() as upstream, serving(upstream, metrics="open") as gateway:
        answer = await gateway.ask("POST", CHAT, HELLO)
        stream, (_, offset) = answer.headers["location"], answer.events[0]
        for resumed in ("", f"?offset={offset}", "?offset=-1", "?offset=now"):
            await gateway.ask("GET", f"{stream}/events{resumed}")
        await gateway.ask("GET", f"{stream}/events", headers={"Last-Event-ID": offset})
        seen = await scrape(gateway)
    assert seen.of("everytoken_resumes_total") == 2


async def test_the_breaker_by_upstream_and_model():
    dead = UpstreamConfig(name="dead", url="http://127.0.0.1:9/v1", models={"m": "theirs", "n": "other-one"})
    quick = Policy(backoff=0.001, attempts=3)
    async with (
        limit(),
        scripted() as upstream,
        serving(dead, upstream, metrics="open", policy=quick, breaker=BreakerConfig(failures=1)) as gateway,
    ):
        seen = await scrape(gateway)
        assert seen.values("everytoken_breaker_open", "model") == {"theirs", "other-one"}
        assert seen.of("everytoken_breaker_open") == 0
        assert (await gateway.ask("POST", CHAT, HELLO)).text == WORDS
        seen = await scrape(gateway)
    assert seen.of("everytoken_breaker_open", upstream="dead", model="theirs") == 1
    assert seen.of("everytoken_breaker_open") == 1
    assert seen.of("everytoken_breaker_opened_total", upstream="dead") == 1
    assert seen.values("everytoken_breaker_opened_total", "upstream") == {"dead", "scripted-1"}


async def test_what_the_journal_stores(tmp_path):
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    async with (
        limit(),
        scripted() as upstream,
        serving(upstream, kept_in=journal, metrics="open") as gateway,
    ):
        await gateway.ask("POST", CHAT, HELLO)
        await gateway.until_idle()
        seen = await scrape(gateway)
    assert seen.of("everytoken_journal_commit_seconds_count", journal="SqliteJournal") > 1
    assert seen.of("everytoken_journal_commit_bytes_total") > len(WORDS)
    assert 0 < seen.of("everytoken_journal_bytes") < seen.of("everytoken_journal_max_bytes") == 2**31
    assert seen.of("everytoken_journal_failing") == 0


async def test_what_responses_have_cost_and_those_of_which_nobody_knows():
    prices = {"m": PriceConfig(input=1e5, output=2e5)}
    async with (
        limit(),
        scripted(faults=[(0, "reset", "middle")]) as upstream,
        serving(upstream, metrics="open", prices=prices) as gateway,
    ):
        for model in ("m", "no-such-model-anywhere"):
            assert (await gateway.ask("POST", CHAT, {**HELLO, "model": model})).complete
        await gateway.until_idle()
        seen = await scrape(gateway)
    used = {kind: seen.of("everytoken_tokens_total", model="m", kind=kind) for kind in ("input", "output")}
    assert seen.of("everytoken_cost_usd_total", model="m") == pytest.approx(
        0.1 * used["input"] + 0.2 * used["output"]
    )
    assert seen.of("everytoken_cost_usd_total") == seen.of("everytoken_cost_usd_total", model="m") > 0
    assert seen.of("everytoken_unpriced_responses_total", model="no-such-model-anywhere") == 1
    assert seen.of("everytoken_unpriced_responses_total") == 1


async def test_metrics_and_the_request_log_tell_the_same(tmp_path):
    faults = [
        (0, "reset", "middle"),
        (2, "status-500", "start"),
        (5, "reset", "middle"),
        (6, "reset", "middle"),
    ]
    admin = "sk-admin-0123456789"
    settings = {
        "metrics": "open",
        "admin_keys": [admin],
        "prices": {"m": PriceConfig(input=10, output=20)},
        "policy": Policy(backoff=0.001, attempts=2),
    }
    async with (
        limit(),
        scripted(faults=faults) as upstream,
        serving(upstream, kept_in=SqliteJournal(tmp_path / "j.sqlite"), **settings) as gateway,
    ):
        for number in range(6):
            await gateway.ask("POST", CHAT, {**HELLO, "stream": number % 2 == 0})
        await gateway.until_idle()
        seen = await scrape(gateway)
        bearer = {"Authorization": f"Bearer {admin}"}
        entries = (await gateway.ask("GET", "/admin/responses", headers=bearer)).json["responses"]
    assert len(entries) == 6
    for outcome in ("completed", "interrupted", "failed"):
        logged = sum(entry["outcome"] == outcome for entry in entries)
        assert seen.of("everytoken_responses_total", outcome=outcome) == logged
    for kind in ("input", "output"):
        logged = sum((entry["tokens"] or {}).get(kind, 0) for entry in entries)
        assert seen.of("everytoken_tokens_total", kind=kind) == logged > 0
    assert seen.of("everytoken_cost_usd_total") == pytest.approx(sum(entry["cost"] or 0 for entry in entries))
    attempts = [attempt for entry in entries for attempt in entry["attempts"]]
    assert seen.of("everytoken_attempts_total") == len(attempts) == len(upstream.requests)
    assert seen.of("everytoken_attempts_total", cause="none") == sum(one["cause"] is None for one in attempts)
    gaps = [seam["gap"] for entry in entries for seam in entry["seams"]]
    assert seen.of("everytoken_seam_gap_seconds_count") == len(gaps) > 0
    assert seen.of("everytoken_seam_gap_seconds_sum") == pytest.approx(sum(gaps), abs=0.01)


async def test_who_waits_for_a_place():
    upstream = ManualUpstream()
    async with limit(), serving(upstream, metrics="open", max_running=1) as gateway:
        asked = [asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO)) for _ in range(3)]
        first = await upstream.attempt()
        while gateway.gateway.gate.waiting < 2:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
        seen = await scrape(gateway)
        assert seen.of("everytoken_waiting_requests") == 2
        assert seen.of("everytoken_running_responses") == 1
        for number in range(3):
            attempt = first if number == 0 else await upstream.attempt(number)
            attempt.accept()
            attempt.send("one ")
            attempt.finish()
        await asyncio.gather(*asked)
        assert (await scrape(gateway)).of("everytoken_waiting_requests") == 0


async def test_a_caller_cannot_make_more_labels_than_there_may_be():
    async with limit(), scripted() as upstream, serving(upstream, metrics="open") as gateway:
        recorder = gateway.gateway.metrics.recorder
        for number in range(MAX_MODELS - 1):
            recorder.models.completed(f"early-{number}")
        for number in range(3):
            await gateway.ask("POST", CHAT, {**HELLO, "model": f"late-{number}"})
        await gateway.until_idle()
        seen = await scrape(gateway)
    labels = seen.values("everytoken_responses_total", "model")
    assert labels == {"late-0", OTHER}
    assert seen.of("everytoken_responses_total", model=OTHER, outcome="completed") == 2
    assert seen.values("everytoken_tokens_total", "model") == {"late-0", OTHER}


async def test_a_response_that_is_taken_over_and_one_that_is_handed_over(tmp_path):
    upstream, path = ManualUpstream(), tmp_path / "journal.sqlite"
    async with (
        limit(),
        serving(upstream, kept_in=SqliteJournal(path), metrics="open") as gateway,
        Wire.to(gateway.port) as wire,
    ):
        wire.send("POST", CHAT, HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("one ")
        await wire.head()
        await wire.frame()
        await gateway.gateway.relays.drain(0)
        assert (await scrape(gateway)).of("everytoken_handovers_total") == 1
    async with limit(), serving(upstream, kept_in=SqliteJournal(path), metrics="open") as gateway:
        attempt = await upstream.attempt(1)
        attempt.accept()
        attempt.send("one ", "two")
        attempt.finish()
        await gateway.until_idle()
        seen = await scrape(gateway)
    assert seen.of("everytoken_takeovers_total") == 1
    assert seen.of("everytoken_recovered_responses_total", how="seam") == 1
    assert seen.of("everytoken_seam_gap_seconds_count") == 1


async def test_how_late_the_loop_is():
    async with limit(), serving(ManualUpstream(), metrics="open") as gateway:
        seen = await scrape(gateway)
        while seen.of("everytoken_event_loop_lag_seconds_count") < 2:
            await asyncio.sleep(0)
            seen = await scrape(gateway)
    assert seen.of("everytoken_event_loop_lag_seconds_bucket", le="+Inf") >= 2


@pytest.mark.parametrize(
    ("dialect", "usage", "tokens"),
    [
        (
            "openai-chat",
            {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}},
            {"input": 9, "output": 4, "cache_read": 3},
        ),
        (
            "openai-responses",
            {"input_tokens": 9, "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 2}},
            {"input": 9, "output": 4, "reasoning": 2},
        ),
        (
            "anthropic-messages",
            {"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 4},
            {"input": 8, "output": 4, "cache_read": 3},
        ),
        ("openai-completions", {"prompt_tokens": 1, "completion_tokens": 2}, {"input": 1, "output": 2}),
        ("toy", None, {}),
        ("toy", {"prompt_tokens": None, "completion_tokens": "many"}, {}),
    ],
)
def test_tokens_by_kind_in_every_api(dialect, usage, tokens):
    assert dict(tokens_of(dialect, usage)) == tokens


def test_what_the_conventions_call_an_api():
    assert [provider_of(name) for name in ("openai-chat", "anthropic-messages", "llama-completion")] == [
        "openai",
        "anthropic",
        "llama-completion",
    ]
    assert [operation_of(name) for name in ("openai-responses", "openai-completions")] == [
        "chat",
        "text_completion",
    ]
