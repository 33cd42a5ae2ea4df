"""Limits of keys, models and all together: at a gateway, over restarts and takeovers, and under fire on two nodes."""

from __future__ import annotations

import asyncio
import json
import os
import re
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.journal_backends import shared_redis

from everytoken.errors import ConfigurationError
from everytoken.gateway.config import parse
from everytoken.gateway.prices import PriceConfig
from everytoken.gateway.rates import LimitsConfig, Rates
from everytoken.journal.redis import RedisJournal
from everytoken.journal.sqlite import SqliteJournal
from gateway_serving import HELLO, ManualUpstream, Wire, event, limit, serving

ADMIN = "sk-admin-0123456789"
CHAT = "/v1/chat/completions"
PRICES = {"m": PriceConfig(input=1000.0, output=1000.0)}  # a tenth of a cent for a token


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


class Limited:
    """A gateway whose keys have limits."""

    def __init__(self, gateway):
        self.gateway, self.ask = gateway, gateway.ask

    async def key(self, name="ci", **limits):
        body = {"name": name, **({"limits": limits} if limits else {})}
        answer = await self.gateway.ask("POST", "/admin/keys", body, bearer(ADMIN))
        assert answer.status == 201, answer.body
        return answer.json["secret"]

    async def spent(self, name="ci"):
        await self.settled()
        return (await self.gateway.ask("GET", f"/admin/keys/{name}", None, bearer(ADMIN))).json["spent"]

    async def settled(self):
        await self.gateway.until_idle()
        await asyncio.gather(*self.gateway.gateway.meter._settling)

    async def chat(self, secret, **more):
        return await self.gateway.ask("POST", CHAT, {**HELLO, **more}, bearer(secret))


@asynccontextmanager
async def limited(*upstreams, **settings):
    async with limit(), serving(*upstreams, admin_keys=[ADMIN], **settings) as gateway:
        yield Limited(gateway)


async def test_a_key_may_ask_so_often_in_a_minute(scripted_upstream):
    upstream = await scripted_upstream("Hi")
    async with limited(upstream) as gateway:
        secret, other = await gateway.key(requests_per_minute=3), await gateway.key("other")
        for left in (2, 1, 0):
            answer = await gateway.chat(secret)
            assert answer.text == "Hi"
            assert answer.headers["x-ratelimit-limit-requests"] == "3"
            assert answer.headers["x-ratelimit-remaining-requests"] == str(left)
        asked = len(upstream.attempts)
        refused = await gateway.chat(secret)
        assert refused.status == 429
        assert "requests per minute: 3" in refused.error["message"]
        assert 1 <= int(refused.headers["retry-after"]) <= 61
        assert len(upstream.attempts) == asked, "nothing was spent"
        assert (await gateway.chat(other)).text == "Hi"


SHAPES = {
    "/v1/chat/completions": (HELLO, lambda value: value["error"]["type"] == "rate_limit_error"),
    "/v1/messages": (
        {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]},
        lambda value: value["type"] == "error" and value["error"]["type"] == "rate_limit_error",
    ),
    "/v1/responses": ({"model": "m", "input": "Hi"}, lambda value: value["error"]["code"]),
    "/v1/embeddings": (
        {"model": "m", "input": "Hi"},
        lambda value: value["error"]["type"] == "rate_limit_error",
    ),
}


@pytest.mark.parametrize("path", SHAPES)
async def test_a_refusal_has_the_shape_of_the_callers_api(path):
    body, is_right = SHAPES[path]
    limits = LimitsConfig(all=Rates(running=1))
    upstream = ManualUpstream()
    async with limited(upstream, limits=limits) as gateway, Wire.to(gateway.gateway.port) as wire:
        wire.send("POST", CHAT, HELLO)
        attempt = await upstream.attempt()
        answer = await gateway.ask("POST", path, body)
        assert answer.status == 429
        assert is_right(answer.json)
        attempt.accept()
        attempt.finish()
        await wire.answer()


async def test_tokens_are_reserved_by_estimate_and_settled_by_usage():
    upstream = ManualUpstream()
    async with limited(upstream) as gateway, Wire.to(gateway.gateway.port) as wire:
        secret = await gateway.key(tokens_per_minute=1000)
        wire.send("POST", CHAT, {**HELLO, "max_tokens": 800}, bearer(secret))
        attempt = await upstream.attempt()
        refused = await gateway.chat(secret, max_tokens=300)
        assert refused.status == 429
        assert "tokens per minute: 1000" in refused.error["message"]
        attempt.accept()
        attempt.send("Hi")
        attempt.sink.on_data(event(finish="stop"))
        usage = {"prompt_tokens": 10, "completion_tokens": 90, "total_tokens": 100}
        attempt.sink.on_data(
            b'data: {"id":"c","object":"chat.completion.chunk","choices":[],"usage":%b}\n\n'
            % str(usage).replace("'", '"').encode()
        )
        attempt.sink.on_data(b"data: [DONE]\n\n")
        await wire.answer()
        await gateway.settled()
        wire.send("POST", CHAT, {**HELLO, "max_tokens": 800}, bearer(secret))
        attempt = await upstream.attempt(1)
        attempt.accept()
        attempt.finish()
        assert (await wire.answer()).status == 200


