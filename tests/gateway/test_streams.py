"""Reading a response again, leaving it, and stopping it."""

from __future__ import annotations

import asyncio
import json
import time
from urllib.parse import quote

import pytest

from everytoken.errors import ConnectError
from everytoken.journal.ids import new_stream_id
from everytoken.journal.memory import MemoryJournal
from everytoken.testing import Answer
from gateway_serving import HELLO, ManualUpstream, Wire, serving
from journal_backends import Clock

CHAT = "/v1/chat/completions"
TEXT = Answer().text


async def begin(gateway, wire: Wire, upstream: ManualUpstream, headers=None, body=HELLO):
    """Begin a response; return its attempt, its head and its URL."""
    count = len(upstream.attempts)
    wire.send("POST", CHAT, body, headers)
    attempt = await upstream.attempt(count)
    attempt.accept()
    head = await wire.head()
    return attempt, head, head.headers["location"]


# Reading again


async def test_every_offset_leads_to_the_rest(scripted_upstream):
    async with serving(await scripted_upstream(TEXT)) as gateway:
        first = await gateway.ask("POST", CHAT, HELLO)
        url = first.headers["location"] + "/events"
        events = first.events
        ids = [offset for data, offset in events[:-1]]
        assert ids == [f"{number:016d}" for number in range(1, len(events))]
        assert (await gateway.ask("GET", url)).body == first.body
        for position in range(len(ids)):
            offset = ids[position - 1] if position else "-1"
            by_query = await gateway.ask("GET", f"{url}?offset={offset}")
            by_header = await gateway.ask("GET", f"{url}?offset=now", headers={"Last-Event-ID": offset})
            assert by_query.events == by_header.events == events[position:]
            assert by_query.complete


@pytest.mark.parametrize("offset", ["now", "the last id"])
async def test_what_has_been_read_to_its_end_is_a_204(scripted_upstream, offset):
    async with serving(await scripted_upstream("A few words")) as gateway:
        first = await gateway.ask("POST", CHAT, HELLO)
        last = first.events[-2][1] if offset != "now" else "now"
        answer = await gateway.ask("GET", f"{first.headers['location']}/events?offset={last}")
    assert answer.status == 204
    assert "content-length" not in answer.headers
    assert "content-type" not in answer.headers


@pytest.mark.parametrize(
    "offset",
    [
        "0000000000000099",
        "1",
        "-2",
        "x" * 16,
        "١" * 16,
        "9" * 17,
        "+000000000000001",
        " 00000000000001 ",
        "\0",
        "1e3",
    ],
)
@pytest.mark.parametrize("closed", [False, True], ids=["while it is written", "after its end"])
async def test_what_is_no_offset_of_this_stream_is_an_error_at_once(offset, closed):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        attempt, head, url = await begin(gateway, wire, upstream)
        attempt.send("one")
        if closed:
            attempt.finish()
            await wire.rest(head)
        by_query = await gateway.ask("GET", f"{url}/events?offset={quote(offset)}")
        by_header = await gateway.ask("GET", f"{url}/events", headers={"Last-Event-ID": quote(offset)})
    for answer in (by_query, by_header):
        assert answer.status == 400
        assert answer.error["code"] == "offset-invalid"
        assert answer.error["param"] == "offset"


@pytest.mark.parametrize("path", ["events", "cancel"])
async def test_an_unknown_stream_is_a_404(path):
    async with serving(ManualUpstream()) as gateway:
        answer = await gateway.ask(
            "GET" if path == "events" else "POST", f"/v1/stream/AAAAAAAAAAAAAAAAAAAAAA/{path}"
        )
    assert answer.status == 404
    assert answer.error["code"] == "stream-not-found"


async def test_several_readers_read_the_same_one_as_it_is_written():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as one, Wire.to(gateway.port) as two:
        attempt, head, url = await begin(gateway, one, upstream)
        attempt.send("one ")
        await one.frame()
        two.send("GET", f"{url}/events")
        second = await two.head()
        assert second.headers["stream-next-offset"] == "0" * 16
        assert b"one " in (await two.frame() or b"")
        attempt.send("two")
        frames = await one.frame(), await two.frame()
        assert frames[0] == frames[1]
        attempt.finish()
        first, second = await one.rest(head), await two.rest(second)
    assert first.body == second.body
    assert first.complete


