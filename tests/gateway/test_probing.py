"""`/v1/probe`: paced, bounded, with a key, and honest about how a request has arrived."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest

from gateway_serving import ManualUpstream, Wire, limit, over, served, serving

KEY = "sk-caller-0123456789"
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}


def told(answer):
    return [json.loads(data) for data, _ in answer.events]


@pytest.mark.virtual_time
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_events_come_at_their_pace_with_ids_and_the_times_of_their_sending(method):
    async with limit(), serving(ManualUpstream()) as gateway:
        body = {"padding": "x" * 100} if method == "POST" else None
        headers = {"Content-Type": "application/json", "Last-Event-ID": "7", **AUTHORIZED}
        async with Wire.to(gateway.port) as wire:
            wire.send(method, "/v1/probe?events=3&interval_ms=200&idle_s=4&size=10", body, headers)
            head = await wire.head()
            loop = asyncio.get_running_loop()
            arrived = []
            while (frame := await wire.frame()) is not None:
                head.frames.append(frame)
                arrived.append(loop.time())
        assert [round(b - a, 1) for a, b in itertools.pairwise(arrived)] == [0.2, 0.2, 0.2, 4.0]
        assert [number for _, number in head.events] == ["0", "1", "2", "3", "4"]
        first, *rest = told(head)
        assert [event["n"] for event in rest] == [1, 2, 3, 4]
        assert [event.get("padding") for event in rest] == ["x" * 10] * 3 + [None]
        assert rest[-1]["end"] is True
        assert (first["http_version"], first["method"]) == ("1.1", method)
        assert first["headers"]["last-event-id"] == "7"
        assert first["present"] == ["authorization"]
        assert first["body"] == (0 if body is None else len(json.dumps(body)))
        assert KEY not in json.dumps(first)
        for name, value in first["sent"].items():
            assert head.headers[name] == value
        assert {"location", "stream-next-offset", "x-request-id", "x-accel-buffering"} <= set(first["sent"])


async def test_without_hints_nothing_asks_intermediaries_to_let_it_through():
    async with limit(), serving(ManualUpstream()) as gateway:
        answer = await gateway.ask("GET", "/v1/probe?events=0&hints=no")
        assert answer.status == 200
        assert not {"x-accel-buffering", "cache-control", "incremental"} & set(answer.headers)


@pytest.mark.parametrize(
    "query",
    [
        "events=101",
        "events=-1",
        "events=x",
        "interval_ms=5001",
        "idle_s=901",
        "idle_s=nan",
        "idle_s=1e3",
        "size=16385",
        "size=",
        "hints=maybe",
    ],
)
async def test_what_is_asked_of_it_has_bounds(query):
    async with limit(), serving(ManualUpstream()) as gateway:
        answer = await gateway.ask("GET", f"/v1/probe?{query}")
        assert (answer.status, answer.error["param"]) == (400, query.partition("=")[0])


async def test_it_needs_a_key_like_other_routes():
    async with limit(), serving(ManualUpstream(), api_keys=[KEY]) as gateway:
        for path in ("/v1/probe", "/v1/probe/x"):
            assert (await gateway.ask("GET", path)).status == 401
        assert (await gateway.ask("GET", "/v1/probe?events=0", headers=AUTHORIZED)).status == 200


async def test_whether_a_client_has_left_can_be_asked():
    async with limit(), serving(ManualUpstream()) as gateway:
        ended = await gateway.ask("GET", "/v1/probe?events=0")
        assert (await gateway.ask("GET", ended.headers["location"])).json["state"] == "ended"
        async with Wire.to(gateway.port) as wire:
            wire.send("GET", "/v1/probe?events=0&idle_s=600")
            location = (await wire.head()).headers["location"]
            assert (await gateway.ask("GET", location)).json["state"] == "running"
        while (state := (await gateway.ask("GET", location)).json["state"]) == "running":
            pass
        assert state == "left"
        assert (await gateway.ask("GET", "/v1/probe/another")).status == 404


async def test_under_another_server_leaving_is_noticed_too():
    async with limit(), over(ManualUpstream()) as gateway, served(gateway, http="httptools") as port:
        async with Wire.to(port) as wire:
            wire.send("GET", "/v1/probe?events=0&idle_s=600")
            location = (await wire.head()).headers["location"]
        state = "running"
        while state == "running":
            async with Wire.to(port) as wire:
                wire.send("GET", location)
                state = (await wire.answer()).json["state"]
        assert state == "left"


async def test_too_many_at_once_are_refused(monkeypatch):
    monkeypatch.setattr("everytoken.gateway.probes._AT_ONCE", 1)
    async with limit(), serving(ManualUpstream()) as gateway, Wire.to(gateway.port) as wire:
        wire.send("GET", "/v1/probe?events=0&idle_s=600")
        await wire.head()
        assert (await gateway.ask("GET", "/v1/probe")).status == 503
        wire.writer.transport.abort()
        while (await gateway.ask("GET", "/v1/probe?events=0")).status == 503:
            pass


async def test_only_the_last_probes_are_remembered(monkeypatch):
    monkeypatch.setattr("everytoken.gateway.probes._KEPT", 2)
    async with limit(), serving(ManualUpstream()) as gateway:
        made = [(await gateway.ask("GET", "/v1/probe?events=0")).headers["location"] for _ in range(3)]
        assert [(await gateway.ask("GET", location)).status for location in made] == [404, 200, 200]
