"""Budgets and `kill -9`: what a key has spent is exactly what the upstream has counted, whenever the gateway dies."""

from __future__ import annotations

import asyncio
import json
import signal
from urllib.parse import urlsplit

import pytest

from gateway_serving import Wire, limit
from plug_nodes import Node, Upstream

ADMIN = "sk-admin-0123456789"
PROMPT = 10  # tokens
CHUNKS = 6
MILLION = 1_000_000


class Counting(Upstream):
    """A model server that counts what it has generated, and stops in the middle of an answer until it may go on."""

    def __init__(self):
        super().__init__(CHUNKS, 0)
        self.tokens = 0
        self.stops_after = None
        self.may_go_on = asyncio.Event()
        self.stopped = asyncio.Event()

    async def pause(self, number):
        self.tokens += 1
        if number == self.stops_after:
            self.stops_after = None
            self.stopped.set()
            await self.may_go_on.wait()

    async def _answer(self, writer, prompt):
        self.tokens += PROMPT
        await super()._answer(writer, prompt)

    def _write(self, writer, data):
        if data == b"data: [DONE]\n\n":
            usage = {"prompt_tokens": PROMPT, "completion_tokens": CHUNKS, "total_tokens": PROMPT + CHUNKS}
            chunk = {
                "id": "c",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "plug",
                "choices": [],
            }
            super()._write(writer, b"data: %b\n\n" % json.dumps({**chunk, "usage": usage}).encode())
        super()._write(writer, data)


def gateway(directory, upstream, journal, **more):
    config = directory / "gateway.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in more.items()]
    config.write_text(
        "\n".join(
            [
                f'admin_keys = ["{ADMIN}"]',
                f'journal = "{journal}"',
                *lines,
                "[prices.plug]\ninput = 1.0\noutput = 1.0",
                f'[[upstream]]\nname = "plug"\nurl = "{upstream.url}"\nmodels = ["plug"]',
            ]
        )
    )
    return Node("--config", str(config))


async def ask(node, method, path, body=None, secret=ADMIN):
    async with Wire.to(urlsplit(node.url).port) as wire:
        wire.send(method, path, body, {"Authorization": f"Bearer {secret}", "Host": "localhost"})
        return await wire.answer()


async def begin(node):
    """Return a wire on which an answer is asked for, and the secret of a key with a budget."""
    body = {"name": "ci", "limits": {"usd_per_day": 10.0}}
    secret = (await ask(node, "POST", "/admin/keys", body)).json["secret"]
    return Wire.to(urlsplit(node.url).port), secret


def asking(wire, secret):
    body = {
        "model": "plug",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "max_tokens": 50,
    }
    headers = {"Authorization": f"Bearer {secret}", "Host": "localhost"}
    wire.send("POST", "/v1/chat/completions", body, headers)


async def spent(node):
    """Return what the key has spent, in tokens, of which each costs the same."""
    return round((await ask(node, "GET", "/admin/keys/ci")).json["spent"]["day"] * MILLION)


@pytest.fixture
async def upstream():
    async with limit(), Counting() as counting:
        yield counting


async def test_killed_when_a_response_has_ended_and_is_not_settled(tmp_path, upstream):
    node = gateway(tmp_path, upstream, f"sqlite:///{tmp_path}/j.sqlite")
    try:
        await node.start()
        connecting, secret = await begin(node)
        async with connecting as wire:
            asking(wire, secret)
            answer = await wire.answer()
            await node.signal(signal.SIGKILL)
        assert answer.events[-1][0] == "[DONE]"
        await node.start()
        assert await spent(node) == upstream.tokens == PROMPT + CHUNKS
        await node.signal(signal.SIGKILL)
        await node.start()
        assert await spent(node) == upstream.tokens, "it is settled once"
    finally:
        await node.kill()


async def test_killed_in_the_middle_of_a_response(tmp_path, upstream):
    node = gateway(tmp_path, upstream, f"sqlite:///{tmp_path}/j.sqlite")
    try:
        await node.start()
        connecting, secret = await begin(node)
        upstream.stops_after = 3
        async with connecting as wire:
            asking(wire, secret)
            head = await wire.head()
            read = b""
            while read.count(b'"content"') < 4:  # so many pieces are kept
                read += await wire.frame()
            await node.signal(signal.SIGKILL)
        await node.start()
        path = urlsplit(head.headers["location"]).path + "/events"
        rest = await ask(node, "GET", path, None, secret)
        assert rest.complete
        async with limit():
            while (found := await spent(node)) != upstream.tokens:  # noqa: ASYNC110  # nothing tells of it
                await asyncio.sleep(0)
        assert found == (PROMPT + 4) + (PROMPT + CHUNKS)
    finally:
        await node.kill()