async def test_a_reader_who_has_everything_so_far_gets_a_first_byte_at_once():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as one, Wire.to(gateway.port) as two:
        attempt, head, url = await begin(gateway, one, upstream)
        attempt.send("one ")
        head.frames.append(await one.frame() or b"")
        [(_, offset)] = head.events
        two.send("GET", f"{url}/events", headers={"Last-Event-ID": offset})
        await two.head()
        # A proxy may hold the head back until there is one. Next.js's does: its client would not know that it is back.
        assert await two.frame() == b": keep-alive\n"
        attempt.send("two")
        assert b"two" in (await two.frame() or b"")
        attempt.finish()


async def test_an_interrupted_response_ends_in_the_same_error_for_every_reader(scripted_upstream):
    upstream = await scripted_upstream(TEXT, faults=[("always", "reset", "middle")])
    async with serving(upstream) as gateway:
        first = await gateway.ask("POST", CHAT, {**HELLO, "logprobs": True})
        again = await gateway.ask("GET", first.headers["location"] + "/events")
        error, offset = first.events[-1]
        end = await gateway.ask("GET", f"{first.headers['location']}/events?offset={offset}")
    assert again.body == first.body
    assert json.loads(error)["error"]["code"] == "not-continuable"
    assert "[DONE]" not in first.body.decode()
    assert first.complete
    assert end.status == 204


# Leaving


@pytest.mark.parametrize("moment", ["before the first token", "in the middle"])
async def test_a_reader_that_leaves_does_not_end_the_response(moment):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway:
        async with Wire.to(gateway.port) as wire:
            attempt, _, url = await begin(gateway, wire, upstream)
            if moment == "in the middle":
                attempt.send("one ")
                await wire.frame()
        attempt.send("one " if moment != "in the middle" else "two ", "three")
        attempt.finish()
        await gateway.until_idle()
        answer = await gateway.ask("GET", f"{url}/events")
    assert answer.text == ("one two three" if moment == "in the middle" else "one three")
    assert answer.events[-1][0] == "[DONE]"


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("headers", "grace", "expected"),
    [
        pytest.param({}, 60.0, 60, id="60 seconds by default"),
        pytest.param({}, 5.0, 5, id="the configured grace"),
        pytest.param({}, -1.0, None, id="a negative grace is none"),
        pytest.param({"Everytoken-Disconnect": "7"}, 60.0, 7, id="the seconds of the request"),
        pytest.param({"Everytoken-Disconnect": "0.5"}, 60.0, 0.5, id="a part of a second"),
        pytest.param({"Everytoken-Disconnect": "cancel"}, 60.0, 0, id="cancel is at once"),
        pytest.param({"Everytoken-Disconnect": "continue"}, 0.0, None, id="continue is for ever"),
    ],
)
@pytest.mark.parametrize("moment", ["before the head", "before the first token", "in the middle"])
async def test_how_long_a_response_lives_unread(headers, grace, expected, moment):
    upstream = ManualUpstream()
    loop = asyncio.get_running_loop()
    async with serving(upstream, grace=grace) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", CHAT, HELLO, headers)
            attempt = await upstream.attempt()
            attempt.sink.on_connected()
            if moment != "before the head":
                attempt.accept()
                await wire.head()
            if moment == "in the middle":
                attempt.send("one")
                await wire.frame()
        left = loop.time()
        if expected is None:
            for _ in range(10):
                await asyncio.sleep(25)
                attempt.accept()
                attempt.send("more")
            assert len(gateway.gateway.relays) == 1
            attempt.finish()
            await gateway.until_idle()
            assert not upstream.attempts[1:]
            return
        while not attempt.released.is_set():
            if loop.time() - left > 25:
                attempt.accept()
                attempt.send("more")  # or the upstream would be thought stalled
            await asyncio.sleep(0.25)
        assert loop.time() - left == pytest.approx(expected, abs=0.5)
        assert len(gateway.gateway.relays) == 0


