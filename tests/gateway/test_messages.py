"""`POST /v1/messages`: Anthropic's own SDK against it, and the bytes it reads."""

from __future__ import annotations

import asyncio
import json

import anthropic
import pytest

from everytoken.gateway import UpstreamConfig
from everytoken.recovery import Policy
from everytoken.testing import Answer, Send, Status, ToolCall
from gateway_serving import HELLO, ManualUpstream, Wire, limit, serving
from messages_play import message_of, unmarked
from messages_streams import STREAMS, encoded, visible

MESSAGES = "/v1/messages"
ASK = {"model": "m", "max_tokens": 4096, "messages": [{"role": "user", "content": "Explain transformers"}]}
STREAMED = {**ASK, "stream": True}
ANSWERS = {
    "text": Answer(),
    "thinking": Answer("Twelve thousand.", reasoning="27 × 453, let me see."),
    "tools": Answer(
        "Let me look.",
        tool_calls=(
            ToolCall("get_weather", '{"city":"Zürich","days":3}', "toolu_1"),
            ToolCall("get_weather", '{"city":"Oslo"}', "toolu_2"),
        ),
    ),
}
CUTS = [
    [],
    [(0, "close", "one")],
    [(0, "clean-end", "middle")],
    [(0, "error-type", "last")],
    [(0, "no-done", "start")],
]


def sdk(url: str, **options) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=url, api_key="sk-caller", max_retries=0, **options)


def check(message: anthropic.types.Message, answer: Answer) -> None:
    """Hold a message to the answer that the upstream was to give."""
    blocks = list(message.content)
    if answer.reasoning:
        thought = blocks.pop(0)
        assert (thought.thinking, bool(thought.signature)) == (answer.reasoning, True)
    assert (blocks[0].type, blocks[0].text) == ("text", answer.text)
    calls = [(block.name, block.input) for block in blocks[1:]]
    assert calls == [(call.name, json.loads(call.arguments)) for call in answer.tool_calls]
    assert message.stop_reason == ("tool_use" if calls else "end_turn")
    assert message.usage.output_tokens > 0


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("faults", CUTS, ids=str)
async def test_the_sdk_reads_the_exact_message(scripted_upstream, name, faults):
    answer = ANSWERS[name]
    for read in (_helper, _raw, _non_streaming):
        upstream = await scripted_upstream(answer, faults=faults)
        quick = Policy(backoff=0.0)
        async with serving(upstream, policy=quick) as gateway, sdk(gateway.url) as client, limit():
            check(await read(client), answer)
        assert upstream.attempts[0].path == MESSAGES
        assert upstream.attempts[0].headers["anthropic-version"]
        assert "seed" not in upstream.attempts[0].json


async def _helper(client):
    async with client.messages.stream(**ASK) as stream:
        text = "".join([part async for part in stream.text_stream])
        message = await stream.get_final_message()
    assert text == "".join(block.text for block in message.content if block.type == "text")
    return message


async def _raw(client):
    records = [event.to_dict() async for event in await client.messages.create(stream=True, **ASK)]
    assert records[-1] == {"type": "message_stop"}
    return anthropic.types.Message.model_validate(message_of(records))


async def _non_streaming(client):
    return await client.messages.create(**ASK)


@pytest.mark.parametrize("faults", CUTS, ids=str)
async def test_the_sdk_without_async(scripted_upstream, faults):
    answer = ANSWERS["tools"]
    upstream = await scripted_upstream(answer, faults=faults)

    def read(url):
        with anthropic.Anthropic(base_url=url, api_key="sk", max_retries=0) as client:
            with client.messages.stream(**ASK) as stream:
                check(stream.get_final_message(), answer)
            with client.messages.create(stream=True, **ASK) as events:
                records = [event.to_dict() for event in events]
            check(anthropic.types.Message.model_validate(message_of(records)), answer)
            check(client.messages.create(**ASK), answer)

    async with serving(upstream, policy=Policy(backoff=0.0)) as gateway:
        await asyncio.to_thread(read, gateway.url)


@pytest.mark.parametrize("name", STREAMS)
async def test_every_kind_of_message_is_passed_on_as_it_came(scripted_upstream, name):
    upstream = await scripted_upstream([Send(data) for data in encoded(STREAMS[name])])
    async with serving(upstream) as gateway:
        answer = await gateway.ask("POST", MESSAGES, STREAMED)
        whole = await gateway.ask("POST", MESSAGES, ASK)
        again = await gateway.ask("GET", f"{answer.headers['location']}/events")
        bare = await gateway.ask("POST", f"{MESSAGES}?ids=none", STREAMED)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert records_of(answer.body) == records_of(again.body) == visible(STREAMS[name])
    assert again.body == answer.body
    assert b"\nid: " in answer.body
    assert b"\nid: " not in bare.body
    assert answer.complete
    assert json.loads(whole.body) == message_of(visible(STREAMS[name]))


def records_of(body: bytes) -> list[dict]:
    records = []
    for block in body.decode().removesuffix("\n\n").split("\n\n"):
        name, data, *_ = block.split("\n")
        records.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {records[-1]['type']}"
    return records


