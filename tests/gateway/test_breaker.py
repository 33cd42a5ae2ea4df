"""The circuit breaker as its operator sees it: settings, `/readyz`, events."""

from __future__ import annotations

import pytest

from everytoken.errors import ConfigurationError
from everytoken.gateway.config import BreakerConfig, parse
from everytoken.observer import CircuitClosed, CircuitOpened
from everytoken.recovery import Policy
from everytoken.testing import Status
from gateway_serving import HELLO, serving

CHAT = "/v1/chat/completions"
KEY = "a key of ours that is long"
SHORT = BreakerConfig(failures=1, pause=0.001, pause_max=0.001)
LONG = BreakerConfig(failures=2, pause=7.0, pause_max=9.0)
ONCE = Policy(attempts=1, max_attempts=1, backoff=0.0)


def circuits(events):
    return [event for event in events if isinstance(event, CircuitOpened | CircuitClosed)]


async def test_what_is_set_aside_is_said_with_its_model_and_time(scripted_upstream):
    events = []
    upstream, healthy = await scripted_upstream([Status(503)]), await scripted_upstream("Hi")
    async with serving(upstream, healthy, breaker=LONG, policy=Policy(backoff=0.0)) as gateway:
        gateway.gateway.observers.add(events.append)
        assert (await gateway.ask("GET", "/readyz")).json["set_aside"] == []
        for _ in range(3):
            await gateway.ask("POST", CHAT, HELLO)
        told = (await gateway.ask("GET", "/readyz")).json
    [one] = told["set_aside"]
    assert (one["upstream"], one["model"]) == ("scripted-0", "m")
    assert 0 < one["seconds"] <= 7.0
    [opened] = circuits(events)
    assert (opened.upstream, opened.model) == ("scripted-0", "m")
    assert opened.seconds == pytest.approx(7.0)


async def test_who_has_no_key_is_not_told(scripted_upstream):
    async with serving(await scripted_upstream([Status(503)]), api_keys=[KEY], breaker=LONG) as gateway:
        headers = {"Authorization": f"Bearer {KEY}"}
        assert "set_aside" in (await gateway.ask("GET", "/readyz", None, headers)).json
        assert "set_aside" not in (await gateway.ask("GET", "/readyz")).json
        assert (
            "set_aside"
            not in (await gateway.ask("GET", "/readyz", None, {"Authorization": "Bearer no"})).json
        )


async def test_an_upstream_that_answers_again_is_told_of_once(scripted_upstream):
    events = []
    upstream = await scripted_upstream("Hi", faults=[(0, "status-503", "before")])
    async with serving(upstream, breaker=SHORT, policy=ONCE) as gateway:
        gateway.gateway.observers.add(events.append)
        answers = [await gateway.ask("POST", CHAT, HELLO) for _ in range(3)]
    assert answers[-1].text == "Hi"
    assert [type(event) for event in circuits(events)] == [CircuitOpened, CircuitClosed]


@pytest.mark.parametrize(
    "table", ["failures = 0", "pause = 0", "pause = 30", "pause_max = inf", "pauses = 1"]
)
def test_what_cannot_work_is_refused(table):
    with pytest.raises(ConfigurationError, match=r"breaker"):
        parse(f"[breaker]\n{table}", {}, where="x")


def test_the_table_is_read():
    assert parse("[breaker]\nfailures = 5\npause_max = 60", {}, where="x").breaker == BreakerConfig(
        failures=5, pause_max=60.0
    )
