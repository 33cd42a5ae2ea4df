"""`POST /api/chat`: what the guide's component reads, as it reads it."""

from __future__ import annotations

import asyncio
import logging

import httpx2
import pytest

from everytoken.gateway import UpstreamConfig
from everytoken.gateway.follow import ReaderConnection
from everytoken.recovery import Policy
from everytoken.testing import Answer, ToolCall
from gateway_serving import ManualUpstream, Wire, limit, serving
from three_sdks import ASKS

TEXTS = {
    "words": "Streams are rivers of words, and words are rivers of letters.",
    "chinese": "流式传输让人立刻看到文字，而不必等待完整的回答。" * 40,
    "thai": "สวัสดีชาวโลก ภาษาไทยไม่มีช่องว่างระหว่างคำ " * 40,
    "emoji": "👍🏽👨‍👩‍👧🇯🇵🏳️‍🌈" * 100,
    "families without a space": "👨‍👩‍👧‍👦" * 500,
    "one long word": "a" * 20_000,
    "everything": Answer().text,
}
ONCE = Policy(attempts=1)


def code_points(text: str) -> Answer:
    """Return an answer whose chunks cut the text everywhere, inside characters of several code points too."""
    return Answer(tuple(text[start : start + 3] for start in range(0, len(text), 3)))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
async def test_every_write_stands_on_its_own(scripted_upstream, text):
    upstream = await scripted_upstream(code_points(text))
    async with serving(upstream) as gateway:
        answer = await gateway.ask("POST", "/api/chat", {"prompt": "Hello"})
    assert answer.complete
    assert "".join(frame.decode() for frame in answer.frames) == text, (
        "decoded as the guide does, without a state"
    )
    assert max(map(len, answer.frames)) <= 16_384
    assert "\ufffd" not in text
    for frame in answer.frames[1:]:
        assert not frame.decode().startswith(("\u200d", "\ufe0f", "🏽")), "a character begins in every write"


async def test_words_arrive_while_they_are_made():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/api/chat", {"prompt": "Hello"})
        attempt = await upstream.attempt()
        attempt.accept()
        head = await wire.head()
        attempt.send("one ", "two ", "thr")
        begun = b""
        while len(begun) < len(b"one two "):
            begun += await wire.frame() or b""
        assert begun == b"one two "
        attempt.send("ee")
        attempt.finish()
        assert (await wire.rest(head)).body == b"three"


@pytest.mark.virtual_time
async def test_half_a_word_is_not_held_back_in_a_stall():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/api/chat", {"prompt": "Hello"})
        attempt = await upstream.attempt()
        attempt.accept()
        await wire.head()
        attempt.send("antidis")
        began = asyncio.get_running_loop().time()
        assert await wire.frame() == b"antidis"
        assert asyncio.get_running_loop().time() - began < 0.5


@pytest.mark.virtual_time
async def test_what_ends_while_the_client_is_waited_for_is_not_missed(monkeypatch):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/api/chat", {"prompt": "Hello"})
        attempt = await upstream.attempt()
        attempt.accept()
        head = await wire.head()
        send = ReaderConnection.send

        async def send_slowly(client, body):
            monkeypatch.undo()
            attempt.send(" end")
            attempt.finish()
            await send(client, body)

        monkeypatch.setattr(ReaderConnection, "send", send_slowly)
        attempt.send("held")  # until its time is up, and nothing else is to come
        answer = await wire.rest(head)
    assert answer.body == b"held end"
    assert answer.complete


async def test_headers():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/api/chat", {"prompt": "Hello"})
        (await upstream.attempt()).accept()
        headers = (await wire.head()).headers
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert headers["incremental"] == "?1"
    assert headers["location"].startswith("/v1/stream/")
    assert headers["stream-next-offset"] == "0" * 16
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["transfer-encoding"] == "chunked"


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        pytest.param(
            {"prompt": "Hi"}, [{"role": "user", "content": "Hi"}], id="a prompt is the user's message"
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": "Hi"}]},
            [{"role": "user", "content": "Hi"}],
            id="messages are passed on as they are",
        ),
        pytest.param(
            {"messages": [{"role": "system", "content": "Be brief."}], "prompt": "Hi"},
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            id="a prompt comes after the messages",
        ),
    ],
)
async def test_what_the_upstream_is_asked(body, messages):
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/api/chat", {**body, "stream": False, "temperature": 0.5})
        attempt = await upstream.attempt()
    assert attempt.body["messages"] == messages
    assert attempt.body["stream"] is True
    assert attempt.body["temperature"] == 0.5
    assert "prompt" not in attempt.body


