"""Chats of the AI SDK at a gateway."""

from __future__ import annotations

import asyncio
import json

from everytoken.gateway.chats import Chat
from gateway_serving import limit


def body(*texts, chat="c1", **more):
    roles = ("user", "assistant")
    messages = [
        {"id": f"m{n}", "role": roles[n % 2], "parts": [{"type": "text", "text": text}]}
        for n, text in enumerate(texts or ("Hello",))
    ]
    return {"id": chat, "messages": messages, "trigger": "submit-message", "model": "m", **more}


def chunks(answer):
    return [json.loads(data) for data, _ in answer.events if data != "[DONE]"]


def text_of(found):
    return "".join(chunk["delta"] for chunk in found if chunk["type"] == "text-delta")


async def begun(upstream, wire, request=None, number=0, headers=None):
    """Ask and have the upstream accept; return its attempt and the answer's head."""
    wire.send("POST", "/api/chat", request or body(), headers)
    attempt = await upstream.attempt(number)
    attempt.accept()
    return attempt, await wire.head()


async def until(wire, text):
    """Read until `text` has come."""
    found = b""
    async with limit():
        while text.encode() not in found:
            found += await wire.frame()
    return found


async def until_left(relay):
    """Wait until the gateway knows that the reader has gone."""
    async with limit():
        while relay.readers.count:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)


def chat(journal, owner=""):
    return Chat(journal, "c1", owner=owner, retention=60)
