"""`?ids=none`: events without `id:` lines, for loops that take every line that is not empty for data."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everytoken.formats.openai import encode, encode_without_ids
from everytoken.recovery import Policy
from gateway_serving import HELLO, serving

CHAT = "/v1/chat/completions"


def benchmark(data: bytes) -> str:
    """Read as vLLM's, SGLang's and llmperf's benchmarks do: every line that is not empty is `data: ` and JSON."""
    text = ""
    for line in filter(None, (line.strip() for line in data.split(b"\n"))):
        chunk = line[len(b"data: ") :]
        if chunk != b"[DONE]":
            text += json.loads(chunk)["choices"][0]["delta"].get("content") or ""
    return text


async def test_such_a_loop_reads_the_text(scripted_upstream):
    upstream = await scripted_upstream("Good day to you")
    async with serving(upstream) as gateway:
        answer = await gateway.ask("POST", f"{CHAT}?ids=none", HELLO)
        again = await gateway.ask("GET", f"{answer.headers['location']}/events?ids=none")
        plain = await gateway.ask("GET", f"{answer.headers['location']}/events")
    assert benchmark(answer.body) == "Good day to you"
    assert again.body.removeprefix(b": keep-alive\n") == answer.body
    lines = [line for line in plain.body.split(b"\n") if not line.startswith(b"id: ")]
    assert b"\n".join(lines).removeprefix(b": keep-alive\n") == answer.body, "the rest of the wire stays"


async def test_an_error_has_none_either(scripted_upstream):
    upstream = await scripted_upstream("Good day", faults=[("always", "close", "middle")])
    async with serving(upstream, policy=Policy(backoff=0.0)) as gateway:
        answer = await gateway.ask("POST", f"{CHAT}?ids=none", HELLO)
    *_, last = [line for line in answer.body.split(b"\n") if line]
    assert "error" in json.loads(last.removeprefix(b"data: "))
    assert b"\nid:" not in answer.body


@pytest.mark.parametrize(
    ("setting", "query", "has"),
    [(True, "", True), (False, "", False), (False, "?ids=offset", True), (True, "?ids=none", False)],
)
async def test_the_query_overrides_the_setting(setting, query, has, scripted_upstream):
    async with serving(await scripted_upstream("Hi"), ids=setting) as gateway:
        answer = await gateway.ask("POST", CHAT + query, HELLO)
    assert (b"\nid: " in answer.body) is has
    assert answer.text == "Hi"


async def test_another_value_is_refused_before_anything_is_asked(scripted_upstream):
    upstream = await scripted_upstream("Hi")
    async with serving(upstream) as gateway:
        answer = await gateway.ask("POST", f"{CHAT}?ids=some", HELLO)
    assert (answer.status, answer.error["param"]) == (400, "ids")
    assert not upstream.attempts


@given(st.lists(st.binary(min_size=1)))
def test_without_ids_the_events_are_the_same_without_those_lines(records):
    lines = encode(records, 0).split(b"\n") if records else [b""]
    kept = [line for line in lines if not line.startswith(b"id: ")]
    assert encode_without_ids(records, 0) == b"\n".join(kept)
