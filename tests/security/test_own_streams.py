"""What a stream serves is never a page of ours."""

from __future__ import annotations

import pytest

from gateway_serving import ManualUpstream, limit, serving

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
