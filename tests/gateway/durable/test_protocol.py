"""The Durable Streams protocol where its own exam does not look: errors, ends, limits, and what a response is in it."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

import pytest

from durable_play import END, JSON, TEXT, created, streams
from everytoken.errors import JournalUnavailableError
from everytoken.gateway.durable import reads
from everytoken.gateway.follow import KEEP_ALIVE
from gateway_serving import Wire

# what is asked, its body and headers; the status, the code, and a header of the answer
FAULTS = [
    ("GET", "/none", None, {}, 404, "stream-not-found", None),
    ("DELETE", "/none", None, {}, 404, "stream-not-found", None),
    ("POST", "/none", b"x", TEXT, 404, "stream-not-found", None),
    ("PUT", "/.", None, TEXT, 400, "invalid-request", None),
    ("PUT", "/" + "x" * 129, None, TEXT, 400, "invalid-request", None),
    ("PUT", "/a%20b", None, TEXT, 400, "invalid-request", None),
    ("PUT", "/a/b", None, TEXT, 404, "route-not-found", None),
    (
        "PATCH",
        "/s",
        None,
        TEXT,
        405,
        "method-not-allowed",
        ("allow", "GET, HEAD, PUT, POST, DELETE, OPTIONS"),
    ),
    ("GET", "/s/cancel", None, {}, 405, "method-not-allowed", ("allow", "POST")),
    ("GET", "/s/events", None, {}, 404, "stream-not-found", None),
    ("POST", "/s/cancel", None, {}, 404, "stream-not-found", None),
    ("PUT", "/s", None, JSON, 409, "stream-exists", None),
    ("PUT", "/s", None, TEXT | {"Stream-TTL": "5"}, 409, "stream-exists", None),
    ("PUT", "/new", None, {"Content-Type": "text"}, 400, "invalid-request", None),
    ("PUT", "/new", None, TEXT | {"Stream-TTL": "9" * 16}, 400, "invalid-request", None),
    ("PUT", "/new", None, TEXT | {"Stream-Expires-At": "2026-13-01T00:00:00Z"}, 400, "invalid-request", None),
    ("PUT", "/new", None, TEXT | {"Stream-Expires-At": "tomorrow"}, 400, "invalid-request", None),
    ("PUT", "/new", b"{", JSON, 400, "invalid-request", None),
    ("POST", "/s", b"x", JSON, 409, "content-type-mismatch", None),
    ("POST", "/s", b"x", {}, 400, "invalid-request", None),
    ("POST", "/s", b"", TEXT, 400, "invalid-request", None),
    ("POST", "/s", b"x" * 65, TEXT, 413, "request-too-large", None),
    ("POST", "/s", b"x", TEXT | {"Stream-Seq": "1"}, 409, "sequence-conflict", None),
    ("POST", "/s", b"x", TEXT | {"Stream-Seq": ""}, 400, "invalid-request", None),
    ("POST", "/s", b"x", TEXT | {"Producer-Id": "p"}, 400, "invalid-request", None),
    (
        *("POST", "/s", b"x", TEXT | {"Producer-Id": "p", "Producer-Epoch": "1", "Producer-Seq": "9"}),
        *(409, "producer-gap", ("producer-expected-seq", "1")),
    ),
    (
        *("POST", "/s", b"x", TEXT | {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "0"}),
        *(403, "producer-stale", ("producer-epoch", "1")),
    ),
    ("POST", "/closed", b"x", JSON, 409, "stream-closed", ("stream-next-offset", END)),
    ("POST", "/closed", b"x", TEXT, 409, "stream-closed", ("stream-closed", "true")),
    ("GET", "/s?live=sse", None, {}, 400, "invalid-request", None),
    ("GET", "/s?live=push&offset=-1", None, {}, 400, "invalid-request", None),
    ("GET", "/s?offset=-1&offset=-1", None, {}, 400, "invalid-request", None),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code", "header"),
    FAULTS,
    ids=[f"{row[0]} {row[1][:20]} {number}" for number, row in enumerate(FAULTS)],
)
async def test_every_fault_has_its_status_and_code(method, path, body, headers, status, code, header):
    async with streams(max_body=64) as gateway:
        producer = {"Producer-Id": "p", "Producer-Epoch": "1", "Producer-Seq": "0", "Stream-Seq": "2"}
        await created(gateway)
        await gateway.ask("POST", "/v1/stream/s", b"x", TEXT | producer)
        await created(gateway, "closed", TEXT | {"Stream-Closed": "true"})
        answer = await gateway.ask(method, f"/v1/stream{path}", body, headers)
        assert (answer.status, answer.error["code"]) == (status, code)
        assert answer.headers["x-content-type-options"] == "nosniff"
        if header is not None:
            assert answer.headers[header[0]] == header[1]
        assert (await gateway.ask("HEAD", "/v1/stream/new")).status == 404


OFFSETS = [
    "",
    "0",
    "1",
    "00000000000000001",
    f"{2:016d}",
    "-2",
    "NOW",
    "１" * 16,
    "0000000000000 01",
    "x" * 16,
]


@pytest.mark.parametrize("live", ["", "&live=long-poll", "&live=sse"])
@pytest.mark.parametrize("offset", OFFSETS)
async def test_an_offset_that_is_none_is_an_error_at_once(offset, live):
    async with streams() as gateway:
        await created(gateway)
        answer = await gateway.ask("GET", f"/v1/stream/s?offset={quote(offset)}{live}")
        assert (answer.status, answer.error["code"]) == (400, "offset-invalid")


async def test_catch_up_comes_in_pieces_with_common_borders_and_a_length():
    async with streams() as gateway:
        await created(gateway, headers=JSON, body=json.dumps(list(range(600))).encode())
        got, offset, borders = [], f"{100:016d}", []
        while True:
            answer = await gateway.ask("GET", f"/v1/stream/s?offset={offset}")
            assert int(answer.headers["content-length"]) == len(answer.body)
            got += answer.json
            offset = answer.headers["stream-next-offset"]
            borders.append(int(offset))
            if "stream-up-to-date" in answer.headers:
                break
        assert got == list(range(100, 600))
        assert borders == [256, 512, 600]


async def test_a_piece_is_bounded_in_bytes_and_holds_one_record_at_least(monkeypatch):
    monkeypatch.setattr(reads, "_BYTES", 10)
    async with streams() as gateway:
        await created(gateway, body=b"a" * 30, more=[b"b" * 6, b"c" * 6, b"d"])
        sizes, offset = [], "-1"
        while sum(sizes) < 43:
            answer = await gateway.ask("GET", f"/v1/stream/s?offset={offset}")
            sizes.append(len(answer.body))
            offset = answer.headers["stream-next-offset"]
        assert sizes == [30, 12, 1]


async def test_a_data_event_and_its_control_event_are_one_write():
    async with streams() as gateway:
        await created(gateway, headers=JSON, body=b"[1,2]")
        async with Wire.to(gateway.port) as wire:
            wire.send("GET", "/v1/stream/s?offset=-1&live=sse")
            assert (await wire.head()).headers["content-type"] == "text/event-stream"
            first = await wire.frame()
            await gateway.ask("POST", "/v1/stream/s", b"3", JSON)
            second = await wire.frame()
            await gateway.ask("POST", "/v1/stream/s", b"4", JSON | {"Stream-Closed": "true"})
            third = await wire.frame()
            assert await wire.frame() is None
        for frame, data, offset in [(first, b"[1,2]", 2), (second, b"[3]", 3), (third, b"[4]", 4)]:
            assert frame.startswith(
                b"event: data\ndata:%b\nid: %016d\n\nevent: control\ndata:{" % (data, offset)
            )
            assert frame.count(b"\n\n") == 2
        assert b'"upToDate":true' in first
        assert b'"streamClosed":true' in third


async def test_last_event_id_overrides_the_offset_and_204_ends_it():
    async with streams() as gateway:
        await created(gateway, headers=JSON | {"Stream-Closed": "true"}, body=b"[1,2]")
        path = "/v1/stream/s?offset=-1&live=sse"
        rest = await gateway.ask("GET", path, headers={"Last-Event-ID": f"{1:016d}"})
        assert rest.body.startswith(b"event: data\ndata:[2]\n")
        assert rest.complete
        over = await gateway.ask("GET", path, headers={"Last-Event-ID": f"{2:016d}"})
        assert (over.status, over.headers["stream-closed"]) == (204, "true")
        wrong = await gateway.ask("GET", path, headers={"Last-Event-ID": f"{3:016d}"})
        assert wrong.error["code"] == "offset-invalid"


async def test_an_empty_stream_that_closes_lets_an_event_source_stop():
    async with streams() as gateway:
        await created(gateway, headers=TEXT | {"Stream-Closed": "true"}, body=b"")
        answer = await gateway.ask("GET", "/v1/stream/s?offset=-1&live=sse")
        [(_, last_id)] = answer.events
        again = await gateway.ask(
            "GET", "/v1/stream/s?offset=-1&live=sse", headers={"Last-Event-ID": last_id}
        )
        assert again.status == 204


async def test_a_character_cut_between_two_appends_arrives_whole():
    async with streams() as gateway:
        await created(gateway, body="1 €".encode()[:3])
        async with Wire.to(gateway.port) as wire:
            wire.send("GET", "/v1/stream/s?offset=-1&live=sse")
            await wire.head()
            assert b"event: data" not in (first := await wire.frame())
            assert b"upToDate" not in first
            await gateway.ask("POST", "/v1/stream/s", "1 €".encode()[3:], TEXT)
            assert (await wire.frame()).startswith("event: data\ndata:1 €\n".encode())


async def test_what_closes_inside_a_character_is_sent_as_it_is():
    async with streams() as gateway:
        await created(gateway, headers=TEXT | {"Stream-Closed": "true"}, body=b"1\xe2\x82")
        answer = await gateway.ask("GET", "/v1/stream/s?offset=-1&live=sse")
        assert answer.body.startswith(b"event: data\ndata:1\xe2\x82\n")


@pytest.mark.virtual_time
async def test_a_silent_stream_shows_signs_of_life():
    async with streams() as gateway:
        await created(gateway)
        async with Wire.to(gateway.port) as wire:
            wire.send("GET", "/v1/stream/s?offset=now&live=sse")
            await wire.head()
            assert b"upToDate" in await wire.frame()
            since = asyncio.get_running_loop().time()
            assert [await wire.frame() for _ in range(3)] == [b": keep-alive\n"] * 3
            assert asyncio.get_running_loop().time() - since == pytest.approx(3 * KEEP_ALIVE, abs=0.1)


@pytest.mark.virtual_time
async def test_a_connection_is_not_rotated_while_a_response_may_last():
    async with streams() as gateway:
        await created(gateway)
        async with Wire.to(gateway.port) as wire:
            wire.send("GET", "/v1/stream/s?offset=now&live=sse")
            await wire.head()
            await wire.frame()
            for _ in range(int(1800 / KEEP_ALIVE)):
                assert await wire.frame() == b": keep-alive\n"


@pytest.mark.virtual_time
async def test_a_long_poll_ends_empty_in_time():
    async with streams(long_poll=7) as gateway:
        await created(gateway)
        since = asyncio.get_running_loop().time()
        answer = await gateway.ask("GET", "/v1/stream/s?offset=now&live=long-poll")
        assert asyncio.get_running_loop().time() - since == pytest.approx(7, abs=0.1)
        assert (answer.status, answer.headers["stream-next-offset"]) == (204, END)
        assert int(answer.headers["stream-cursor"]) > 0


async def polling(wire):
    wire.send("GET", "/v1/stream/s?offset=now&live=long-poll")
    await wire.writer.drain()


async def test_a_long_poll_is_woken_by_an_append_by_closing_and_by_deleting():
    async with streams(long_poll=60) as gateway:
        await created(gateway)
        follow_ups = [
            ("POST", b"two", TEXT, 200, b"two"),
            ("POST", None, {"Stream-Closed": "true"}, 204, b""),
        ]
        for method, body, headers, status, expected in follow_ups:
            async with Wire.to(gateway.port) as wire:
                await polling(wire)
                await gateway.ask(method, "/v1/stream/s", body, headers)
                answer = await wire.answer()
                assert (answer.status, answer.body) == (status, expected)
        assert answer.headers["stream-closed"] == "true"
        assert "stream-cursor" not in answer.headers


async def test_deleting_a_stream_tells_who_waits_and_breaks_off_who_follows():
    async with streams(long_poll=60) as gateway:
        await created(gateway)
        async with Wire.to(gateway.port) as waiting, Wire.to(gateway.port) as following:
            following.send("GET", "/v1/stream/s?offset=-1&live=sse")
            answer = await following.head()
            await following.frame()
            await polling(waiting)
            await gateway.ask("HEAD", "/v1/stream/s")
            assert (await gateway.ask("DELETE", "/v1/stream/s")).status == 204
            assert (await waiting.answer()).error["code"] == "stream-not-found"
            assert not (await following.rest(answer)).complete


async def test_a_read_that_fails_is_broken_off(monkeypatch):
    async with streams() as gateway:
        await created(gateway)
        log = await gateway.gateway.journal.open("s")

        def fail(*_):
            raise JournalUnavailableError("the disk is gone")

        async with Wire.to(gateway.port) as wire:
            wire.send("GET", "/v1/stream/s?offset=-1&live=sse")
            answer = await wire.head()
            await wire.frame()
            monkeypatch.setattr(type(log), "take", fail)
            await gateway.ask("POST", "/v1/stream/s", b"two", TEXT)
            assert not (await wire.rest(answer)).complete
        answer = await gateway.ask("GET", "/v1/stream/s")
        assert (answer.status, answer.error["code"]) == (503, "journal-unavailable")