@pytest.mark.virtual_time
async def test_a_reader_that_comes_back_in_time_saves_it():
    upstream = ManualUpstream()
    async with serving(upstream, grace=10.0) as gateway:
        async with Wire.to(gateway.port) as wire:
            attempt, _, url = await begin(gateway, wire, upstream)
        await asyncio.sleep(9)
        async with Wire.to(gateway.port) as wire:
            wire.send("GET", f"{url}/events")
            head = await wire.head()
            await asyncio.sleep(15)
            attempt.send("still here")
            attempt.finish()
            assert (await wire.rest(head)).text == "still here"


@pytest.mark.parametrize(
    "value", ["", "maybe", "-1", "nan", "inf", "1_0", "1e3", "٣", "9" * 20, "continue, cancel"]
)
async def test_a_disconnect_header_that_says_nothing_is_a_400(value):
    async with serving(ManualUpstream()) as gateway:
        answer = await gateway.ask(
            "POST", CHAT, HELLO, {"Everytoken-Disconnect": value.encode().decode("latin-1")}
        )
    assert answer.status == 400
    assert answer.error["param"] == "everytoken-disconnect"


@pytest.mark.parametrize("moment", ["at once", "in the middle"])
async def test_who_leaves_an_answer_in_one_piece_ends_it(moment):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", CHAT, {**HELLO, "stream": False})
            attempt = await upstream.attempt()
            if moment == "in the middle":
                attempt.accept()
                attempt.send("one")
        await attempt.released.wait()
        assert len(gateway.gateway.relays) == 0


# Stopping

PHASES = [
    "connecting",
    "waiting for the head",
    "waiting for content",
    "streaming",
    "backing off",
    "lingering",
]


@pytest.mark.virtual_time
@pytest.mark.parametrize("phase", PHASES)
async def test_stop_closes_the_upstream_at_once_and_tells_every_reader(phase):
    upstream = ManualUpstream()
    loop = asyncio.get_running_loop()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as one, Wire.to(gateway.port) as two:
        one.send("POST", CHAT, HELLO)
        attempt = await upstream.attempt()
        if phase == "waiting for the head":
            attempt.sink.on_connected()
        elif phase not in {"connecting", "backing off"}:
            attempt.accept()
        if phase in {"streaming", "lingering"}:
            attempt.send("one ")
        if phase == "lingering":
            attempt.sink.on_data(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
        if phase == "backing off":
            attempt.sink.on_error(ConnectError("refused"))
        [stream_id] = gateway.gateway.relays._relays
        two.send("GET", f"/v1/stream/{stream_id}/events")
        second = await two.head()
        began = loop.time()
        stopped = await gateway.ask("POST", f"/v1/stream/{stream_id}/cancel")
        answers = [await one.answer(), await two.rest(second)]
        again = await gateway.ask("POST", f"/v1/stream/{stream_id}/cancel")
        assert loop.time() - began < 1
        if phase != "backing off":
            assert attempt.released.is_set()
        assert len(gateway.gateway.relays) == 0
    assert stopped.status == again.status == 204
    for answer in answers:
        if answer.status == 200:
            error = json.loads(answer.events[-1][0])["error"]
        else:
            assert phase in {"connecting", "waiting for the head", "backing off"}
            assert answer.status == 499
            error = answer.error
        assert error["code"] == "cancelled"
        assert b"[DONE]" not in answer.body


async def test_stopping_what_has_ended_changes_nothing(scripted_upstream):
    async with serving(await scripted_upstream("A few words")) as gateway:
        first = await gateway.ask("POST", CHAT, HELLO)
        stopped = await gateway.ask("POST", first.headers["location"] + "/cancel")
        again = await gateway.ask("GET", first.headers["location"] + "/events")
    assert stopped.status == 204
    assert again.body == first.body


async def test_stop_closes_a_real_upstreams_connection(scripted_upstream):
    upstream = await scripted_upstream(TEXT, faults=[("always", "silent", "middle")])
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", CHAT, HELLO)
        head = await wire.head()
        await wire.frame()
        await gateway.ask("POST", head.headers["location"] + "/cancel")
        async with asyncio.timeout(1):
            await upstream.attempts[0].closed.wait()
        answer = await wire.rest(head)
    assert json.loads(answer.events[-1][0])["error"]["code"] == "cancelled"


# Too old


async def aged(gateway, clock, **headers):
    """Have a response end and then removed for its age; return its URL."""
    answer = await gateway.ask("POST", CHAT, HELLO, headers)
    clock.ahead += 101
    gateway.gateway.journal.sweep()
    return answer.headers["location"]


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/events", {}),
        ("GET", "/events?offset=0000000000000001", {}),
        ("GET", "/events", {"Last-Event-ID": "0000000000000001"}),
        ("GET", "", {}),
        ("GET", "?offset=-1&live=sse", {}),
        ("GET", "?offset=0000000000000001&live=long-poll", {}),
        ("HEAD", "", {}),
        ("DELETE", "", {}),
        ("POST", "/cancel", {}),
    ],
)
async def test_a_response_that_is_no_longer_kept_is_a_410_at_once(scripted_upstream, method, path, headers):
    clock = Clock()
    kept_in = MemoryJournal(retention=100, now=clock)
    async with serving(await scripted_upstream(TEXT), kept_in=kept_in) as gateway:
        url = await aged(gateway, clock)
        answer = await gateway.ask(method, url + path, headers=headers)
        unknown = await gateway.ask(method, f"/v1/stream/{new_stream_id(time.time() + 10)}{path}")
    assert (answer.status, unknown.status) == (410, 404)
    if method != "HEAD":
        assert (answer.error["code"], unknown.error["code"]) == ("offset-expired", "stream-not-found")