async def test_so_many_responses_of_a_key_run_at_once():
    upstream = ManualUpstream()
    async with limited(upstream) as gateway, Wire.to(gateway.gateway.port) as wire:
        secret = await gateway.key(running=1)
        wire.send("POST", CHAT, HELLO, bearer(secret))
        attempt = await upstream.attempt()
        assert (await gateway.chat(secret)).status == 429
        attempt.accept()
        attempt.finish()
        await wire.answer()
        await gateway.settled()
        wire.send("POST", CHAT, HELLO, bearer(secret))
        attempt = await upstream.attempt(1)
        attempt.accept()
        attempt.finish()
        assert (await wire.answer()).status == 200


async def test_a_budget_is_kept_and_shown(scripted_upstream):
    async with limited(await scripted_upstream("Hello you there"), prices=PRICES) as gateway:
        secret = await gateway.key(usd_per_day=5.0, usd_per_month=9.0)
        answer = await gateway.chat(secret, max_tokens=10)
        assert answer.status == 200
        spent = await gateway.spent()
        tokens, _ = await counted_by(scripted_upstream)
        assert spent == {"day": pytest.approx(tokens / 1000), "month": pytest.approx(tokens / 1000)}
        refused = await gateway.chat(secret, max_tokens=5000)
        assert refused.status == 429
        assert "budget of this API key for the day is used up: 5 US dollars" in refused.error["message"]
        assert 0 < int(refused.headers["retry-after"]) <= 86_401
        assert await gateway.spent() == spent, "a refusal costs nothing"


async def test_without_a_price_no_budget_can_be_kept(scripted_upstream):
    upstream = await scripted_upstream("Hi")
    async with limited(upstream) as gateway:
        secret = await gateway.key(usd_per_day=5.0)
        answer = await gateway.chat(secret, model="my-own")
        assert answer.status == 403
        assert "price of the model 'my-own' is not known" in answer.error["message"]
        assert upstream.attempts == []


async def test_limits_of_each_key_of_models_and_of_all(scripted_upstream):
    limits = LimitsConfig(
        all=Rates(requests_per_minute=6),
        each_key=Rates(requests_per_minute=1),
        models={"small": Rates(requests_per_minute=2)},
    )
    async with limited(await scripted_upstream("Hi"), limits=limits) as gateway:
        own, plain = await gateway.key("own", requests_per_minute=3), await gateway.key("plain")
        assert [(await gateway.chat(plain)).status for _ in range(2)] == [200, 429]
        assert [(await gateway.chat(own, model="small")).status for _ in range(3)] == [200, 200, 429]
        assert [(await gateway.chat(own)).status for _ in range(2)] == [200, 429]
        # An admin key has no limits but those of all.
        answers = [await gateway.chat(ADMIN) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert "of this gateway" in answers[2].error["message"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {**HELLO, "max_tokens": 101}, "max_tokens"),
        (CHAT, {**HELLO, "max_completion_tokens": 101}, "max_completion_tokens"),
        (CHAT, {**HELLO, "n": 3}, "n"),
        ("/v1/responses", {"model": "m", "input": "Hi", "max_output_tokens": 101}, "max_output_tokens"),
    ],
)
async def test_one_request_cannot_ask_for_too_much(path, body, param):
    upstream = ManualUpstream()
    async with limited(upstream, limits=LimitsConfig(all=Rates(max_tokens=100, max_n=2))) as gateway:
        answer = await gateway.ask("POST", path, body)
        assert answer.status == 400
        assert answer.error["param"] == param
        assert upstream.attempts == []


async def test_what_was_refused_or_never_opened_gives_everything_back(scripted_upstream):
    async with limited(await scripted_upstream("Hi"), prices=PRICES) as gateway:
        secret = await gateway.key(usd_per_day=100.0, running=1)
        relays, begin = gateway.gateway.gateway.relays, gateway.gateway.gateway.relays.begin

        async def fails(*_, **__):
            raise ValueError("no")

        relays.begin = fails
        assert (await gateway.chat(secret)).status == 500
        relays.begin = begin
        assert await gateway.spent() == {"day": 0.0, "month": 0.0}
        assert (await gateway.chat(secret)).status == 200


