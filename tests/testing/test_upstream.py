"""The scripted upstream: its answers, its scripts, its record of what happened."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest

from everytoken.testing import (
    DEFAULT_TEXT,
    Answer,
    CleanEnd,
    Close,
    Head,
    Reset,
    ScriptedUpstream,
    Send,
    SendRaw,
    Status,
    ToolCall,
    Wait,
)
from raw_client import exchange

pytestmark = pytest.mark.virtual_time

USER = [{"role": "user", "content": "hi there"}]


async def ask(upstream, **body):
    return await exchange(upstream.host, upstream.port, **({"messages": USER, "stream": True} | body))


# the official SDK reads a healthy answer exactly


def test_the_sync_sdk_reads_the_answer():
    with ScriptedUpstream() as upstream, openai.OpenAI(base_url=upstream.base_url, api_key="k") as client:
        stream = client.chat.completions.create(model="m", messages=USER, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        whole = client.chat.completions.create(model="m", messages=USER)
        assert text == whole.choices[0].message.content == upstream.text == DEFAULT_TEXT
        assert [model.id for model in client.models.list()] == ["scripted"]
        assert upstream.requests[0].headers["authorization"] == "Bearer k"


async def test_the_async_sdk_reads_text_tools_and_usage(scripted_upstream):
    call = ToolCall("get_weather", '{"city": "Zürich"}')
    upstream = await scripted_upstream(
        Answer("Let me look. 👀", reasoning="Hmm, weather.", tool_calls=(call,))
    )
    async with openai.AsyncOpenAI(base_url=upstream.base_url, api_key="k") as client:
        options = {"include_usage": True}
        async with client.chat.completions.stream(model="m", messages=USER, stream_options=options) as stream:
            final = await stream.get_final_completion()
        whole = await client.chat.completions.create(model="m", messages=USER)
    for completion in (final, whole):
        choice = completion.choices[0]
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me look. 👀")
        function = choice.message.tool_calls[0].function
        assert (function.name, json.loads(function.arguments)) == ("get_weather", {"city": "Zürich"})
        assert completion.usage.prompt_tokens == 2
    assert final.usage == whole.usage


async def test_the_sdk_meets_a_fault_and_then_a_healthy_answer(scripted_upstream):
    upstream = await scripted_upstream(faults=[(0, "status-503", "start")])
    async with openai.AsyncOpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="m", messages=USER)
        assert (await client.chat.completions.create(model="m", messages=USER)).choices[
            0
        ].finish_reason == "stop"


# the answer


@pytest.mark.parametrize(
    ("prefill", "prefix", "status", "text"),
    [
        pytest.param("continue", "one two", 200, " three", id="it goes on after the prefix"),
        pytest.param("continue", "one two three", 200, "", id="a whole prefix leaves nothing"),
        pytest.param("restart", "one two", 200, "one two three", id="it starts again"),
        pytest.param("refuse", "one two", 400, "", id="it is refused"),
        pytest.param("refuse", "", 200, "one two three", id="an empty prefix is none"),
    ],
)
async def test_a_prefill(scripted_upstream, prefill, prefix, status, text):
    upstream = await scripted_upstream(Answer("one two three", prefill=prefill))
    seen = await ask(upstream, messages=[*USER, {"role": "assistant", "content": prefix}])
    assert (seen.status, seen.text) == (status, text)
    assert seen.finish == ("stop" if status == 200 else None)


async def test_a_prefill_that_is_not_the_answers_beginning_shows(scripted_upstream):
    upstream = await scripted_upstream(Answer("one two three"))
    seen = await ask(upstream, messages=[*USER, {"role": "assistant", "content": "two"}])
    assert "not the beginning" in seen.text


async def texts(upstream, seeds):
    return [(await ask(upstream, seed=seed)).text for seed in seeds]


async def test_a_deterministic_upstream_repeats_itself(scripted_upstream):
    assert len(set(await texts(await scripted_upstream("one two"), [None, 1, 2]))) == 1


async def test_an_upstream_that_needs_a_seed_repeats_itself_for_the_same_one_only(scripted_upstream):
    upstream = await scripted_upstream(Answer("one two", needs_seed=True))
    first, other, again, none, none_again = await texts(upstream, [1, 2, 1, None, None])
    assert first == again == upstream.text
    assert len({first, other, none, none_again}) == 4
    assert [request.text for request in upstream.requests] == [first, other, again, none, none_again]


async def test_an_upstream_that_is_not_deterministic_never_repeats_itself(scripted_upstream):
    upstream = await scripted_upstream(Answer("one two", deterministic=False))
    seen = await texts(upstream, [1, 1, 1])
    assert len(set(seen)) == 3
    assert all(text.startswith("one") and text.endswith("two") for text in seen)


async def test_the_same_request_gets_the_same_chunks(scripted_upstream):
    upstream = await scripted_upstream("one two")
    first, second = [await ask(upstream) for _ in range(2)]
    assert [c["choices"] for c in first.chunks] == [c["choices"] for c in second.chunks]


async def test_a_token_limit_is_kept_and_told(scripted_upstream):
    seen = await ask(await scripted_upstream("one two three"), max_tokens=2)
    assert (seen.contents, seen.finish) == (["one", " two"], "length")


async def test_chunks_have_the_shape_of_the_api(scripted_upstream):
    upstream = await scripted_upstream(
        Answer("hi", refusal="no", reasoning="so", reasoning_field="reasoning")
    )
    options = {"include_usage": True}
    seen = await ask(upstream, n=2, logprobs=True, stream_options=options, model="mine")
    role, *_ = seen.choices
    assert role["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert {choice["index"] for choice in seen.choices} == {0, 1}
    assert [key for c in seen.choices[2:] if c["index"] == 0 for key in c["delta"]] == [
        "reasoning",
        "refusal",
        "content",
    ]
    assert (
        next(c for c in seen.choices if c["delta"].get("content"))["logprobs"]["content"][0]["token"] == "hi"
    )
    assert [chunk["usage"] for chunk in seen.chunks[:-1]] == [None] * (len(seen.chunks) - 1)
    assert seen.chunks[-1]["choices"] == []
    assert seen.chunks[-1]["usage"]["total_tokens"] == 2 + 7  # the second choice has one token more
    assert {(c["id"], c["object"], c["model"]) for c in seen.chunks} == {
        ("chatcmpl-0", "chat.completion.chunk", "mine")
    }


# scripts


@pytest.mark.parametrize(
    ("script", "status", "end", "body"),
    [
        pytest.param(
            [Send(b"data: x\n\n"), CleanEnd()],
            200,
            "open",
            b"data: x\n\n",
            id="a head is sent if none is given",
        ),
        pytest.param([CleanEnd()], 200, "open", b"", id="an empty body"),
        pytest.param(
            [Send(b"data"), Wait(5), Send(b": x"), Close()], 200, "fin", b"data: x", id="a wait and a close"
        ),
        pytest.param([Send(b"data"), Wait(1), Reset()], 200, "rst", b"data", id="a reset"),
        pytest.param([Send(b"data")], 200, "fin", b"data", id="a script without an end closes"),
        pytest.param([Status(429, retry_after=2, body=b"{}")], 429, "open", b"{}", id="a status"),
        pytest.param(
            [Head(framing="length", length=9), Send(b"abc"), CleanEnd()],
            200,
            "fin",
            b"abc",
            id="a short body",
        ),
        pytest.param(
            [SendRaw(b"garbage"), Close(), Send(b"never")],
            None,
            "fin",
            b"garbage",
            id="raw bytes, then nothing",
        ),
    ],
)
async def test_a_script(scripted_upstream, script, status, end, body):
    upstream = await scripted_upstream(script)
    seen = await ask(upstream)
    assert (seen.status, seen.end, seen.body) == (status, end, body)


async def test_a_script_can_depend_on_the_request(scripted_upstream):
    upstream = await scripted_upstream(
        lambda request: [Status(418 if request.attempt else 200, body=request.body)]
    )
    assert [(await ask(upstream, n=number)).status for number in range(2)] == [200, 418]


async def test_a_script_that_fails_fails_the_test():
    with pytest.raises(ZeroDivisionError):
        async with ScriptedUpstream(lambda request: [Status(1 // request.attempt)]) as upstream:
            assert (await ask(upstream)).end == "fin"


# the record


async def test_requests_are_recorded_and_the_attempts_counted(scripted_upstream):
    upstream = await scripted_upstream()
    reader, writer = await asyncio.open_connection(upstream.host, upstream.port)
    writer.write(b"GET /v1/models?x=1 HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nX-A: B\r\n\r\n")
    got = await reader.readuntil(b"no such path")
    assert got.count(b"HTTP/1.1 200 OK") == 1
    writer.close()
    await writer.wait_closed()
    await ask(upstream)
    assert [(r.method, r.path, r.attempt) for r in upstream.requests] == [
        ("GET", "/v1/models?x=1", None),
        ("GET", "/nothing", None),
        ("POST", "/v1/chat/completions", 0),
    ]
    assert upstream.requests[1].headers == {"x-a": "B"}
    assert upstream.requests[2].json["messages"] == USER
    assert upstream.connection_count == 2


async def test_it_is_known_when_the_client_has_gone(scripted_upstream):
    upstream = await scripted_upstream(faults=[(0, "silent", "middle")])
    _, writer = await asyncio.open_connection(upstream.host, upstream.port)
    body = json.dumps({"stream": True, "messages": USER}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    request = await upstream.wait_for_attempt()
    assert len(upstream.open_connections) == 1
    assert not request.closed.is_set()
    writer.close()
    await writer.wait_closed()
    await request.closed.wait()
    assert not request.answered.is_set()
    assert not upstream.open_connections


async def test_what_is_no_request_gets_a_400(scripted_upstream):
    upstream = await scripted_upstream()
    reader, writer = await asyncio.open_connection(upstream.host, upstream.port)
    writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()
    await writer.wait_closed()
    seen = await exchange(upstream.host, upstream.port)
    assert json.loads(seen.body)["choices"][0]["message"]["content"] == upstream.text
    assert upstream.connection_count == 2


def test_an_unknown_fault_is_named():
    with pytest.raises(ValueError, match="unknown fault 'rest'"):
        ScriptedUpstream(faults=[(0, "rest", "middle")])


def test_a_port_in_use_is_an_error_in_the_callers_thread():
    with (
        ScriptedUpstream() as upstream,
        pytest.raises(OSError, match="in use"),
        ScriptedUpstream(port=upstream.port),
    ):
        pass
