"""Small ones: odd parts of a page's messages, far dates, refusals in the log, request ids."""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.journal_backends import shared_redis

from everytoken.errors import ConnectError, InvalidRequestError
from everytoken.formats.ui_messages import openai_messages, rebuild
from everytoken.gateway import refusals
from everytoken.gateway.refusals import Refusals
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.redis import RedisJournal
from everytoken.journal.sqlite import SqliteJournal
from everytoken.recovery import Policy
from gateway_serving import HELLO, ManualUpstream, Wire, limit, serving

if TYPE_CHECKING:
    from pathlib import Path

CHAT = "/v1/chat/completions"
ODD = [{}, [], None, 1, True, "x", [{}], {"a": []}]


@pytest.mark.parametrize("state", [{}, [], None, 1])
async def test_a_tool_part_with_an_odd_state_is_a_400(state):
    parts = [{"type": "tool-x", "toolCallId": "1", "state": state}]
    body = {"id": "c", "messages": [{"id": "1", "role": "assistant", "parts": parts}]}
    async with limit(), serving(ManualUpstream()) as gateway:
        answer = await gateway.ask("POST", "/api/chat", body)
    assert answer.status == 400
    assert answer.error["param"] == "messages[0].parts[0].state"


ANYTHING = st.sampled_from(ODD) | st.text(max_size=5) | st.integers()
NAMES = st.sampled_from(
    [
        "type",
        "state",
        "text",
        "url",
        "mediaType",
        "toolCallId",
        "toolName",
        "input",
        "output",
        "approval",
        "errorText",
        "filename",
    ]
)
KINDS = st.sampled_from(["text", "file", "tool-x", "dynamic-tool", "reasoning", "step-start", "data-x"])
STATES = st.sampled_from(["output-available", "output-error", "output-denied", "input-streaming"])
PART = st.dictionaries(NAMES, ANYTHING, max_size=6).flatmap(
    lambda part: st.tuples(KINDS, STATES).map(
        lambda kind: {**part, "type": kind[0], "state": part.get("state", kind[1])}
    )
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]) | ANYTHING,
        "parts": st.lists(PART | ANYTHING, max_size=4) | ANYTHING,
    }
)


@given(st.lists(MESSAGE | ANYTHING, max_size=3))
def test_odd_messages_of_a_page_are_read_or_refused(messages):
    try:
        openai_messages(messages)
    except InvalidRequestError:
        return
    for message in messages:
        rebuild(message["parts"])


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
@pytest.mark.parametrize(
    "life",
    [
        {"Stream-Expires-At": "9999-12-31T23:59:59Z"},
        {"Stream-Expires-At": "9999-12-31T23:59:59-23:00"},
        {"Stream-TTL": str(2**53 - 1)},
    ],
    ids=["9999", "later still", "a long ttl"],
)
async def test_a_stream_that_lives_very_long_can_be_looked_at(kind, life, tmp_path: Path):
    journal = {
        "memory": MemoryJournal,
        "sqlite": lambda: SqliteJournal(tmp_path / "j.sqlite"),
        "redis": lambda: RedisJournal(shared_redis().url),
    }[kind]()
    async with limit(), serving(ManualUpstream(), kept_in=journal) as gateway:
        made = await gateway.ask("PUT", "/v1/stream/s", b"x", {"Content-Type": "text/plain", **life})
        if made.status == 400:
            assert "23:00" in str(life), "a time that cannot be written is refused"
            return
        assert made.status == 201
        for method in ("HEAD", "GET"):
            assert (await gateway.ask(method, "/v1/stream/s")).status == 200


async def test_every_answer_has_a_request_id(scripted_upstream):
    upstream = await scripted_upstream("Hi")
    async with limit(), serving(upstream, api_keys=["a key of the caller"]) as gateway:
        key = {"Authorization": "Bearer a key of the caller"}
        asked = [
            ("GET", "/healthz", None, {}),
            ("GET", "/", None, {}),
            ("GET", "/v1/nothing", None, key),
            ("GET", "/v1/models", None, {}),
            ("POST", CHAT, HELLO, key),
            ("POST", CHAT, {**HELLO, "stream": False}, key),
            ("POST", "/api/chat", {"prompt": "Hi"}, key),
            ("PUT", "/v1/stream/s", b"x", key),
            ("HEAD", "/v1/stream/s", None, key),
            ("DELETE", "/v1/stream/s", None, key),
        ]
        seen = set()
        for method, path, body, headers in asked:
            answer = await gateway.ask(method, path, body, headers)
            seen.add(answer.headers["x-request-id"])
            given = await gateway.ask(method, path, body, {**headers, "X-Request-Id": "trace-1.2_3"})
            assert given.headers["x-request-id"] == "trace-1.2_3"
            odd = await gateway.ask(method, path, body, {**headers, "X-Request-Id": "a b" + "x" * 200})
            assert re.fullmatch(r"req_[0-9a-f]{24}", odd.headers["x-request-id"])
        assert len(seen) == len(asked)


MINE = {"X-Request-Id": "mine-7"}


async def _completed(gateway, attempt):
    asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO, MINE))
    (await attempt(0)).accept()
    (await attempt(0)).send("Hi")
    (await attempt(0)).finish()
    await asking


async def _second_attempt(gateway, attempt):
    asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO, MINE))
    (await attempt(0)).sink.on_error(ConnectError("no"))
    (await attempt(1)).accept()
    (await attempt(1)).finish()
    await asking


async def _stopped(gateway, attempt):
    async with Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, HELLO, MINE)
        (await attempt(0)).accept()
        answer = await wire.head()
        await gateway.ask("POST", answer.headers["location"].removesuffix("/events") + "/cancel")


async def _left(gateway, attempt):
    async with Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, HELLO, MINE)
        (await attempt(0)).accept()
        await wire.head()


async def _taken_over(gateway, attempt):
    (await attempt(1)).accept()
    (await attempt(1)).finish()
    await gateway.until_idle()


@pytest.mark.parametrize(
    ("lives", "words"),
    [
        ([_completed], ["completed"]),
        ([_second_attempt], ["attempt 1", "completed"]),
        ([_stopped], ["cancelled"]),
        ([_left, _taken_over], ["taken over", "completed"]),
    ],
)
async def test_every_log_line_of_a_response_has_the_request_id(lives, words, caplog, tmp_path):
    upstream = ManualUpstream()
    caplog.set_level(logging.INFO, "everytoken")
    for life in lives:
        journal = SqliteJournal(tmp_path / "journal.db")
        async with limit(), serving(upstream, kept_in=journal, policy=Policy(backoff=0.0)) as gateway:
            await life(gateway, upstream.attempt)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("everytoken.relay")]
    for word in words:
        assert any(word in line for line in lines), (word, lines)
    assert all("mine-7" in line for line in lines), lines


async def test_a_refusal_is_one_line_with_the_peer_and_at_most_one_a_second(caplog, monkeypatch):
    now = 100.0
    with caplog.at_level(logging.WARNING):
        async with limit(), serving(ManualUpstream(), api_keys=["a key of the caller"]) as gateway:
            gateway.gateway.refusals = Refusals(lambda: now)
            for _ in range(5):
                assert (await gateway.ask("GET", "/v1/models")).status == 401
            assert (await gateway.ask("GET", "/v1/nothing\x1b[31m%0aforged")).status in {400, 404}
            now += refusals._EVERY
            await gateway.ask("GET", "/v1/models")
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("refused")]
    assert len([line for line in lines if "401" in line]) == 2
    assert "127.0.0.1" in lines[0]
    assert "4 more" in lines[-1]
    assert all(line.isprintable() for line in lines)
