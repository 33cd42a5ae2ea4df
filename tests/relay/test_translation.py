"""What a dead process has translated is continued by another one, at an upstream of whichever API."""

from __future__ import annotations

import asyncio
import json

import pytest

from chat_wire import STOP, chunk_of
from everytoken.dialects.registry import dialect_named
from everytoken.recovery import Policy, Target
from everytoken.relay import Relays
from everytoken.translation.registry import DIALECTS, translation
from gateway_serving import ManualUpstream, limit
from journal_backends import BACKENDS, read_all, until
from messages_streams import begin, encoded, end, start, stop, texts

POLICY = Policy(backoff=0.0, retry_after_max=0.0)
WORDS = ["Trans", "formers ", "attend ", "to ", "every ", "token."]
CHAT = [
    *(b"data: %b\n\n" % json.dumps(chunk_of({"content": word})).encode() for word in WORDS),
    b"data: %b\n\n" % json.dumps(STOP).encode(),
    b"data: [DONE]\n\n",
]
MESSAGES = encoded([start(), begin(0, "text", text=""), *texts(0, *WORDS), stop(0), *end()])
STREAMS = {"chat": CHAT, "messages": MESSAGES}
ASKS = {
    "chat": {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Explain."}]},
    "messages": {
        "model": "m",
        "stream": True,
        "max_tokens": 512,
        "messages": [{"role": "user", "content": "Explain."}],
    },
    "responses": {"model": "m", "stream": True, "input": "Explain."},
}
KINDS = ["memory", "sqlite", "redis"]


def target(caller: str, upstream: str) -> Target:
    return Target(name="manual", policy=POLICY, translation=translation(DIALECTS[caller], DIALECTS[upstream]))


@pytest.mark.parametrize("backend", [kind for kind in KINDS if kind != "memory"])
@pytest.mark.parametrize(("first", "second"), [("chat", "messages"), ("messages", "chat"), ("chat", "chat")])
@pytest.mark.parametrize("caller", ASKS)
@pytest.mark.parametrize("delivered", [4, 6])
async def test_a_translated_response_is_taken_over(tmp_path, backend, caller, first, second, delivered):
    dialect = dialect_named(DIALECTS[caller])
    kind = BACKENDS[backend](tmp_path)
    upstream = ManualUpstream()
    journal = await kind.open()
    relays = Relays({"manual": upstream}, lambda _: [target(caller, first)], journal)
    relay = await relays.begin(dialect.request(ASKS[caller]))
    attempt = await upstream.attempt()
    attempt.accept()
    attempt.sink.on_data(b"".join(STREAMS[first][:delivered]))
    await until(lambda: relay.log.tail > 0)
    stream_id = relay.stream_id
    relay.let_go()
    await kind.crash(journal)

    again = await kind.open()
    relays = Relays({"manual": upstream}, lambda _: [target(caller, second)], again)
    async with limit():
        while not await relays.take_over():  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
    attempt = await upstream.attempt(1)
    attempt.accept()
    attempt.sink.on_data(b"".join(STREAMS[second]))
    log = await again.open(stream_id)
    await until(lambda: log.closed)
    assert log.info.result["outcome"] == "completed"
    joined = dialect.accumulator()
    for record in await read_all(log):
        joined.add(record)
    assert text_in(joined.message()) == "".join(WORDS)
    await again.stop()


def text_in(message) -> str:
    """Return the text of an answer in one piece, of any API."""
    if "choices" in message:
        return message["choices"][0]["message"]["content"]
    if "output" in message:
        return message["output"][0]["content"][0]["text"]
    return message["content"][0]["text"]