async def test_a_stream_that_stays_cut_ends_in_an_error_event(scripted_upstream):
    upstream = await scripted_upstream(ANSWERS["text"], faults=[("always", "clean-end", "middle")])
    only = Policy(backoff=0.0, strategies=frozenset())
    async with serving(upstream, policy=only) as gateway:
        answer = await gateway.ask("POST", MESSAGES, STREAMED)
        async with sdk(gateway.url) as client:
            with pytest.raises(anthropic.APIStatusError):
                await _helper(client)
            with pytest.raises(anthropic.APIStatusError) as whole:
                await _non_streaming(client)
    *records, last = records_of(answer.body)
    assert last["error"]["type"] == "api_error"
    assert not any(record["type"] in {"message_delta", "message_stop"} for record in records)
    assert whole.value.body["error"]["type"] == "api_error"
    assert whole.value.response.headers["x-should-retry"] == "false"


REFUSED = [
    ("GET", MESSAGES, None, {}, 405, "invalid_request_error"),
    ("POST", MESSAGES, b"{", {}, 400, "invalid_request_error"),
    ("POST", MESSAGES, {}, {}, 400, "invalid_request_error"),
    ("POST", MESSAGES, {**ASK, "max_tokens": "many"}, {}, 400, "invalid_request_error"),
    ("POST", MESSAGES, {**ASK, "model": "unknown"}, {}, 404, "not_found_error"),
    ("POST", MESSAGES, {**ASK, "system": "x" * 5000}, {}, 413, "request_too_large"),
    ("POST", MESSAGES, ASK, {"x-api-key": "wrong"}, 401, "authentication_error"),
    ("POST", MESSAGES, ASK, {"Origin": "https://evil.example"}, 403, "permission_error"),
    ("POST", "/v1/messages/batches", ASK, {}, 404, "not_found_error"),
    ("POST", "/v1/messages/count_tokens", {}, {}, 400, "invalid_request_error"),
]


@pytest.mark.parametrize(("method", "path", "body", "headers", "status", "kind"), REFUSED)
async def test_what_we_refuse_is_told_in_anthropics_form(
    scripted_upstream, method, path, body, headers, status, kind
):
    upstream = await scripted_upstream("Hi")
    one = UpstreamConfig(name="one", url=upstream.base_url, models=["m"])
    async with serving(one, api_keys=["sk-caller-0000"], max_body=4096) as gateway:
        answer = await gateway.ask(method, path, body, {"x-api-key": "sk-caller-0000", **headers})
    told = json.loads(answer.body)
    assert (answer.status, told["type"], told["error"]["type"]) == (status, "error", kind)
    assert told["error"]["message"]
    assert not upstream.attempts


UPSTREAMS = [
    (429, {"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}, "request_id": "r"}, "rate_limit_error"),
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}, "invalid_request_error"),
    (401, {"error": {"message": "no key", "type": "x", "code": None}}, "authentication_error"),
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, "api_error"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "kind"), UPSTREAMS)
async def test_what_an_upstream_refuses_is_told_in_anthropics_form(scripted_upstream, status, body, kind):
    upstream = await scripted_upstream([Status(status, body=json.dumps(body).encode())])
    async with serving(upstream, policy=Policy(backoff=0.0, attempts=1)) as gateway:
        answer = await gateway.ask("POST", MESSAGES, STREAMED)
        async with sdk(gateway.url) as client:
            with pytest.raises(anthropic.APIStatusError):
                await _non_streaming(client)
    told = json.loads(answer.body)
    assert (answer.status, told["type"], told["error"]["type"]) == (
        status if status < 500 else 502,
        "error",
        kind,
    )
    if body.get("type") == "error" and status < 500:
        assert told == body


async def test_keys_and_headers_go_where_they_belong(scripted_upstream):
    upstream = await scripted_upstream("Hi")
    one = UpstreamConfig(name="one", url=upstream.base_url, key="sk-ant-upstream", api="messages")
    two = UpstreamConfig(name="two", url=upstream.base_url, key="sk-two", key_header="x-goog-api-key")
    own = {"x-api-key": "sk-caller-0000", "anthropic-beta": "a,b", "anthropic-version": "2024-01-01"}
    async with serving(one, api_keys=["sk-caller-0000"]) as gateway:
        assert (await gateway.ask("POST", MESSAGES, ASK, own)).status == 200
        assert (await gateway.ask("POST", "/v1/chat/completions", HELLO, own)).status == 200
    async with serving(two) as gateway:
        assert (await gateway.ask("POST", MESSAGES, ASK)).status == 200
        assert (await gateway.ask("POST", "/v1/chat/completions", HELLO)).status == 200
    first, translated, second, third = (attempt.headers for attempt in upstream.attempts)
    assert (first["x-api-key"], first["anthropic-beta"], first["anthropic-version"]) == (
        "sk-ant-upstream",
        "a,b",
        "2024-01-01",
    )
    assert "authorization" not in first
    # The caller of chat completions has no say in Anthropic's headers.
    assert (translated["x-api-key"], translated["anthropic-version"]) == ("sk-ant-upstream", "2023-06-01")
    assert "anthropic-beta" not in translated
    assert (second["x-goog-api-key"], second["anthropic-version"]) == ("sk-two", "2023-06-01")
    assert "anthropic-version" not in third


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({"url": "https://api.anthropic.com/v1"}, "x-api-key"),
        ({"url": "https://api.openai.com/v1"}, ""),
        ({"url": "https://notanthropic.com/v1"}, ""),
        ({"url": "http://x", "api": "messages"}, "x-api-key"),
        ({"url": "http://x", "api": ["messages"]}, "x-api-key"),
        ({"url": "http://x", "api": ["messages", "chat"]}, ""),
        ({"url": "http://x", "api": "messages", "key_header": "Authorization"}, ""),
        ({"url": "http://[x"}, ""),
    ],
    ids=str,
)
def test_which_header_a_key_goes_in(settings, header):
    upstream = UpstreamConfig(**settings)
    assert upstream.header_of_key(upstream.url) == header


