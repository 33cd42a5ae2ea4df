"""Durable Streams of a gateway, made by its callers."""

from __future__ import annotations

from contextlib import asynccontextmanager

from gateway_serving import ManualUpstream, serving

JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
END = f"{1:016d}"


@asynccontextmanager
async def streams(**settings):
    async with serving(ManualUpstream(), **settings) as gateway:
        yield gateway


async def created(gateway, name="s", headers=TEXT, body=b"one", more=()):
    answer = await gateway.ask("PUT", f"/v1/stream/{name}", body, headers)
    assert answer.status == 201
    for record in more:
        assert (await gateway.ask("POST", f"/v1/stream/{name}", record, headers)).status == 204
