"""`POST /v1/chat/completions`: OpenAI's own SDK against it, and the bytes it reads."""

from __future__ import annotations

import asyncio
import json
import re

import openai
import pytest

from everytoken.recovery import Policy
from everytoken.testing import Answer, CleanEnd, Send, ToolCall
from gateway_serving import FINISH, HELLO, ManualUpstream, Wire, event, serving

MESSAGES = [{"role": "user", "content": "Explain transformers"}]
TEXTS = {"words": "Streams are rivers of words.", "everything": Answer().text}


def sdk(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-caller", max_retries=0)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
async def test_the_guides_loop_reads_the_exact_text(scripted_upstream, text):
    upstream = await scripted_upstream(text)
    async with serving(upstream) as gateway, sdk(gateway.url) as client:
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        full = ""
        async for chunk in stream:
            full += chunk.choices[0].delta.content or ""
    assert full == text


async def test_the_guides_loop_without_async_reads_the_exact_text(scripted_upstream):
    upstream = await scripted_upstream(TEXTS["everything"])

    def read(url: str) -> str:
        full = ""
        with openai.OpenAI(base_url=f"{url}/v1", api_key="sk-caller") as client:
            for chunk in client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
                full += chunk.choices[0].delta.content or ""
        return full

    async with serving(upstream) as gateway:
        assert await asyncio.to_thread(read, gateway.url) == TEXTS["everything"]


async def test_not_streamed_is_the_same_text_with_its_usage(scripted_upstream):
    upstream = await scripted_upstream(TEXTS["everything"])
    async with serving(upstream) as gateway, sdk(gateway.url) as client:
        answer = await client.chat.completions.create(model="m", messages=MESSAGES)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == TEXTS["everything"]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert len(gateway.gateway.relays) == 0


async def test_not_streamed_without_async(scripted_upstream):
    upstream = await scripted_upstream("Good day")

    def read(url: str) -> str | None:
        with openai.OpenAI(base_url=f"{url}/v1", api_key="sk-caller") as client:
            return client.chat.completions.create(model="m", messages=MESSAGES).choices[0].message.content

    async with serving(upstream) as gateway:
        assert await asyncio.to_thread(read, gateway.url) == "Good day"


async def test_tool_calls_and_reasoning_come_through_the_sdks_helper(scripted_upstream):
    call = ToolCall("weather", '{"city": "Zürich"}')
    upstream = await scripted_upstream(Answer(content="", reasoning="Let me look.", tool_calls=(call,)))
    async with serving(upstream) as gateway, sdk(gateway.url) as client:
        answer = await client.chat.completions.create(model="m", messages=MESSAGES)
        async with client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
            streamed = await stream.get_final_completion()
    for completion in (answer, streamed):
        [found] = completion.choices[0].message.tool_calls
        assert (found.function.name, found.function.arguments) == (call.name, call.arguments)
        assert completion.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.reasoning_content == "Let me look."


async def test_usage_comes_last_for_whom_asked_and_never_for_others(scripted_upstream):
    upstream = await scripted_upstream("A few words of text")
    async with serving(upstream) as gateway:
        asked = await gateway.ask(
            "POST", "/v1/chat/completions", {**HELLO, "stream_options": {"include_usage": True}}
        )
        others = await gateway.ask("POST", "/v1/chat/completions", HELLO)
    *_, last, done = [data for data, _ in asked.events]
    assert done == "[DONE]"
    assert json.loads(last)["choices"] == []
    assert json.loads(last)["usage"]["completion_tokens"] > 0
    assert sum('"choices":[]' in data for data, _ in asked.events) == 1
    chunks = [json.loads(data) for data, _ in others.events[:-1]]
    assert all(chunk["choices"][0]["delta"] is not None for chunk in chunks)
    assert others.text == asked.text == "A few words of text"


async def test_usage_is_estimated_for_an_upstream_that_gives_none():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", {**HELLO, "stream_options": {"include_usage": True}})
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("a", "b")
        attempt.finish()
        answer = await wire.answer()
    usage = json.loads(answer.events[-2][0])
    assert usage["choices"] == []
    assert usage["usage"]["estimated"] is True


async def test_chunks_are_passed_on_byte_for_byte(scripted_upstream):
    odd = [
        b'{"id" : "1",\t"object":"chat.completion.chunk", "choices":[{"index":0,"delta":{"content":"\\u00e9\\ud83d\\ude00"}}],  "x":1.50}',
        '{"choices":[{"delta":{"content":"é 😀 \u2028 "},"index":0,"new_field":[null]}],"object":"chat.completion.chunk"}'.encode(),
        b'{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"\\/"},"finish_reason":null}],"usage":null}',
        b'{"object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}',
    ]
    script = [
        *(Send(b"data: %b\r\n\r\n" % chunk) for chunk in odd),
        Send(b"data: [DONE]\r\n\r\n"),
        CleanEnd(),
    ]
    async with serving(await scripted_upstream(script)) as gateway:
        answer = await gateway.ask("POST", "/v1/chat/completions", HELLO)
    events = [b"data: %b\nid: %016d\n\n" % (chunk, number) for number, chunk in enumerate(odd, 1)]
    assert answer.body == b"".join(events) + b"data: [DONE]\n\n"


async def test_chunks_with_a_null_delta_or_without_choices_are_dropped(scripted_upstream):
    strange = [
        b'data: {"object":"chat.completion.chunk","choices":[],"prompt_filter_results":[]}\n\n',
        event("one"),
        b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":null}]}\n\n',
        b'data: {"object":"chat.completion.chunk","choices":null}\n\n',
        event(" two"),
        FINISH,
    ]
    upstream = await scripted_upstream([*map(Send, strange), CleanEnd()])
    async with serving(upstream) as gateway, sdk(gateway.url) as client:
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        read = [chunk.choices[0].delta.content async for chunk in stream]
    assert read == ["one", " two", None]


async def test_headers_of_a_stream(scripted_upstream):
    async with serving(await scripted_upstream("Hi")) as gateway:
        answer = await gateway.ask("POST", "/v1/chat/completions", HELLO)
        stream_id = answer.headers["location"].rpartition("/")[2]
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache, no-transform"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["incremental"] == "?1"
    assert answer.headers["location"] == f"/v1/stream/{stream_id}"
    assert re.fullmatch("r[0-9a-f]{40}", stream_id)  # the time, and 128 random bits
    assert answer.headers["stream-next-offset"] == "0" * 16
    assert "Location" in answer.headers["access-control-expose-headers"]


async def test_every_chunk_arrives_before_the_next_one_is_made():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        assert (await wire.head()).status == 200, "the head does not wait for the first token"
        for number in range(1, 20):
            attempt.send(f"w{number} ")
            frame = await wire.frame()
            assert frame is not None
            assert f"w{number} ".encode() in frame
        attempt.finish()


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json"])
async def test_who_accepts_events_gets_a_first_byte_with_the_head(accept):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO, {"Accept": accept})
        attempt = await upstream.attempt()
        attempt.accept()
        await wire.head()
        if accept == "text/event-stream":
            assert await wire.frame() == b": keep-alive\n"
        attempt.send("one ")
        assert b"data: " in (await wire.frame() or b"")[:6]
        attempt.finish()


