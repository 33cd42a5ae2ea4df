"""`/v1/responses`: the official SDK against it, over an upstream moved by hand, cut where it hurts."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest

from everytoken.errors import TruncatedError
from everytoken.recovery import Policy
from gateway_serving import ManualUpstream, Wire, limit, serving
from journal_backends import shared_redis, until
from responses_streams import STREAMS, read_by_sdk, text, wire

POLICY = Policy(backoff=0.0, backoff_max=0.0)
ASK = {"model": "m", "input": "Hello"}


def sdk(gateway, key="sk-caller"):
    return openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0)


def sent(name, tag="a"):
    return b"".join(wire(STREAMS[name](tag)))


async def give(upstream, data, number=0):
    """Have an attempt send bytes; return it."""
    attempt = await upstream.attempt(number)
    attempt.accept()
    attempt.sink.on_data(data)
    return attempt


async def answered(upstream, name="text", tag="a", number=0):
    return await give(upstream, sent(name, tag), number)


def cut(attempt):
    attempt.sink.on_error(TruncatedError("cut"))


def shown(events):
    return [event.to_dict() for event in events]


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_through_the_sdk(name):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, sdk(gateway) as client, limit():
        asking = asyncio.create_task(client.responses.create(**ASK, stream=True))
        await answered(upstream, name)
        events = [event async for event in await asking]
    kinds = [event["type"] for event in STREAMS[name]("a")]
    assert [event.type for event in events] == kinds
    assert [event.sequence_number for event in events] == list(range(len(kinds)))
    assert upstream.attempts[0].body["stream"] is True


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_that_is_cut_is_one_stream_to_the_sdks_helper(name):
    first = STREAMS[name]("a")
    behind = next(n for n, event in enumerate(first) if event["type"] == "response.output_item.done") + 1
    upstream = ManualUpstream()
    async with serving(upstream, policy=POLICY) as gateway, sdk(gateway) as client, limit():
        asking = asyncio.create_task(_helped(client))
        cut(await give(upstream, b"".join(wire(first)[:behind])))
        await answered(upstream, name, "b", 1)
        final, kinds = await asking
    assert kinds == [event["type"] for event in first]
    if name != "incomplete":
        assert final.output_text == read_by_sdk(first).output_text
        assert len(final.output) == len(first[-1]["response"]["output"])


async def _helped(client):
    async with client.responses.stream(**ASK) as stream:
        kinds = [event.type async for event in stream]
        return (await stream.get_final_response() if "response.completed" in kinds else None), kinds


async def test_not_streamed_is_the_same_response_and_can_be_asked_for():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, sdk(gateway) as client, limit():
        asking = asyncio.create_task(client.responses.create(**ASK))
        await answered(upstream, "encrypted")
        response = await asking
        again = await client.responses.retrieve(response.id)
        assert again.to_dict() == response.to_dict()
        events = [event async for event in await client.responses.retrieve(response.id, stream=True)]
    assert response.status == "completed"
    assert response.output_text == "So: yes."
    assert response.output[0].encrypted_content == "secret-a"
    assert response.usage.output_tokens_details.reasoning_tokens == 3
    assert {event.response.id for event in events if hasattr(event, "response")} == {response.id}


async def test_the_wire_has_names_data_and_offsets():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, limit(), Wire.to(gateway.port) as wire_:
        wire_.send("POST", "/v1/responses", {**ASK, "stream": True})
        await answered(upstream)
        answer = await wire_.answer()
        stream = answer.headers["location"].rpartition("/")[2]
        replay = await gateway.ask("GET", answer.headers["location"] + "/events")
        named = await gateway.ask("GET", answer.headers["location"] + "/events?format=responses&ids=none")
        plain = await gateway.ask("GET", f"/v1/responses/resp_{stream}?stream=true&ids=none")
    assert answer.complete
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = answer.body.decode().split("\n\n")[:-1]
    for number, (block, event) in enumerate(zip(blocks, text("a"), strict=True)):
        name, data, offset = block.split("\n")
        assert name == f"event: {event['type']}"
        assert json.loads(data.removeprefix("data: "))["sequence_number"] == number
        assert offset == f"id: {number + 1:016d}"
    assert replay.body == answer.body
    assert named.body == plain.body
    assert b"\nid: " not in plain.body
    assert json.loads(blocks[0].split("\n")[1][6:])["response"]["id"] == f"resp_{stream}"


@pytest.mark.parametrize("backend", ["memory", "sqlite", "redis"])
async def test_starting_after_any_number_gives_the_rest(tmp_path, backend):
    url = {
        "memory": "",
        "sqlite": f"sqlite:///{tmp_path}/j.sqlite",
        "redis": backend == "redis" and shared_redis().url,
    }[backend]
    upstream = ManualUpstream()
    async with serving(upstream, journal=url) as gateway, limit():
        path = await _made(gateway, upstream, "function_call")
        whole = (await gateway.ask("GET", f"{path}?stream=true")).body
        blocks = whole.split(b"\n\n")[:-1]
        assert len(blocks) == len(STREAMS["function_call"]("a"))
        for number in range(-1, len(blocks)):
            rest = await gateway.ask("GET", f"{path}?stream=true&starting_after={number}")
            assert (rest.status, rest.complete) == (200, True)
            assert rest.body == b"".join(block + b"\n\n" for block in blocks[number + 1 :])
        for bad in (len(blocks), "x", "-2", "1e3", ""):
            refused = await gateway.ask("GET", f"{path}?stream=true&starting_after={bad}")
            assert (refused.status, refused.error["param"]) == (400, "starting_after")


async def _made(gateway, upstream, name, **fields):
    """Return the path of a response that has been made."""
    asking = asyncio.create_task(gateway.ask("POST", "/v1/responses", {**ASK, **fields}))
    number = len(upstream.attempts)
    await answered(upstream, name, number=number)
    answer = await asking
    assert answer.status == 200, answer.body
    return f"/v1/responses/{answer.json['id']}"


async def test_the_sdk_resumes_a_stream_by_its_number():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, sdk(gateway) as client, limit():
        asking = asyncio.create_task(client.responses.create(**ASK, stream=True, background=True))
        attempt = await give(upstream, b"".join(wire(text("a"))[:6]))
        stream = await asking
        seen = [await anext(stream) for _ in range(6)]
        await stream.close()
        resuming = asyncio.create_task(_resumed(client, seen[0].response.id, seen[-1].sequence_number))
        attempt.sink.on_data(b"".join(wire(text("a"))[6:]))
        rest = await resuming
    assert [event.sequence_number for event in rest] == list(range(6, len(text("a"))))
    assert rest[-1].response.output_text == read_by_sdk(text("a")).output_text


async def _resumed(client, response_id, number):
    async with client.responses.stream(response_id=response_id, starting_after=number) as stream:
        return [event async for event in stream]


async def test_in_the_background_it_goes_on_without_a_reader():
    upstream = ManualUpstream()
    async with serving(upstream, grace=0.0, max_grace=0.001) as gateway, sdk(gateway) as client, limit():
        response = await client.responses.create(**ASK, background=True)
        assert (response.status, response.background, response.output) == ("queued", True, [])
        attempt = await upstream.attempt()
        assert "background" not in attempt.body
        attempt.accept()
        attempt.sink.on_data(b"".join(wire(text("a"))[:5]))
        await until(lambda: gateway.gateway.relays.get(response.id[5:]).log.tail == 5)
        now = await client.responses.retrieve(response.id)
        assert (now.status, now.output_text) == ("in_progress", "One ")
        attempt.sink.on_data(b"".join(wire(text("a"))[5:]))
        await gateway.until_idle()
        now = await client.responses.retrieve(response.id)
        assert (now.status, now.background, now.output_text) == (
            "completed",
            True,
            read_by_sdk(text("a")).output_text,
        )


async def test_cancel_stops_it_at_the_upstream():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, sdk(gateway) as client, limit():
        response = await client.responses.create(**ASK, background=True)
        attempt = await give(upstream, b"".join(wire(text("a"))[:5]))
        await until(lambda: gateway.gateway.relays.get(response.id[5:]).log.tail == 5)
        stopped = await client.responses.cancel(response.id)
        assert attempt.released.is_set()
        assert (stopped.status, stopped.error, stopped.output_text) == ("cancelled", None, "One ")
        assert (await client.responses.cancel(response.id)).to_dict() == stopped.to_dict()
        assert (await client.responses.retrieve(response.id)).status == "cancelled"
        with pytest.raises(openai.APIError, match="stopped"):
            _ = [event async for event in await client.responses.retrieve(response.id, stream=True)]


async def test_deleted_is_gone():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, sdk(gateway) as client, limit():
        path = await _made(gateway, upstream, "text")
        response_id = path.rpartition("/")[2]
        await client.responses.delete(response_id)
        for ask in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                await ask(response_id)
        running = await client.responses.create(**ASK, background=True)
        attempt = await upstream.attempt(1)
        deleted = await gateway.ask("DELETE", f"/v1/responses/{running.id}")
        assert deleted.json == {"id": running.id, "object": "response", "deleted": True}
        assert attempt.released.is_set()


async def test_what_is_not_to_be_stored_cannot_be_asked_for():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, sdk(gateway) as client, limit():
        asking = asyncio.create_task(client.responses.create(**ASK, store=False))
        await answered(upstream)
        response = await asking
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(response.id)
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(**ASK, previous_response_id=response.id)
        assert refused.value.code == "previous_response_not_found"
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(**ASK, store=False, background=True)
        assert refused.value.param == "store"


async def test_a_response_belongs_to_the_key_that_made_it():
    upstream = ManualUpstream()
    keys = ["sk-caller", "sk-other"]
    async with (
        serving(upstream, api_keys=keys) as gateway,
        sdk(gateway) as client,
        sdk(gateway, "sk-other") as other,
        sdk(gateway, "x") as stranger,
        limit(),
    ):
        asking = asyncio.create_task(client.responses.create(**ASK))
        await answered(upstream)
        response = await asking
        for ask in (other.responses.retrieve, other.responses.delete, other.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                await ask(response.id)
        with pytest.raises(openai.NotFoundError):
            await other.responses.input_items.list(response.id)
        with pytest.raises(openai.BadRequestError, match="not found"):
            await other.responses.create(**ASK, previous_response_id=response.id)
        with pytest.raises(openai.AuthenticationError):
            await stranger.responses.retrieve(response.id)
        assert (await client.responses.retrieve(response.id)).id == response.id
    assert len(upstream.attempts) == 1


@pytest.mark.parametrize(
    "response_id", ["resp_1", "resp_r" + "0" * 40, "x", "resp_idempotency-1", "..", "%2e%2e"]
)
async def test_what_was_never_made_is_not_found(response_id):
    async with serving(ManualUpstream()) as gateway, limit():
        for method, below in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
            answer = await gateway.ask(method, f"/v1/responses/{response_id}{below}")
            assert answer.status == 404, answer.body


async def test_a_chat_completion_is_no_response():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, limit(), Wire.to(gateway.port) as wire_:
        messages = [{"role": "user", "content": "Hello"}]
        wire_.send("POST", "/v1/chat/completions", {"model": "m", "messages": messages, "stream": True})
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("Hi")
        attempt.finish()
        stream = (await wire_.answer()).headers["location"].rpartition("/")[2]
        assert (await gateway.ask("GET", f"/v1/responses/resp_{stream}")).status == 404


async def test_a_conversation_goes_on_from_the_journal():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, sdk(gateway) as client, limit():
        first = (await _made(gateway, upstream, "function_call")).rpartition("/")[2]
        result = {"type": "function_call_output", "call_id": "call_aweather", "output": "rain"}
        asking = asyncio.create_task(
            client.responses.create(model="m", input=[result], previous_response_id=first)
        )
        attempt = await answered(upstream, "text", number=1)
        second = await asking
        assert second.previous_response_id == first
        assert "previous_response_id" not in attempt.body
        assert attempt.body["input"] == [
            {"type": "message", "role": "user", "content": "Hello"},
            *STREAMS["function_call"]("a")[-1]["response"]["output"],
            result,
        ]
        items = [item async for item in client.responses.input_items.list(second.id, order="asc")]
        assert [item.type for item in items] == [
            "message",
            "message",
            "function_call",
            "function_call_output",
        ]
        assert items[0].content[0].text == "Hello"
        page = await client.responses.input_items.list(second.id, limit=3)
        assert [item.id for item in page.data] == [item.id for item in items[:0:-1]]
        assert page.has_more
        more = await client.responses.input_items.list(second.id, limit=3, after=page.last_id)
        assert [item.id for item in more.data] == [items[0].id]

        asking = asyncio.create_task(
            client.responses.create(model="m", input="And now?", previous_response_id=second.id)
        )
        third = await answered(upstream, "text", number=2)
        await asking
        assert [item["type"] for item in third.body["input"]] == [
            *("message", "message", "function_call", "function_call_output", "message", "message"),
        ]


async def test_what_has_not_ended_well_is_not_continued():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, sdk(gateway) as client, limit():
        response = await client.responses.create(**ASK, background=True)
        await upstream.attempt()
        with pytest.raises(openai.BadRequestError, match="in progress"):
            await client.responses.create(**ASK, previous_response_id=response.id)
        await client.responses.cancel(response.id)
        with pytest.raises(openai.BadRequestError, match="did not complete"):
            await client.responses.create(**ASK, previous_response_id=response.id)


@pytest.mark.parametrize("stream", [True, False])
async def test_what_stays_cut_is_an_error_and_no_end(stream):
    upstream = ManualUpstream()
    once = Policy(attempts=1)
    async with serving(upstream, policy=once) as gateway, sdk(gateway) as client, limit():
        asking = asyncio.create_task(client.responses.create(**ASK, stream=stream))
        attempt = await give(upstream, b"".join(wire(text("a"))[:6]))
        if stream:
            events = await asking
            got = [await anext(events) for _ in range(6)]
            cut(attempt)
            with pytest.raises(openai.APIError, match="cut"):
                await anext(events)
            now = await client.responses.retrieve(got[0].response.id)
            assert (now.status, now.error.message, now.output_text) == ("failed", "cut", "One two\u2028")
            answer = await gateway.ask("GET", f"/v1/responses/{now.id}?stream=true&starting_after=5")
            (event,) = [
                json.loads(line[6:]) for line in answer.body.decode().split("\n") if line.startswith("data")
            ]
            assert (event["type"], event["sequence_number"]) == ("error", 6)
        else:
            cut(attempt)
            with pytest.raises(openai.InternalServerError, match="cut"):
                await asking


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m"}, "input"),
        ({"model": "m", "input": 7}, "input"),
        ({"model": "m", "input": ["x"]}, "input[0]"),
        ({"model": 7, "input": "x"}, "model"),
        ({**ASK, "stream": "yes"}, "stream"),
        ({**ASK, "background": 1}, "background"),
        ({**ASK, "store": 1}, "store"),
        ({**ASK, "previous_response_id": 7}, "previous_response_id"),
        ({**ASK, "previous_response_id": "resp_x"}, "previous_response_id"),
    ],
)
async def test_a_request_that_cannot_be_read_names_its_field(body, param):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, limit():
        answer = await gateway.ask("POST", "/v1/responses", body)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert upstream.attempts == []


async def test_what_is_ours_in_a_request_is_not_the_callers_to_set():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, limit():
        asked = {**ASK, "everytoken": {"id": "resp_forged", "background": True}, "unknown": {"x": 1}}
        asking = asyncio.create_task(gateway.ask("POST", "/v1/responses", asked))
        attempt = await answered(upstream)
        answer = await asking
    assert answer.json["id"] != "resp_forged"
    assert "everytoken" not in attempt.body
    assert attempt.body["unknown"] == {"x": 1}


async def test_the_same_key_attaches_to_the_same_response():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, limit():
        key = {"Idempotency-Key": "k"}
        asking = asyncio.create_task(gateway.ask("POST", "/v1/responses", ASK, key))
        await answered(upstream)
        first = await asking
        again = await gateway.ask("POST", "/v1/responses", ASK, key)
        other = await gateway.ask("POST", "/v1/responses", {**ASK, "input": "Bye"}, key)
    assert (again.json, other.status) == (first.json, 422)
    assert len(upstream.attempts) == 1


@pytest.mark.parametrize("path", ["/responses", "/v1/responses/", "//v1//responses", "/openai/v1/responses"])
async def test_the_path_may_be_written_otherwise(path):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, limit():
        asking = asyncio.create_task(gateway.ask("POST", path, ASK))
        await answered(upstream)
        answer = await asking
        assert answer.status == 200
        below = await gateway.ask("GET", f"{path.rstrip('/')}/{answer.json['id']}/input_items")
    assert below.json["data"][0]["content"] == [{"type": "input_text", "text": "Hello"}]


async def test_a_method_that_there_is_not_says_which_there_are():
    async with serving(ManualUpstream()) as gateway, limit():
        for method, path in (
            ("GET", "/v1/responses"),
            ("POST", "/v1/responses/x"),
            ("GET", "/v1/responses/x/cancel"),
        ):
            answer = await gateway.ask(method, path)
            assert answer.status == 405
            assert answer.headers["allow"]
        assert (await gateway.ask("GET", "/v1/responses/x/else")).status == 404