async def test_another_key_learns_of_no_response_whether_it_is_there_or_has_been_removed(scripted_upstream):
    clock = Clock()
    kept_in = MemoryJournal(retention=100, now=clock)
    keys = {name: {"Authorization": f"Bearer {name}"} for name in ("mine", "other")}
    upstream = await scripted_upstream(TEXT)
    async with serving(upstream, kept_in=kept_in, api_keys=list(keys)) as gateway:
        answer = await gateway.ask("POST", CHAT, HELLO, keys["mine"])
        young = answer.headers["location"]

        async def told(url, key):
            answer = await gateway.ask("GET", f"{url}/events", headers=keys[key])
            return answer.status

        assert (await told(young, "mine"), await told(young, "other")) == (200, 404)
        old = await aged(gateway, clock, **keys["mine"])
        assert await told(old, "mine") == 410
        # What the other one is told of an old name is the same whether there was such a response or not.
        never = f"/v1/stream/r{old[12:20]}{'0' * 32}"
        assert [await told(url, "other") for url in (old, never)] == [410, 410]
        assert await told(f"/v1/stream/{new_stream_id(clock() + 1)}", "other") == 404


async def test_an_idempotency_key_that_outlives_its_response_begins_a_new_one(scripted_upstream):
    clock = Clock()
    kept_in = MemoryJournal(retention=100, now=clock)
    upstream = await scripted_upstream(TEXT)
    key = {"Idempotency-Key": "k"}
    async with serving(upstream, kept_in=kept_in) as gateway:
        first = await gateway.ask("POST", CHAT, HELLO, key)
        await kept_in.delete(first.headers["location"].removeprefix("/v1/stream/"))
        kept_in._removed = clock() + 1
        second = await gateway.ask("POST", CHAT, HELLO, key)
    assert second.text == TEXT
    assert second.headers["location"] != first.headers["location"]


# An offset of another stream


async def test_an_offset_of_another_stream_is_refused_past_the_end_and_otherwise_a_position_here():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as long, Wire.to(gateway.port) as short:
        attempt, head, _ = await begin(gateway, long, upstream)
        attempt.send("one", "two", "three")
        attempt.finish()
        offsets = [offset for _, offset in (await long.rest(head)).events[:-1]]
        assert offsets == [f"{number:016d}" for number in range(1, 5)]
        attempt, _, url = await begin(gateway, short, upstream)
        attempt.send("uno", "dos")
        await short.frame()
        for live in ("/events?", "?", "?live=sse&", "?live=long-poll&"):
            answer = await gateway.ask("GET", f"{url}{live}offset={offsets[3]}")
            assert (answer.status, answer.error["code"]) == (400, "offset-invalid")
        answer = await gateway.ask("GET", f"{url}?offset={offsets[0]}")
        assert [chunk["choices"][0]["delta"]["content"] for chunk in answer.json] == ["dos"]
        attempt.finish()
