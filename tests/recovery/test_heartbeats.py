"""Heartbeats that are events: an upstream that sends them is asked once, and nobody sees them."""

from __future__ import annotations

import json

import pytest

from gateway_serving import FINISH, HELLO, ManualUpstream, Wire, event, serving

BEATS = [
    b"data:\n\n", b"data: ping\n\n", b"data: null\n\n", b"data: [PING]\n\n", b"event: ping\ndata: 2026-11-27T19:08\n\n",
    b"event: keepalive\n\n", b"event: keepalive\ndata:\n\n", b"data: {}\n\n", b'data: {"type":"ping"}\n\n',
    b"event: ping\ndata: still at it\n\n",
]  # fmt: skip


async def answered(body, *parts):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", body)
        attempt = await upstream.attempt()
        attempt.accept()
        for part in parts:
            attempt.sink.on_data(part)
        answer = await wire.answer()
        return answer, len(upstream.attempts)


@pytest.mark.parametrize("beat", BEATS, ids=repr)
async def test_heartbeats_are_passed_over(beat):
    parts = [
        beat,
        event("One "),
        beat,
        event("two"),
        beat,
        FINISH[: FINISH.index(b"data: [DONE]")],
        beat,
        FINISH,
    ]
    streamed, asked = await answered(HELLO, *parts)
    assert (streamed.text, streamed.complete, asked) == ("One two", True, 1)
    chunks = [json.loads(data) for data, _ in streamed.events[:-1]]
    assert all(chunk["choices"] for chunk in chunks)
    whole, asked = await answered({**HELLO, "stream": False}, *parts)
    assert (whole.json["choices"][0]["message"]["content"], asked) == ("One two", 1)
