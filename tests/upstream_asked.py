"""One attempt at a scripted upstream."""

from __future__ import annotations

from contextlib import asynccontextmanager

from everytoken.testing import ScriptedUpstream
from everytoken.upstream.http import HttpUpstream
from upstream_sink import Sink


@asynccontextmanager
async def connected_to(script, **options):
    async with ScriptedUpstream(script) as scripted:
        upstream = HttpUpstream("up", scripted.base_url, **options)
        try:
            yield scripted, upstream
        finally:
            await upstream.stop()


async def ask(script, **options):
    """Return what one attempt at a scripted upstream reports."""
    async with connected_to(script, **options) as (_, upstream):
        sink = Sink()
        exchange = upstream.connect({"messages": []}, sink, streamed=True)
        await sink.end()
        exchange.release(reusable=False)
        return sink
