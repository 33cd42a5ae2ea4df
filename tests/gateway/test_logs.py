"""What the log says: one line for each response, nothing twice, never a secret."""

from __future__ import annotations

import json
import logging

import pytest

from everytoken.gateway import UpstreamConfig
from everytoken.recovery import Policy
from everytoken.testing import Status
from gateway_serving import HELLO, ManualUpstream, Wire, serving

CHAT = "/v1/chat/completions"
ONCE = Policy(attempts=1)
UPSTREAM_KEY, CALLERS_KEY, HEADER = "sk-upstream-secret", "sk-callers-secret", "header-secret"


@pytest.fixture
def log(caplog):
    """The log at the level of `everytoken serve`."""
    caplog.set_level(logging.WARNING)
    caplog.set_level(logging.INFO, "everytoken")
    return caplog


async def test_a_completed_response_is_one_line(scripted_upstream, log):
    async with serving(await scripted_upstream("Hi")) as gateway:
        for body in (HELLO, {**HELLO, "stream": False}):
            log.clear()
            await gateway.ask("POST", CHAT, body)
            [record] = log.records
            assert record.levelno == logging.INFO
            assert "completed" in record.getMessage()


@pytest.mark.parametrize(
    ("fault", "word"),
    [("close", "interrupted"), ("connection-refused", "failed"), ("reset-before-head", "failed")],
)
async def test_one_that_did_not_complete_is_one_line_with_its_cause(scripted_upstream, log, fault, word):
    upstream = await scripted_upstream("One two three four", faults=[("always", fault, "middle")])
    async with serving(upstream, policy=ONCE) as gateway:
        await gateway.ask("POST", CHAT, HELLO)
    [record] = log.records
    assert record.levelno == logging.WARNING
    assert word in record.getMessage()
    assert record.exc_info is None


async def test_every_attempt_that_failed_is_a_line_of_its_own(scripted_upstream, log):
    upstream = await scripted_upstream("Hi", faults=[(0, "reset-before-head", "start")])
    async with serving(upstream, policy=Policy(backoff=0.0)) as gateway:
        await gateway.ask("POST", CHAT, HELLO)
    failed, completed = (record.getMessage() for record in log.records)
    assert "attempt 1" in failed
    assert "completed" in completed


@pytest.mark.virtual_time
@pytest.mark.parametrize("grace", [0.0, 5.0])
async def test_one_that_nobody_reads_is_one_line(log, grace):
    upstream = ManualUpstream()
    async with serving(upstream, grace=grace) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", CHAT, HELLO)
            attempt = await upstream.attempt()
            attempt.accept()
            await wire.head()
        await attempt.released.wait()
    [record] = log.records
    assert "cancelled" in record.getMessage()


async def test_what_an_upstream_says_is_one_line_and_not_long(scripted_upstream, log):
    message = "no\n2026-11-22 ERROR forged \x1b[31m" + "x" * 10_000
    upstream = await scripted_upstream(
        [Status(400, body=json.dumps({"error": {"message": message}}).encode())]
    )
    async with serving(upstream) as gateway:
        answer = await gateway.ask("POST", CHAT, HELLO)
    assert answer.error["message"] == message, "the caller gets it as it is"
    for record in log.records:
        text = record.getMessage()
        assert text.isprintable()
        assert len(text) < 1000


async def test_no_log_ever_holds_a_key(scripted_upstream, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(logging.getLogger("asyncio"), "level", logging.INFO)
    echo = json.dumps({"error": {"message": f"bad key {UPSTREAM_KEY}", "headers": [UPSTREAM_KEY]}}).encode()
    answers = []
    scripts = [
        await scripted_upstream("Hi"),
        await scripted_upstream("One two three", faults=[("always", "reset", "middle")]),
        *[await scripted_upstream([Status(status, body=echo)]) for status in (400, 401, 429, 500)],
        await scripted_upstream("x", faults=[("always", "garbage-head", "start")]),
        await scripted_upstream("x", faults=[("always", "connection-refused", "start")]),
    ]
    for upstream in scripts:
        configured = UpstreamConfig(
            name="it", url=upstream.base_url, key=UPSTREAM_KEY, headers={"x-api-key": HEADER}
        )
        async with serving(configured, policy=ONCE, api_keys=[CALLERS_KEY]) as gateway:
            for authorization in (f"Bearer {CALLERS_KEY}", f"Bearer {CALLERS_KEY}x", f"Basic {CALLERS_KEY}"):
                for path in (CHAT, "/api/chat", "/v1/models"):
                    method = "GET" if path == "/v1/models" else "POST"
                    answer = await gateway.ask(method, path, HELLO, {"Authorization": authorization})
                    answers.append((repr(answer.headers), answer.body.decode()))
    assert scripts[0].attempts[0].headers["x-api-key"] == HEADER
    everything = [record.getMessage() + repr(record.__dict__) for record in caplog.records]
    assert everything
    for secret in (UPSTREAM_KEY, CALLERS_KEY, HEADER):
        assert not [text for text in everything if secret in text]
        assert not [text for answer in answers for text in answer if secret in text]