async def test_coming_back_to_a_response_is_not_a_second_one(scripted_upstream):
    async with limited(await scripted_upstream("Hi")) as gateway:
        secret = await gateway.key(requests_per_minute=1)
        headers = {**bearer(secret), "Idempotency-Key": "k"}
        for _ in range(3):
            assert (await gateway.ask("POST", CHAT, HELLO, headers)).text == "Hi"


async def test_a_recovered_response_costs_all_its_attempts(scripted_upstream):
    cut = await scripted_upstream("Hello you there", faults=[(0, "clean-end", "middle")])
    async with limited(cut, prices=PRICES) as gateway:
        secret = await gateway.key(usd_per_day=100.0)
        await gateway.chat(secret, max_tokens=10)
        spent = (await gateway.spent())["day"]
        entry = await gateway.ask("POST", CHAT, HELLO, bearer(secret))
        once = (await gateway.spent())["day"] - spent
        assert entry.status == 200
        assert spent > once, "the first was asked for twice"


async def test_a_prompt_that_nobody_has_counted_counts_by_its_size():
    upstream = ManualUpstream()
    async with limited(upstream, prices=PRICES) as gateway, Wire.to(gateway.gateway.port) as wire:
        secret = await gateway.key(usd_per_day=1000.0)
        text = "x" * 4000
        body = {
            "model": "m",
            "messages": [{"role": "user", "content": text}],
            "max_tokens": 10,
            "stream": True,
        }
        wire.send("POST", CHAT, body, bearer(secret))
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("Hi")
        attempt.finish()  # without usage
        await wire.answer()
        assert 1.001 < (await gateway.spent())["day"] < 1.06


async def test_money_survives_the_death_of_the_process(tmp_path, scripted_upstream):
    place = tmp_path / "j.sqlite"
    upstream = await scripted_upstream("Hello you there")
    async with limited(upstream, kept_in=SqliteJournal(place), prices=PRICES) as gateway:
        secret = await gateway.key(usd_per_day=100.0)
        await gateway.chat(secret, max_tokens=10)
        spent = (await gateway.spent())["day"]
        # It dies when a response has ended, and before that was settled.
        gateway.gateway.gateway.meter._settle = _never
        await gateway.chat(secret, max_tokens=10)
        await gateway.gateway.until_idle()
    async with limited(upstream, kept_in=SqliteJournal(place), prices=PRICES) as gateway:
        assert (await gateway.spent())["day"] == pytest.approx(2 * spent)
    async with limited(upstream, kept_in=SqliteJournal(place), prices=PRICES) as gateway:
        assert (await gateway.spent())["day"] == pytest.approx(2 * spent), "it is settled once"


async def test_limits_cost_no_commits_of_their_own(tmp_path, scripted_upstream, monkeypatch):
    monkeypatch.setattr("everytoken.journal.local_ledger._DELAY", 1000)
    journal = SqliteJournal(tmp_path / "j.sqlite")
    async with limited(
        await scripted_upstream("Hi"), kept_in=journal, prices=PRICES, keep_log=0.0
    ) as gateway:
        free, budget = await gateway.key("free"), await gateway.key(usd_per_day=100.0)
        commits = []
        for secret in (free, budget):
            await gateway.chat(secret)  # whatever is done once only
            before = journal.commits.number
            for _ in range(5):
                await gateway.chat(secret)
            commits.append(journal.commits.number - before)
        # What is reserved is stored with the response, what is settled is gathered.
        assert commits[0] == commits[1] > 0


async def _never(_, taking):
    taking.close()


async def test_a_response_that_another_node_continues_is_settled_once(scripted_upstream):
    url, manual = shared_redis().url, ManualUpstream()
    whole = await scripted_upstream("Hello you there")
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(limited(manual, kept_in=RedisJournal(url), prices=PRICES))
        there = await stack.enter_async_context(limited(whole, kept_in=RedisJournal(url), prices=PRICES))
        secret = await here.key(usd_per_day=100.0, running=5)
        wire = await stack.enter_async_context(Wire.to(here.gateway.port))
        wire.send("POST", CHAT, HELLO, bearer(secret))
        attempt = await manual.attempt()
        attempt.accept()
        attempt.send("Hello")
        await wire.head()
        await wire.frame()
        (stream,) = here.gateway.gateway.relays.running()
        relay = here.gateway.gateway.relays.get(stream)
        relay.let_go()  # as a node that is stopped does
        await relay.over
        reserved = (await here.spent())["day"]
        assert reserved > 0
        log = await there.gateway.gateway.journal.open(stream)
        await there.gateway.gateway.relays._take_over(log)
        await there.gateway.until_idle()
        meters = [one.gateway.gateway.meter for one in (here, there)]
        for meter in meters:
            meter._now = lambda now=meter._now: now() + 100
        await asyncio.gather(*(meter.look() for meter in meters))
        settled = (await here.spent())["day"]
        assert 0 < settled < reserved
        await asyncio.gather(*(meter.look() for meter in meters))
        assert (await here.spent())["day"] == settled