async def test_an_interruption_is_a_visible_last_line_and_a_broken_connection(scripted_upstream, caplog):
    upstream = await scripted_upstream("One two three four five six.", faults=[("always", "close", "middle")])
    async with serving(upstream, policy=ONCE) as gateway:
        with caplog.at_level(logging.DEBUG):
            answer = await gateway.ask("POST", "/api/chat", {"prompt": "Hello"})
    *lines, last = answer.body.decode().split("\n")
    assert "\n".join(lines).strip().startswith("One two")
    assert last.startswith("[interrupted: ")
    assert last.endswith("]")
    assert not answer.complete
    assert [record for record in caplog.records if record.name.startswith(("uvicorn", "asyncio"))] == []


async def test_an_interruption_raises_in_an_http_client(scripted_upstream):
    upstream = await scripted_upstream("One two three four five six.", faults=[("always", "close", "middle")])
    text = ""
    async with serving(upstream, policy=ONCE) as gateway, httpx2.AsyncClient() as client:
        with pytest.raises(httpx2.RemoteProtocolError):  # noqa: PT012  # what comes before it counts
            async with client.stream("POST", f"{gateway.url}/api/chat", json={"prompt": "Hi"}) as answer:
                async for piece in answer.aiter_text():
                    text += piece
    assert text.startswith("One two")
    assert text.endswith("]")


async def test_stopping_is_an_interruption_too():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/api/chat", {"prompt": "Hello"})
        attempt = await upstream.attempt()
        attempt.accept()
        head = await wire.head()
        attempt.send("one two")
        await gateway.ask("POST", head.headers["location"] + "/cancel")
        answer = await wire.rest(head)
    assert answer.body.decode().startswith("one two\n[interrupted: ")
    assert not answer.complete


async def test_a_refusal_is_text():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/api/chat", {"prompt": "Hello"})
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.sink.on_data(
            b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"refusal":"I will not."}}]}\n\n'
        )
        attempt.finish()
        assert (await wire.answer()).body == b"I will not."


async def test_only_the_first_choice_is_shown():
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/api/chat", {"prompt": "Hello", "n": 2})
        attempt = await upstream.attempt()
        attempt.accept()
        for index, content in enumerate(("left", "right")):
            choice = b'{"index":%d,"delta":{"content":"%b"},"finish_reason":"stop"}' % (
                index,
                content.encode(),
            )
            attempt.sink.on_data(b'data: {"object":"chat.completion.chunk","choices":[%b]}\n\n' % choice)
        attempt.sink.on_data(b"data: [DONE]\n\n")
        assert (await wire.answer()).body == b"left"


@pytest.mark.parametrize("api", ["messages", "responses"])
@pytest.mark.parametrize("caller", ["chat", "messages", "responses"])
async def test_a_response_of_any_api_can_be_read_as_text(scripted_upstream, caller, api):
    answer = Answer(reasoning="Thinking.", tool_calls=(ToolCall("look", '{"text":"no text"}'),))
    upstream = await scripted_upstream(answer, apis=[api])
    config = UpstreamConfig(name="a", url=upstream.base_url, api=api)
    path = {"chat": "/v1/chat/completions"}.get(caller, f"/v1/{caller}")
    body = {name: value for name, value in ASKS[caller].items() if name != "stream_options"}
    async with serving(config) as gateway, limit():
        asked = await gateway.ask("POST", path, {**body, "stream": True})
        events = f"{asked.headers['location']}/events"
        whole = await gateway.ask("GET", f"{events}?format=text")
        assert (whole.status, whole.complete) == (200, True)
        assert whole.headers["content-type"] == "text/plain; charset=utf-8"
        assert whole.body.decode() == answer.text
        rest = await gateway.ask("GET", f"{events}?format=text&offset={30:016d}")
        assert rest.status == 200
        assert 0 < len(rest.body) < len(whole.body)
        assert whole.body.endswith(rest.body)
