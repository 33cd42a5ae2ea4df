"""`/api/chat` for the AI SDK: the bytes, resuming and stopping by the chat's id. The SDK itself: aisdk/test_aisdk.py."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from everytoken.gateway.chats import MAX_ID
from everytoken.recovery import Policy
from everytoken.testing import Answer, Status, ToolCall
from gateway_serving import ManualUpstream, Wire, limit, over, served, serving
from ui_chats import begun, body, chunks, text_of, until, until_left

KEYS = {"api_keys": ["one", "two"]}


def types(found):
    return [chunk["type"] for chunk in found]


def by(key):
    return {"Authorization": f"Bearer {key}"}


async def test_an_answer_streams_as_the_ai_sdk_reads_it(scripted_upstream):
    upstream = await scripted_upstream("Streams are rivers. 流式 👍🏽")
    async with serving(upstream) as gateway:
        answer = await gateway.ask("POST", "/api/chat", body("Explain", "Short?", "Yes", temperature=0.5))
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert answer.headers["incremental"] == "?1"
    assert answer.headers["stream-next-offset"] == "0" * 16
    assert answer.complete
    assert answer.events[-1] == ("[DONE]", None)
    found = chunks(answer)
    assert text_of(found) == "Streams are rivers. 流式 👍🏽"
    assert types(found)[:3] == ["start", "start-step", "text-start"]
    assert types(found)[-3:] == ["text-end", "finish-step", "finish"]
    assert answer.headers["location"] == f"/v1/stream/{found[0]['messageId']}"
    assert found[-1]["finishReason"] == "stop"
    assert found[-1]["messageMetadata"]["usage"]["completion_tokens"] > 0
    [asked] = upstream.requests
    assert asked.json["messages"] == [
        {"role": "user", "content": "Explain"},
        {"role": "assistant", "content": "Short?"},
        {"role": "user", "content": "Yes"},
    ]
    assert asked.json["temperature"] == 0.5
    assert not asked.json.keys() & {"id", "trigger", "messageId"}


async def test_reasoning_and_a_tool_call_stream_too(scripted_upstream):
    call = ToolCall("weather", '{"city": "Zürich"}')
    upstream = await scripted_upstream(Answer(content="", reasoning="Let me look.", tool_calls=(call,)))
    async with serving(upstream) as gateway:
        found = chunks(await gateway.ask("POST", "/api/chat", body()))
    reasoning = "".join(c["delta"] for c in found if c["type"] == "reasoning-delta")
    assert reasoning == "Let me look."
    [available] = [c for c in found if c["type"] == "tool-input-available"]
    assert (available["toolName"], available["input"]) == ("weather", {"city": "Zürich"})
    assert found[-1]["finishReason"] == "tool-calls"


async def test_the_same_response_is_read_as_openai_events_meanwhile():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire, Wire.to(gateway.port) as other:
        attempt, head = await begun(upstream, wire)
        attempt.send("Hello")
        other.send("GET", f"{head.headers['location']}/events")
        await other.head()
        await until(other, "Hello")
        attempt.send(" world")
        attempt.finish()
        answer = await wire.rest(head)
        assert text_of(chunks(answer)) == "Hello world"
        read = await gateway.ask("GET", f"{head.headers['location']}/events")
    assert read.text == "Hello world"


async def test_the_plain_text_form_stays(scripted_upstream):
    upstream = await scripted_upstream("Good day")
    async with serving(upstream) as gateway:
        for asked in ({"prompt": "Hi"}, {"messages": [{"role": "user", "content": "Hi"}]}):
            answer = await gateway.ask("POST", "/api/chat", {"model": "m", **asked})
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert answer.body == b"Good day"


async def test_a_second_tab_reads_from_the_start_and_on():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire, Wire.to(gateway.port) as tab:
        attempt, head = await begun(upstream, wire)
        attempt.send("Hello")
        await until(wire, "Hello")
        tab.send("GET", "/api/chat/c1/stream")
        second = await tab.head()
        assert second.headers["x-vercel-ai-ui-message-stream"] == "v1"
        attempt.send(" world")
        attempt.finish()
        await wire.rest(head)
        again = chunks(await tab.rest(second))
        assert text_of(again) == "Hello world"
        assert again[0]["messageId"] == head.headers["location"].rpartition("/")[2]
        assert {c["id"] for c in again if c["type"].startswith("text")} == {"text-1"}


async def test_after_the_end_has_been_read_nothing_is_active(scripted_upstream):
    upstream = await scripted_upstream("Good day")
    async with serving(upstream) as gateway:
        for _ in range(2):
            await gateway.ask("POST", "/api/chat", body())
            answer = await gateway.ask("GET", "/api/chat/c1/stream")
            assert (answer.status, answer.body) == (204, b"")
            assert answer.headers["cache-control"] == "no-store"


async def test_an_answer_that_ended_while_nobody_read_is_not_lost():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway:
        async with Wire.to(gateway.port) as wire:
            attempt, _ = await begun(upstream, wire)
            attempt.send("Hello")
            await until(wire, "Hello")
        await until_left(*gateway.gateway.relays._relays.values())
        attempt.send(" world")
        attempt.finish()
        await gateway.until_idle()
        answer = await gateway.ask("GET", "/api/chat/c1/stream")
        assert text_of(chunks(answer)) == "Hello world"
        assert chunks(answer)[-1]["type"] == "finish"
        assert (await gateway.ask("GET", "/api/chat/c1/stream")).status == 204


async def test_an_end_that_was_sent_and_never_arrived_is_not_lost():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway:
        # A network that is gone, and nobody has noticed: what is sent stays in the kernel.
        lost = socket.socket()
        lost.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lost.connect(("127.0.0.1", gateway.port))
        data = json.dumps(body()).encode()
        lost.sendall(b"POST /api/chat HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("x" * 20_000)
        [relay] = gateway.gateway.relays._relays.values()
        attempt.finish()
        for _ in range(100):  # all that the gateway would do with an end is done
            await asyncio.sleep(0)
        lost.close()
        await until_left(relay)
        assert text_of(chunks(await gateway.ask("GET", "/api/chat/c1/stream"))) == "x" * 20_000
        assert (await gateway.ask("GET", "/api/chat/c1/stream")).status == 204


@pytest.mark.parametrize(
    ("version", "reason"), [("7", "interrupted"), ("7.0.173", "interrupted"), ("6", None), (None, None)]
)
async def test_stop_ends_the_answer_for_every_reader(version, reason):
    headers = {} if version is None else {"Everytoken-AI-SDK": version}
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire, Wire.to(gateway.port) as tab:
        attempt, head = await begun(upstream, wire, headers=headers)
        attempt.send("Hello")
        await until(wire, "Hello")
        tab.send("GET", "/api/chat/c1/stream", headers=headers)
        second = await tab.head()
        assert (await gateway.ask("POST", "/api/chat/c1/stop")).status == 204
        async with limit():
            await attempt.released.wait()
        for reader, answer in ((wire, head), (tab, second)):
            rest = await reader.rest(answer)
            assert rest.complete
            assert types(chunks(rest))[-2:] == ["abort", "finish"]
            assert chunks(rest)[-1].get("finishReason") == reason
        assert (await gateway.ask("POST", "/api/chat/c1/stop")).status == 204
        assert (await gateway.ask("GET", "/api/chat/c1/stream")).status == 204


async def test_an_interrupted_answer_ends_in_an_error_and_never_in_done(scripted_upstream):
    upstream = await scripted_upstream(
        "Streams are rivers of words.", faults=[("always", "clean-end", "middle")]
    )
    async with serving(upstream, policy=Policy(attempts=1)) as gateway:
        answer = await gateway.ask("POST", "/api/chat", body())
    found = chunks(answer)
    assert "Streams are rivers of words.".startswith(text_of(found))
    assert text_of(found)
    assert found[-1]["type"] == "error"
    assert found[-1]["errorText"]
    assert not {"finish", "text-end"} & set(types(found))
    assert "[DONE]" not in answer.body.decode()


async def test_a_refusal_is_a_status_and_leaves_nothing_to_resume(scripted_upstream):
    upstream = await scripted_upstream([Status(401, body=b'{"error":{"message":"no","type":"x"}}')])
    async with serving(upstream) as gateway:
        answer = await gateway.ask("POST", "/api/chat", body())
        assert answer.status == 401
        assert answer.error["message"] == "no"
        assert (await gateway.ask("GET", "/api/chat/c1/stream")).status == 204


async def test_a_message_that_is_gone_on_with_keeps_its_id_and_comes_back_whole():
    upstream = ManualUpstream()
    tool = {
        "type": "tool-weather",
        "toolCallId": "t1",
        "state": "output-available",
        "input": {"city": "Bern"},
        "output": 21,
    }
    parts = [{"type": "step-start"}, {"type": "text", "text": "See: "}, tool]
    asked = body()
    asked["messages"].append({"id": "m-tool", "role": "assistant", "parts": parts, "metadata": {"x": 1}})
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        attempt, head = await begun(upstream, wire, asked)
        assert attempt.body["messages"][-1] == {"role": "tool", "tool_call_id": "t1", "content": "21"}
        attempt.send("It is 21.")
        found = await until(wire, "21.")
        assert b'{"type":"start","messageId":"m-tool"}' in found
        assert b"See: " not in found
        async with Wire.to(gateway.port) as tab:
            tab.send("GET", "/api/chat/c1/stream")
            second = await tab.head()
            attempt.finish()
            again = chunks(await tab.rest(second))
        await wire.rest(head)
    assert again[0] == {"type": "start", "messageId": "m-tool", "messageMetadata": {"x": 1}}
    assert text_of(again) == "See: It is 21."
    assert types(again).count("start-step") == 2
    assert "tool-output-available" in types(again)
    assert "tool-input-available" not in types(again)


async def test_another_key_neither_reads_nor_stops():
    upstream = ManualUpstream()
    async with serving(upstream, **KEYS) as gateway, Wire.to(gateway.port) as wire:
        attempt, head = await begun(upstream, wire, headers=by("one"))
        attempt.send("Hello")
        await until(wire, "Hello")
        assert (await gateway.ask("GET", "/api/chat/c1/stream", headers=by("two"))).status == 204
        assert (await gateway.ask("POST", "/api/chat/c1/stop", headers=by("two"))).status == 204
        for method, path in (("GET", "stream"), ("POST", "stop")):
            assert (await gateway.ask(method, f"/api/chat/c1/{path}")).status == 401
        assert not attempt.released.is_set()
        attempt.finish()
        assert text_of(chunks(await wire.rest(head))) == ""
        assert (await gateway.ask("GET", "/api/chat/c1/stream", headers=by("one"))).status == 204


async def test_an_unknown_chat_has_nothing_active():
    async with serving(ManualUpstream()) as gateway:
        assert (await gateway.ask("GET", "/api/chat/nobody/stream")).status == 204
        assert (await gateway.ask("POST", "/api/chat/nobody/stop")).status == 204


async def test_a_chats_id_may_hold_anything_that_a_url_can():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        attempt, _ = await begun(upstream, wire, body(chat="a/b ü/stop"))
        attempt.send("Hello")
        await until(wire, "Hello")
        assert (await gateway.ask("POST", "/api/chat/a%2Fb%20%C3%BC%2Fstop/stop")).status == 204
        async with limit():
            await attempt.released.wait()


async def test_without_an_id_it_streams_and_cannot_be_resumed(scripted_upstream):
    upstream = await scripted_upstream("Good day")
    async with serving(upstream) as gateway:
        asked = body()
        del asked["id"]
        assert text_of(chunks(await gateway.ask("POST", "/api/chat", asked))) == "Good day"


REFUSED = [
    ("an id that is no text", {"id": 1}, "id"),
    ("an empty id", {"id": ""}, "id"),
    ("an id that is too long", {"id": "x" * (MAX_ID + 1)}, "id"),
    ("a role that is none", {"messages": [{"role": "tool", "parts": []}]}, "messages[0].role"),
    ("nothing to answer", {"messages": [{"role": "assistant", "parts": []}]}, "messages"),
]


@pytest.mark.parametrize(("wrong", "param"), [pytest.param(*case[1:], id=case[0]) for case in REFUSED])
async def test_a_wrong_body_is_refused(wrong, param):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway:
        answer = await gateway.ask("POST", "/api/chat", body() | wrong)
        assert (answer.status, answer.error["param"]) == (400, param)
        assert upstream.attempts == []


async def test_a_wrong_path_or_method_is_refused():
    async with serving(ManualUpstream()) as gateway:
        assert (await gateway.ask("POST", "/api/chat/c1/stream")).status == 405
        assert (await gateway.ask("GET", "/api/chat/c1/stop")).status == 405
        assert (await gateway.ask("GET", f"/api/chat/{'x' * (MAX_ID + 1)}/stream")).status == 400
        assert (await gateway.ask("GET", "/api/chat/c1/other")).status == 404


@pytest.mark.virtual_time
async def test_a_quiet_stream_is_kept_alive_by_a_bare_comment():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        attempt, head = await begun(upstream, wire)
        attempt.send("Hello")
        await until(wire, "Hello")
        assert await wire.frame() == b": keep-alive\n"
        attempt.finish()
        assert chunks(await wire.rest(head))[-1]["type"] == "finish"


@pytest.mark.parametrize("slow", [True, False], ids=["a reader that is slow", "a reader that keeps up"])
async def test_a_long_answer_is_exact(slow):
    upstream = ManualUpstream()
    pieces = [f"{number} 流 " for number in range(5_000)]
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        attempt, head = await begun(upstream, wire)
        reading = None if slow else asyncio.create_task(wire.rest(head))
        for start in range(0, len(pieces), 100):
            attempt.send(*pieces[start : start + 100])
            await asyncio.sleep(0)
        attempt.finish()
        answer = await (reading or wire.rest(head))
    assert text_of(chunks(answer)) == "".join(pieces)


async def test_under_another_server_it_is_the_same():
    upstream = ManualUpstream()
    gateway = over(upstream)

    async def application(scope, receive, send):
        await gateway(scope, receive, send)

    async with gateway, served(application, http="h11") as port, Wire.to(port) as wire:
        attempt, head = await begun(upstream, wire)
        attempt.send("Hello")
        await until(wire, "Hello")
        async with Wire.to(port) as tab:
            tab.send("GET", "/api/chat/c1/stream")
            second = await tab.head()
            attempt.finish()
            assert text_of(chunks(await tab.rest(second))) == "Hello"
        assert chunks(await wire.rest(head))[-1]["type"] == "finish"
