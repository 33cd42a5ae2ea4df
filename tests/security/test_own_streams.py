"""Streams that callers make: never a page of ours, never under a name of ours, never more than they may have."""

from __future__ import annotations

import random

import pytest

from gateway_serving import HELLO, ManualUpstream, limit, serving

ACTIVE = [
    "text/html",
    "image/svg+xml",
    "application/xhtml+xml",
    "text/xml",
    "application/pdf",
    "text/javascript",
]
PASSIVE = [
    "text/plain",
    "application/json",
    "application/octet-stream",
    "image/png",
    "text/plain; charset=utf-8",
]


@pytest.mark.parametrize("media", ACTIVE + PASSIVE)
async def test_nothing_that_is_stored_runs_in_our_origin(media):
    async with limit(), serving(ManualUpstream()) as gateway:
        await gateway.ask("PUT", "/v1/stream/s", b'"<script>"', {"Content-Type": media})
        for method, query in [
            ("GET", ""),
            ("HEAD", ""),
            ("GET", "?offset=-1&live=long-poll"),
            ("GET", "?offset=now"),
        ]:
            answer = await gateway.ask(method, f"/v1/stream/s{query}")
            assert answer.status == 200
            assert answer.headers["content-type"] == media
            assert answer.headers["content-security-policy"] == "sandbox"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers.get("content-disposition") == ("attachment" if media in ACTIVE else None)
        await gateway.ask("POST", "/v1/stream/s", None, {"Stream-Closed": "true"})
        events = await gateway.ask("GET", "/v1/stream/s?offset=-1&live=sse")
        assert events.headers["content-security-policy"] == "sandbox"
        assert events.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    ["idempotency-" + "0" * 32, "idempotency-x", "r" + "0" * 40, "r" + "0123456789abcdef" * 2 + "01234567"],
)
async def test_the_names_of_ours_can_be_made_by_nobody(name):
    async with limit(), serving(ManualUpstream()) as gateway:
        answer = await gateway.ask("PUT", f"/v1/stream/{name}", b"x", {"Content-Type": "text/plain"})
        assert answer.status == 400
        assert "reserved" in answer.error["message"]
        assert (await gateway.ask("GET", f"/v1/stream/{name}")).status in {404, 410}


BYTES = {"Content-Type": "application/octet-stream"}


async def test_what_callers_store_is_bounded(monkeypatch):
    monkeypatch.setattr("everytoken.journal.rules.MAX_PRODUCERS", 2)
    quota = {"max_stream": 10_000, "max_key_bytes": 25_000, "max_key_streams": 3, "max_journal": 40_000}
    async with limit(), serving(ManualUpstream(), **quota) as gateway:

        async def refused(*request) -> str:
            answer = await gateway.ask(*request)
            assert answer.error["code"] in answer.body.decode()
            return f"{answer.status} {answer.error['code']}"

        full = ("POST", "/v1/stream/a", random.randbytes(9_000), BYTES)
        assert (await gateway.ask("PUT", "/v1/stream/a", random.randbytes(9_000), BYTES)).status == 201
        assert await refused(*full) == "413 stream-full"
        assert await refused("PUT", "/v1/stream/b", random.randbytes(11_000), BYTES) == "413 stream-full"
        assert (await gateway.ask("PUT", "/v1/stream/b", random.randbytes(9_000), BYTES)).status == 201
        assert await refused("PUT", "/v1/stream/c", random.randbytes(9_000), BYTES) == "429 quota-exceeded"
        assert (await gateway.ask("PUT", "/v1/stream/c", b"1", BYTES)).status == 201
        assert await refused("PUT", "/v1/stream/d", b"1", BYTES) == "429 quota-exceeded"
        for name in ("p", "q"):
            mark = {"Producer-Id": name, "Producer-Epoch": "0", "Producer-Seq": "0"}
            assert (await gateway.ask("POST", "/v1/stream/c", b"1", BYTES | mark)).status == 200
        assert (
            await refused("POST", "/v1/stream/c", b"1", BYTES | mark | {"Producer-Id": "r"})
            == "413 stream-full"
        )
        assert (await gateway.ask("DELETE", "/v1/stream/a")).status == 204
        assert (await gateway.ask("PUT", "/v1/stream/d", random.randbytes(9_000), BYTES)).status == 201


async def test_what_is_open_cannot_take_more_than_the_journal_may():
    upstream = ManualUpstream()
    async with limit(), serving(upstream, max_journal=10_000) as gateway:
        assert (await gateway.ask("PUT", "/v1/stream/a", random.randbytes(12_000), BYTES)).status == 201
        for request in (
            ("PUT", "/v1/stream/b", b"1", BYTES),
            ("POST", "/v1/stream/a", b"1", BYTES),
            ("POST", "/v1/chat/completions", HELLO),
        ):
            answer = await gateway.ask(*request)
            assert (answer.status, answer.error["code"]) == (507, "journal-full")
        assert not upstream.attempts, "nothing is paid for what cannot be kept"
        health = await gateway.ask("GET", "/readyz")
        assert (health.status, "journal is full" in health.json["reasons"][0]) == (503, True)
        assert (await gateway.ask("DELETE", "/v1/stream/a")).status == 204
        assert (await gateway.ask("PUT", "/v1/stream/b", b"1", BYTES)).status == 201
        assert (await gateway.ask("GET", "/readyz")).status == 200
