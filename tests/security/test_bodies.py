"""Numbers and nesting are bounded where bytes enter; an upstream's odd ones stay that response's own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.journal_backends import shared_redis

from everytoken.gateway import UpstreamConfig
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.redis import RedisJournal
from everytoken.journal.sqlite import SqliteJournal
from everytoken.json.bounds import (
    MAX_DEPTH,
)
from everytoken.recovery import Policy
from everytoken.testing import Status
from gateway_serving import HELLO, ManualUpstream, event, limit, serving

if TYPE_CHECKING:
    from pathlib import Path

JOURNALS = ["memory", "sqlite", "sqlite with fsync", "redis"]


def unopened(backend: str, path: Path) -> Any:
    """Return a journal that the gateway starts and stops."""
    if backend == "memory":
        return MemoryJournal()
    if backend == "redis":
        return RedisJournal(shared_redis().url)
    durability = "power" if "fsync" in backend else "process"
    return SqliteJournal(path / "journal.sqlite", durability=durability)


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def body(**fields: str) -> bytes:
    """Return a chat request with some fields as they are written."""
    told = "".join(f', "{name}": {value}' for name, value in fields.items())
    return (
        f'{{"model": "m", "stream": true, "messages": [{{"role": "user", "content": "Hi"}}]{told}}}'.encode()
    )


BAD = {
    "an integer beyond 64 bits": (body(max_tokens="1180591620717411303424"), "max_tokens"),
    "one in an object": (body(metadata='{"a": [18446744073709551616]}'), "metadata.a[0]"),
    "a negative one": (body(seed="-9223372036854775809"), "seed"),
    "one of thousands of digits": (body(seed="9" * 4000), "seed"),
    "one of more digits than Python reads": (body(metadata='{"a": ' + "9" * 10_000 + "}"), "metadata.a"),
    "nesting near the recursion limit": (body(metadata=nested(981)), "metadata"),
    "nesting just beyond ours": (body(metadata=nested(MAX_DEPTH + 1)), "metadata"),
    "nesting far beyond": (body(metadata=nested(100_000)), "metadata"),
    "nested objects": (body(metadata='{"a":' * 2000 + "1" + "}" * 2000), "metadata.a.a.a"),
    "a float without an end": (body(temperature="1e999"), "temperature"),
    "a content that is a number": (
        b'{"messages": [{"role": "user", "content": [{"type": "text", "n": 99999999999999999999}]}]}',
        "messages[0].content[0].n",
    ),
    "a name of many letters": (body(metadata='{"' + "k" * 10_000 + '": 1e999}'), "metadata." + "k" * 64),
    "millions of values": (body(metadata="[" + "[]," * 2_000_000 + "0]"), None),
}
ROUTES = ["/v1/chat/completions", "/api/chat"]


@pytest.mark.parametrize("backend", JOURNALS)
@pytest.mark.parametrize("route", ROUTES)
async def test_a_request_that_cannot_be_stored_is_a_400_and_hinders_nobody(backend, route, tmp_path):
    journal = unopened(backend, tmp_path)
    upstream = ManualUpstream()
    async with limit(), serving(upstream, kept_in=journal) as gateway:
        for name, (data, path) in BAD.items():
            answer = await gateway.ask("POST", route, data, {"Content-Type": "application/json"})
            assert answer.status == 400, name
            assert answer.error["code"] == "invalid-request", name
            if path is not None:
                assert answer.error["param"] == path, name
        assert not upstream.attempts


@pytest.mark.parametrize("backend", JOURNALS)
@pytest.mark.parametrize(
    "usage",
    [
        '{"prompt_tokens": 99999999999999999999, "completion_tokens": 1}',
        '{"total_tokens": 1e400}',
        '{"completion_tokens": -99999999999999999999999999}',
        f'{{"odd": {nested(90)}}}',
        '{"prompt_tokens": ' + "9" * 4000 + "}",
    ],
    ids=["64 bits", "no number", "negative", "nested", "4000 digits"],
)
async def test_an_upstreams_odd_usage_is_that_responses_own(backend, usage, tmp_path):
    journal = unopened(backend, tmp_path)
    upstream = ManualUpstream()
    async with limit(), serving(upstream, kept_in=journal) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", "/v1/chat/completions", HELLO))
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("Hello")
        attempt.sink.on_data(event(finish="stop"))
        attempt.sink.on_data(f'data: {{"choices": [], "usage": {usage}}}\n\ndata: [DONE]\n\n'.encode())
        answer = await asking
        assert answer.complete
        assert answer.text == "Hello"
        # The next one is stored and answered.
        asking = asyncio.ensure_future(gateway.ask("POST", "/v1/chat/completions", HELLO))
        attempt = await upstream.attempt(1)
        attempt.accept()
        attempt.send("again")
        attempt.finish()
        assert (await asking).text == "again"


@pytest.mark.parametrize("backend", JOURNALS)
async def test_messages_of_a_stream_are_kept_as_they_came_or_refused(backend, tmp_path):
    kind = {"Content-Type": "application/json"}
    odd = [
        b"99999999999999999999999999",
        b"1e400",
        b"-0",
        b'{"n": ' + b"9" * 10_000 + b"}",
        b'{"a": ' + nested(900).encode() + b"}",
        b'"\\ud83d"',
    ]
    async with limit(), serving(kept_in=unopened(backend, tmp_path)) as gateway:
        assert (await gateway.ask("PUT", "/v1/stream/odd", b"", kind)).status == 201
        kept = []
        for message in odd:
            answer = await gateway.ask("POST", "/v1/stream/odd", message, kind)
            assert answer.status in {204, 400}, message[:40]
            kept += [message] if answer.status == 204 else []
        assert len(kept) >= 5, kept
        for message in (nested(100_000).encode(), b"[" + b"0," * 2_000_000 + b"0]"):
            assert (await gateway.ask("POST", "/v1/stream/odd", message, kind)).status == 400
        assert (await gateway.ask("GET", "/v1/stream/odd")).body == b"[%b]" % b",".join(kept)


DEEP = {
    "a field of the chunk": (
        '{"x": %s, "choices": [{"index": 0, "delta": {"content": "Hi"}}]}',
        "malformed-event",
    ),
    "a field of a choice": (
        '{"choices": [{"index": 0, "x": %s, "delta": {"content": "Hi"}}]}',
        "malformed-event",
    ),
    "a field of a delta": (
        '{"choices": [{"index": 0, "delta": {"content": "Hi", "x": %s}}]}',
        "malformed-event",
    ),
    "an object that grows": ('{"choices": [{"index": 0, "delta": {"audio": %s}}]}', "malformed-event"),
    "content": ('{"choices": [{"index": 0, "delta": {"content": %s}}]}', "malformed-event"),
    "logprobs": ('{"choices": [{"index": 0, "logprobs": {"content": %s}, "delta": {}}]}', "malformed-event"),
    "usage": ('{"choices": [], "usage": {"x": %s}}', "malformed-event"),
    "an error": ('{"error": {"message": %s}}', "malformed-event"),
}
UI = {"messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "Hi"}]}]}
ASKED = {
    "streamed": ("/v1/chat/completions", {**HELLO, "stream_options": {"include_usage": True}}),
    "whole": ("/v1/chat/completions", {**HELLO, "stream": False}),
    "plain": ("/api/chat", {"prompt": "Hi"}),
    "AI SDK": ("/api/chat", UI),
}


@pytest.mark.parametrize("depth", [300, 450, 900, 985, 5_000])
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED.keys())
async def test_what_an_upstream_nests_deep_is_that_responses_error(depth, asked, caplog):
    upstream = ManualUpstream()
    path, request = asked
    async with limit(), serving(upstream, policy=Policy(attempts=1)) as gateway:
        for number, (name, (chunk, code)) in enumerate(DEEP.items()):
            asking = asyncio.ensure_future(gateway.ask("POST", path, request))
            attempt = await upstream.attempt(number)
            attempt.accept()
            attempt.sink.on_data(f"data: {chunk % nested(depth)}\n\n".encode())
            assert attempt.released.is_set(), name
            answer = await asking
            assert answer.status in {200, 502}, name
            if request.get("stream") is False:
                assert answer.error["code"] == code, name
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("depth", [300, 900, 985, 5_000])
async def test_what_a_whole_answer_or_an_error_nests_deep_is_no_bug_of_ours(depth, scripted_upstream, caplog):
    answers = [
        Status(
            200,
            body=b'{"choices": [{"message": {"content": "x", "y": %s}, "finish_reason": "stop"}]}'
            % nested(depth).encode(),
        ),
        Status(400, body=b'{"error": {"message": "no", "x": %s}}' % nested(depth).encode()),
    ]
    for status in answers:
        upstream = await scripted_upstream([status])
        async with limit(), serving(upstream, policy=Policy(attempts=1)) as gateway:
            for path, request in ASKED.values():
                assert (await gateway.ask("POST", path, request)).status in {400, 502}
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_list_of_models_is_bounded_too():
    data = b'{"data": [{"id": "m", "x": %s}]}' % nested(900).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + data)
        while await reader.read(65_536):
            pass
        writer.close()
        await writer.wait_closed()
        done.set()

    async with limit(), await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with serving(UpstreamConfig(name="it", url=f"http://127.0.0.1:{port}")) as gateway:
            answer = await gateway.ask("GET", "/v1/models")
            assert answer.status == 502
            assert "nested" in answer.error["message"]
        await done.wait()
