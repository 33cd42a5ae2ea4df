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


# What no client could read as a chunk: a name, and the data of an event.
MALFORMED = [
    ("no JSON", "{"),
    ("a list", "[]"),
    ("a string", '"x"'),
    ("two objects", "{}{}"),
    ("NaN", '{"choices": [], "x": NaN}'),
    ("a bomb of arrays", '{"x":' + "[" * 100_000),
    ("a bomb of objects in error", '{"error":' + '{"error":' * 100_000),
    ("a closed bomb in usage", '{"usage":{"x":' + "[" * 100_000 + "]" * 100_000 + "}}"),
    ("choices that are no list", '{"choices": {"index": 0}}'),
    ("a choice that is null", '{"choices": [null]}'),
    ("a delta that is text", '{"choices": [{"delta": "x"}]}'),
    ("tool calls that are no list", '{"choices": [{"delta": {"tool_calls": {}}}]}'),
    ("a whole message in place of a delta", '{"choices": [{"message": {"content": "x"}}]}'),
    ("the text of another endpoint in place of a delta", '{"choices": [{"text": "x"}]}'),
]
