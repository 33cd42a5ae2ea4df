"""Responses that an earlier version began, in a file and in a Redis made by it, are read and taken over.

The fixtures were made before responses named their dialect: four open ones, cut in different kinds of content, and one
that had ended.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import sqlite3
from pathlib import Path

import pytest

from everytoken.dialects.openai_chat import Accumulator
from everytoken.recovery import Policy, Target
from everytoken.relay import Relays
from gateway_serving import ManualUpstream, limit
from journal_backends import BACKENDS, read_all, until

FIXTURES = Path(__file__).parents[1] / "fixtures"
FOREVER = 1e12
CALL = {
    "index": 0,
    "id": "call_b",
    "type": "function",
    "function": {"name": "get", "arguments": '{"city": "Zürich"}'},
}
# What the upstream says in full when it is asked again, and the message that the two parts make.
WHOLE = {
    "text": ([{"content": "One two three."}], {"content": "One two three."}),
    "call": (
        [{"tool_calls": [CALL]}],
        {
            "content": None,
            "tool_calls": [
                {
                    "id": "call_a",
                    "type": "function",
                    "function": {"name": "get", "arguments": '{"city": "Zürich"}'},
                }
            ],
        },
    ),
    "reasoning": (
        [{"reasoning_content": "Hm, yes."}, {"content": "Well."}],
        {"reasoning_content": "Hm, yes.", "content": "Well."},
    ),
    "audio": (
        [{"audio": {"id": "audio_2", "data": "UklGRg==", "transcript": "One two"}}],
        {"content": None, "audio": {"id": "audio_1", "data": "UklGRg==", "transcript": "One two"}},
    ),
}


def of_sqlite(kind):
    script = (FIXTURES / "responses-before-dialects.sql").read_text()
    db = sqlite3.connect(kind.path)
    db.executescript(script)
    db.close()
    return json.loads(script.partition("\n")[0].removeprefix("-- "))


def of_redis(kind):
    dumped = json.loads((FIXTURES / "responses-before-dialects.redis.json").read_text())
    with socket.create_connection(("127.0.0.1", kind.server.port)) as connection:
        for key, value in dumped["keys"].items():
            parts = (b"RESTORE", key.encode("latin-1"), b"0", base64.b64decode(value))
            connection.sendall(b"*4\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
            assert connection.recv(64) == b"+OK\r\n"
    return dumped["ids"]


@pytest.mark.parametrize(("backend", "load"), [("sqlite", of_sqlite), ("redis", of_redis)])
async def test_what_an_earlier_version_left_is_continued(tmp_path, backend, load):
    kind = BACKENDS[backend](tmp_path)
    ids = await asyncio.to_thread(load, kind)
    named = {stream_id: name for name, stream_id in ids.items()}
    journal = await kind.open(retention=FOREVER)
    upstream = ManualUpstream()
    target = Target(name="manual", policy=Policy(backoff=0))
    relays = Relays({"manual": upstream}, lambda _: [target], journal, max_duration=FOREVER)
    async with limit():
        taken = 0
        while taken < len(WHOLE):
            taken += await relays.take_over()
    assert taken == len(WHOLE)
    for number in range(len(WHOLE)):
        attempt = await upstream.attempt(number)
        name = named[attempt.sink.relay.stream_id]
        attempt.accept()
        for delta in [{"role": "assistant"}, *WHOLE[name][0]]:
            attempt.sink.on_data(b"data: %b\n\n" % json.dumps(chunk(delta)).encode())
        attempt.sink.on_data(b"data: %b\n\ndata: [DONE]\n\n" % json.dumps(chunk({}, "stop")).encode())
    for name, (_, message) in WHOLE.items():
        log = await journal.open(ids[name])
        await until(lambda log=log: log.closed)
        records = await read_all(log)
        joined = Accumulator()
        for record in records:
            joined.add(record)
        (choice,) = joined.message()["choices"]
        assert (name, choice["finish_reason"], log.info.result["outcome"]) == (name, "stop", "completed")
        assert {key: value for key, value in choice["message"].items() if key != "role"} == message
        assert {json.loads(record)["id"] for record in records} == {"c"}
        assert json.loads(records[-1])["usage"]["estimated"]
        assert log.info.owner == "me"
    ended = await journal.open(ids["ended"])
    assert ended.closed
    first, *_ = await read_all(ended)
    assert json.loads(first)["choices"][0]["delta"]["content"] == "All."
    await journal.stop()


def chunk(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "d", "object": "chat.completion.chunk", "created": 2, "model": "m", "choices": [choice]}