async def test_tokens_are_counted_by_the_upstream(scripted_upstream):
    upstream = await scripted_upstream("Hi")
    dead = UpstreamConfig(name="dead", url="http://127.0.0.1:9/v1")
    one = UpstreamConfig(name="one", url=upstream.base_url, models={"m": "theirs"})
    asked = {name: ASK[name] for name in ("model", "messages")}
    async with serving(dead, one) as gateway, sdk(gateway.url) as client:
        counted = await client.messages.count_tokens(**asked)
        answer = await gateway.ask("POST", "/v1/messages/count_tokens", asked)
    assert counted.input_tokens == 4
    assert answer.body == b'{"input_tokens":4}'
    assert upstream.requests[0].json["model"] == "theirs"
    assert upstream.requests[1].headers["anthropic-version"] == "2023-06-01"
    async with serving(dead) as gateway:
        refused = await gateway.ask("POST", "/v1/messages/count_tokens", asked)
        unknown = await gateway.ask("POST", "/v1/messages/count_tokens", {**asked, "model": 1})
    assert (refused.status, json.loads(refused.body)["error"]["type"]) == (502, "api_error")
    assert unknown.status == 400


async def test_the_same_key_attaches_and_another_api_does_not(scripted_upstream):
    upstream = await scripted_upstream("Hi")
    key = {"Idempotency-Key": "k"}
    async with serving(upstream) as gateway:
        first = await gateway.ask("POST", MESSAGES, STREAMED, key)
        again = await gateway.ask("POST", MESSAGES, STREAMED, key)
        other = await gateway.ask("POST", MESSAGES, {**STREAMED, "top_k": 1}, key)
        chat = await gateway.ask("POST", "/v1/chat/completions", STREAMED, key)
    assert (first.body, first.headers["location"]) == (again.body, again.headers["location"])
    assert (other.status, json.loads(other.body)["type"]) == (422, "error")
    assert chat.status == 422
    assert len(upstream.attempts) == 1


async def test_a_reader_that_was_cut_off_resumes_behind_its_last_event():
    upstream = ManualUpstream()
    events = encoded(STREAMS["thinking"])
    async with serving(upstream) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", MESSAGES, STREAMED)
            attempt = await upstream.attempt()
            attempt.accept()
            attempt.sink.on_data(b"".join(events[:6]))
            head = await wire.head()
            got = b""
            while b"id: 0000000000000004" not in got:
                got += await wire.frame() or b""
        attempt.sink.on_data(b"".join(events[6:]))
        rest = await gateway.ask(
            "GET", f"{head.headers['location']}/events", headers={"Last-Event-ID": "0000000000000004"}
        )
    seen = records_of(got[: got.index(b"id: 0000000000000004")] + b"id: 0000000000000004\n\n")
    assert seen + records_of(rest.body) == visible(STREAMS["thinking"])


@pytest.mark.virtual_time
async def test_a_reader_that_waits_is_sent_pings():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", MESSAGES, STREAMED, {"Accept": "text/event-stream"})
        attempt = await upstream.attempt()
        attempt.accept()
        await wire.head()
        greeting = await wire.frame()
        later = await wire.frame()
        attempt.sink.on_data(b"".join(encoded(STREAMS["text"])))
    assert greeting == later == b'event: ping\ndata: {"type": "ping"}\n\n'


async def test_stop_ends_it_with_an_error_event():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", MESSAGES, STREAMED)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.sink.on_data(b"".join(encoded(STREAMS["tool"])[:4]))
        head = await wire.head()
        stopped = await gateway.ask("POST", f"{head.headers['location']}/cancel")
        answer = await wire.rest(head)
    assert stopped.status == 204
    assert answer.complete
    *records, last = records_of(answer.body)
    assert unmarked(records) == visible(STREAMS["tool"])[: len(records)]
    assert (last["type"], last["error"]["code"]) == ("error", "cancelled")
