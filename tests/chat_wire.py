"""Chunks of chat completions on the wire, and what the decoder makes of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from everytoken.sse import ServerSentEvent

if TYPE_CHECKING:
    from everytoken.dialects.openai_chat import ChatDecoder, Chunk


def event(data: Any, name: str = "message") -> ServerSentEvent:
    return ServerSentEvent(event=name, data=data if isinstance(data, str) else json.dumps(data))


def chunk_of(delta: Any = None, finish: Any = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **fields,
    }


HELLO = chunk_of({"content": "Hello"})


STOP = chunk_of(finish="stop")


def receive(decoder: ChatDecoder, *items: Any) -> list[Chunk | None]:
    return [
        decoder.receive_event(item if isinstance(item, ServerSentEvent) else event(item)) for item in items
    ]
