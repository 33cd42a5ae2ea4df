"""What runs, as events: whole at first, then what has changed, while somebody reads."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager

import msgspec
import pytest

from everytoken.dialects.openai_chat import ChatRequest
from everytoken.gateway.console import live
from everytoken.recovery import Policy
from gateway_serving import HELLO, ManualUpstream, Wire, limit, serving

ADMIN = "sk-admin-0123456789"
BEARER = {"Authorization": f"Bearer {ADMIN}"}
CHAT = "/v1/chat/completions"
MANY = 5000


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(live, "_PAUSE", 0.01)
    monkeypatch.setattr(live, "_FRESH", 0.0)


@asynccontextmanager
async def watched(**settings):
    upstream = ManualUpstream()
    async with limit(), serving(upstream, admin_keys=[ADMIN], **settings) as gateway:
        yield gateway, upstream


@asynccontextmanager
async def reading(gateway, **headers):
    async with Wire.to(gateway.port) as wire:
        wire.send("GET", "/admin/live", headers={**BEARER, **headers})
        head = await wire.head()
        assert head.status == 200
        yield Reader(wire, head.headers)


class Reader:
    def __init__(self, wire, headers):
        self.wire, self.headers, self.id = wire, headers, None

    async def event(self):
        frame = await self.wire.frame()
        if frame is None:
            return None
        first, data, *_ = frame.decode().split("\n")
        self.id = int(first.removeprefix("id: "))
        return json.loads(data.removeprefix("data: "))

    async def until(self, wanted):
        while not wanted(event := await self.event()):
            pass
        return event


async def test_the_first_event_is_whole_and_the_others_are_what_has_changed():
    async with (
        watched() as (gateway, upstream),
        Wire.to(gateway.port) as first,
        Wire.to(gateway.port) as second,
    ):
        first.send("POST", CHAT, HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("Hello")
        await first.head()
        async with reading(gateway) as reader:
            whole = await reader.event()
            assert (whole["type"], whole["running"], whole["waiting"], whole["rate"]) == (
                "snapshot",
                1,
                0,
                None,
            )
            (one,) = whole["responses"]
            assert (one["model"], one["upstream"], one["attempts"], one["records"]) == ("m", "manual", 1, 1)
            assert whole["in_flight"] == {"manual": 1}
            attempt.send(" you")
            event = await reader.until(lambda event: event["changed"])
            assert event["changed"] == [{"response": one["response"], "records": 2}]
            assert event["rate"] > 0
            second.send("POST", CHAT, HELLO)
            event = await reader.until(lambda event: event["begun"])
            assert event["running"] == 2
            attempt.finish()
            event = await reader.until(lambda event: event["gone"])
            assert event["gone"] == [one["response"]]


async def test_who_comes_back_gets_a_whole_event_and_later_numbers():
    async with watched() as (gateway, _):
        async with reading(gateway) as reader:
            for _ in range(3):
                await reader.event()
            last = reader.id
        async with reading(gateway, **{"Last-Event-ID": str(last)}) as reader:
            assert (await reader.event())["type"] == "snapshot"
            assert reader.id == last + 1
        async with reading(gateway, **{"Last-Event-ID": "nonsense"}) as reader:
            assert (await reader.event())["type"] == "snapshot"


async def test_it_is_a_stream_that_nobody_holds_up():
    async with watched() as (gateway, _), reading(gateway) as reader:
        assert reader.headers["content-type"].startswith("text/event-stream")
        assert "no-transform" in reader.headers["cache-control"]
        assert reader.headers["x-accel-buffering"] == "no"


async def test_it_needs_an_admin_key_for_as_long_as_it_is_read():
    async with watched(api_keys=["sk-0123456789abcdef"]) as (gateway, _):
        for headers in ({}, {"Authorization": "Bearer sk-0123456789abcdef"}):
            assert (await gateway.ask("GET", "/admin/live", headers=headers)).status == 401
        assert (await gateway.ask("POST", "/admin/live", headers=BEARER)).status == 405
        key, secret = await gateway.gateway.keys.create({"name": "boss", "admin": True})
        async with reading(gateway, Authorization=f"Bearer {secret}") as reader:
            await reader.event()
            await gateway.gateway.keys.revoke(key.id)
            while await reader.event() is not None:
                pass


async def test_it_ends_when_the_gateway_stops():
    async with watched() as (gateway, _), reading(gateway) as reader:
        await reader.event()
        draining = asyncio.ensure_future(gateway.gateway.relays.drain(0))
        while await reader.event() is not None:
            pass
        await draining


async def test_of_many_the_newest_are_told_of_and_the_number_of_all(monkeypatch):
    monkeypatch.setattr(live, "SHOWN", 2)
    async with watched() as (gateway, upstream):
        wires = []
        for number in range(4):
            wire = Wire(*await asyncio.open_connection("127.0.0.1", gateway.port))
            wires.append(wire)
            wire.send("POST", CHAT, {**HELLO, "model": f"m{number}"})
            await upstream.attempt(number)
        async with reading(gateway) as reader:
            event = await reader.event()
        assert event["running"] == 4
        assert [one["model"] for one in event["responses"]] == ["m3", "m2"]
        for wire in wires:
            wire.writer.transport.abort()


async def test_five_thousand_are_looked_at_in_short_turns(monkeypatch):
    calls = [0]  # in each turn of the loop: unlike its time they are the same beside any other work
    sleep = asyncio.sleep

    def count(_frame, what, _argument):
        calls[-1] += what == "call"

    async def noted(seconds):
        calls.append(0)
        await sleep(seconds)

    # To begin so many takes a while, and those that nobody has answered by then are not what is counted.
    patient = Policy(connect=3600.0)
    async with serving(ManualUpstream(), admin_keys=[ADMIN], policy=patient) as gateway:
        relays = gateway.gateway.relays
        for _ in range(MANY):
            await relays.begin(ChatRequest(HELLO), grace=None)
        monkeypatch.setattr(asyncio, "sleep", noted)
        before = sys.getprofile()
        sys.setprofile(count)
        try:
            seen = await gateway.gateway.console.live.look()
        finally:
            sys.setprofile(before)
        monkeypatch.undo()
        await relays.drain(0)
    assert (seen.numbers["running"], len(seen.responses)) == (MANY, live.SHOWN)
    assert len(msgspec.json.encode(seen.whole())) < 64 * 1024
    assert len(calls) > MANY / live._TURN
    first, *rest, last = calls
    assert first <= MANY + 10 * live._TURN  # it finds them all, which is one call each
    assert max(rest) <= 10 * live._TURN
    assert last <= 20 * live.SHOWN  # those that are shown


async def test_readers_share_what_was_seen_a_moment_ago(monkeypatch):
    monkeypatch.setattr(live, "_FRESH", 1000.0)
    async with watched() as (gateway, _):
        console = gateway.gateway.console
        assert await console.live.look() is await console.live.look()