@pytest.mark.virtual_time
async def test_silence_is_filled_with_a_bare_comment_every_15_seconds():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        loop = asyncio.get_running_loop()
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        await wire.head()
        attempt.send("a")
        await wire.frame()
        began = loop.time()
        assert await wire.frame() == b": keep-alive\n"
        assert loop.time() - began == pytest.approx(15, abs=0.1)
        attempt.finish()


@pytest.mark.virtual_time
async def test_the_sdk_survives_keep_alive_comments_between_ids():
    upstream = ManualUpstream()
    async with serving(upstream, policy=Policy(content_gap=100)) as gateway, sdk(gateway.url) as client:
        creating = asyncio.create_task(
            client.chat.completions.create(model="m", messages=MESSAGES, stream=True, timeout=1000)
        )
        attempt = await upstream.attempt()
        attempt.accept()
        stream = await creating
        read = ""
        words = iter(("one ", "two ", "three"))
        attempt.send(next(words))
        async for chunk in stream:
            read += chunk.choices[0].delta.content or ""
            await asyncio.sleep(50)  # virtual: three comments
            word = next(words, None)
            if word is None:
                attempt.finish()
            else:
                attempt.send(word)
            if chunk.choices[0].finish_reason:
                break
    assert read == "one two three"


@pytest.mark.virtual_time
async def test_an_upstream_slow_to_accept_gets_a_head_after_15_seconds():
    upstream = ManualUpstream()
    async with serving(upstream, policy=Policy(first_content=100)) as gateway, Wire.to(gateway.port) as wire:
        began = asyncio.get_running_loop().time()
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.sink.on_connected()
        head = await wire.head()
        assert asyncio.get_running_loop().time() - began == pytest.approx(15, abs=0.1)
        assert await wire.frame() == b": keep-alive\n"
        attempt.accept()
        attempt.send("late")
        attempt.finish()
        assert (await wire.rest(head)).text == "late"
