"""The scripted upstream, its faults and virtual time."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from everytoken.testing import Answer


@pytest.mark.virtual_time
async def test_a_stall_is_over_at_once_in_virtual_time(scripted_upstream):
    upstream = await scripted_upstream(Answer(), faults=[(0, "silent", "middle")])
    reader, writer = await asyncio.open_connection(upstream.host, upstream.port)
    body = b'{"stream":true,"messages":[{"role":"user","content":"hi"}]}'
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    got = b""
    started = asyncio.get_running_loop().time()
    with contextlib.suppress(TimeoutError):
        while True:
            got += await asyncio.wait_for(reader.read(65536), 30)
    assert asyncio.get_running_loop().time() - started == pytest.approx(30, abs=0.1)
    assert got.count(b"data: ") == 1 + len(upstream.answer.tokens) // 2
    writer.close()
    await writer.wait_closed()
    await upstream.requests[0].closed.wait()