async def test_what_is_passed_on_counts_as_expected(scripted_upstream):
    async with limited(await scripted_upstream("Hi")) as gateway:
        secret = await gateway.key(requests_per_minute=2)
        for status in (200, 200, 429):
            answer = await gateway.ask(
                "POST", "/v1/embeddings", {"model": "m", "input": "Hi"}, bearer(secret)
            )
            assert (answer.status == 429) is (status == 429)


@pytest.mark.parametrize(
    "text",
    ["[limits.all]\nrequests_per_minute = -1", "[limits.every]\nrunning = 1", '[limits.models."m"]\nrpm = 1'],
)
def test_limits_that_make_no_sense_are_refused(text):
    with pytest.raises(ConfigurationError, match="limits"):
        parse(text, {}, where="x")


async def test_limits_of_a_key_that_make_no_sense_are_refused():
    async with limited(ManualUpstream()) as gateway:
        body = {"name": "ci", "limits": {"rpm": 5}}
        answer = await gateway.ask("POST", "/admin/keys", body, bearer(ADMIN))
        assert (answer.status, answer.error["param"]) == (400, "limits")


async def counted_by(scripted_upstream):
    """Return how many tokens the upstream itself counts of a whole answer and of one that is cut in the middle."""
    upstream = await scripted_upstream("Hello you there", faults=[(0, "clean-end", "middle")])
    port = int(upstream.base_url.rpartition(":")[2].partition("/")[0])
    pieces, usage = [], {}
    for _ in range(2):
        async with Wire.to(port) as wire:
            wire.send("POST", CHAT, {**HELLO, "stream_options": {"include_usage": True}})
            answer = await wire.answer()
        chunks = [json.loads(data) for data, _ in answer.events if data != "[DONE]"]
        pieces.append(sum(bool(c["delta"].get("content")) for chunk in chunks for c in chunk["choices"]))
        usage = next((chunk["usage"] for chunk in chunks if chunk.get("usage")), usage)
    assert usage["completion_tokens"] == pieces[1]
    return usage["prompt_tokens"] + pieces[1], usage["prompt_tokens"] + pieces[0]


KEYS, CALLS, MOST = (50, 200, 20) if os.environ.get("EVERYTOKEN_SOAK") else (5, 30, 8)


async def test_under_fire_no_key_is_over_its_limits_and_sums_are_exact(scripted_upstream):
    """Many callers of many keys at once, on two nodes, at an upstream that breaks now and then."""
    url = shared_redis().url
    whole, cut = await counted_by(scripted_upstream)
    # Two, so that a third attempt is whole: of a prompt that no attempt has reported nobody knows the length.
    faults = [(number, "clean-end", "middle") for number in (3, 30)]
    upstream = await scripted_upstream("Hello you there", faults=faults)
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                serving(upstream, admin_keys=[ADMIN], kept_in=RedisJournal(url), prices=PRICES)
            )
            for _ in range(2)
        ]
        first = Limited(nodes[0])
        secrets = [await first.key(f"k{n}", requests_per_minute=MOST, usd_per_day=1e6) for n in range(KEYS)]
        async with asyncio.timeout(30):
            while len(nodes[1].gateway.keys.all()) <= KEYS:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
        at_once = asyncio.Semaphore(50)
        statuses = {secret: [] for secret in secrets}

        async def call(number, secret):
            async with at_once:
                answer = await nodes[number % 2].ask(
                    "POST", CHAT, {**HELLO, "max_tokens": 10}, bearer(secret)
                )
                statuses[secret].append(answer.status)

        async with asyncio.timeout(300):
            await asyncio.gather(*(call(n, secret) for n in range(CALLS) for secret in secrets))
            for node in nodes:
                await Limited(node).settled()
        for found in statuses.values():
            assert found.count(200) == MOST
            assert found.count(429) == CALLS - MOST
        spent = [(await first.spent(f"k{n}"))["day"] for n in range(KEYS)]
        ledger = nodes[0].gateway.meter._ledger
        assert await ledger.open_before(2e9) == []
        counted = sum(cut if one.fault else whole for one in upstream.attempts)
        assert sum(spent) == pytest.approx(counted / 1000)


def test_the_example_of_the_docs_is_a_configuration():
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    limits = parse(example, {}, where="docs/operations.md").limits
    assert (limits.all.requests_per_minute, limits.each_key.usd_per_day) == (3000, 10)
    assert limits.models["gpt-5"].tokens_per_minute == 500_000
