"""Messages as Anthropic's API streams them, event by event, in the words of its documentation and of real answers."""

from __future__ import annotations

import json
from typing import Any

ASK = {
    "model": "claude",
    "max_tokens": 512,
    "stream": True,
    "messages": [{"role": "user", "content": "Explain."}],
}
USAGE = {"input_tokens": 25, "cache_read_input_tokens": 7, "output_tokens": 1, "service_tier": "standard"}


def start(**more: Any) -> dict[str, Any]:
    message = {"id": "msg_01", "type": "message", "role": "assistant", "model": "claude-x", "content": []}
    rest = {"stop_reason": None, "stop_sequence": None, "usage": USAGE}
    return {"type": "message_start", "message": {**message, **rest, **more}}


def begin(index: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **more}}


def delta(index: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **more}}


def texts(index: int, *parts: str) -> list[dict[str, Any]]:
    return [delta(index, "text_delta", text=part) for part in parts]


def inputs(index: int, *parts: str) -> list[dict[str, Any]]:
    return [delta(index, "input_json_delta", partial_json=part) for part in parts]


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def end(reason: str = "end_turn", tokens: int = 15, **more: Any) -> list[dict[str, Any]]:
    told = {"stop_reason": reason, "stop_sequence": None, **more}
    return [
        {"type": "message_delta", "delta": told, "usage": {"output_tokens": tokens}},
        {"type": "message_stop"},
    ]


PING = {"type": "ping"}
CITATION = {
    "type": "char_location",
    "cited_text": "The grass is green.",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 20,
}
RESULT = {
    "type": "web_search_result",
    "title": "Weather",
    "url": "https://example.com/a",
    "encrypted_content": "EqgfCioIARgBIiQ3YTAwMjY1Mi1mZjM5LTQ1NGUtODgxNC1kNjNjNTk1ZWI3Y",
    "page_age": None,
}

STREAMS: dict[str, list[dict[str, Any]]] = {
    "text": [start(), begin(0, "text", text=""), PING, *texts(0, "Hello", " wörld", ", 文字 👍🏽", ".\n"), stop(0), *end()],
    "thinking": [
        start(),
        begin(0, "thinking", thinking="", signature=""),
        delta(0, "thinking_delta", thinking="Let me see. "),
        PING,
        delta(0, "thinking_delta", thinking="27 × 453."),
        delta(0, "signature_delta", signature="EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"),
        stop(0),
        begin(1, "text", text=""),
        *texts(1, "27 × 453", " = 12,231"),
        stop(1),
        *end(),
    ],
    "hidden thinking": [
        start(),
        begin(0, "thinking", thinking="", signature=""),
        delta(0, "signature_delta", signature="EqQBCgIYAhIM1gbcDa9GJw"),
        stop(0),
        begin(1, "redacted_thinking", data="EmwKAhgBEgy3va3pzix/LafPsn4aDFIT2Xlxh0L5L8rLVyIwxtE3rAFBa8cr3qpP"),
        stop(1),
        begin(2, "text", text=""),
        *texts(2, "Done", "."),
        stop(2),
        *end(),
    ],
    "tool": [
        start(),
        begin(0, "text", text=""),
        *texts(0, "Okay", ", let me", " look."),
        stop(0),
        begin(1, "tool_use", id="toolu_01", name="get_weather", input={}),
        *inputs(1, "", '{"loca', 'tion": "San Fra', 'ncisco, CA", "days": 3}'),
        stop(1),
        *end("tool_use", 89),
    ],
    "two tools": [
        start(),
        begin(0, "tool_use", id="toolu_01", name="read", input={}),
        *inputs(0, "", '{"path":', ' "a"}'),
        stop(0),
        begin(1, "tool_use", id="toolu_02", name="read", input={}),
        *inputs(1, '{"path": "', 'b"}'),
        stop(1),
        *end("tool_use"),
    ],
    "citations": [
        start(),
        begin(0, "text", text=""),
        *texts(0, "According to the document, "),
        stop(0),
        begin(1, "text", text="", citations=[]),
        delta(1, "citations_delta", citation=CITATION),
        delta(1, "citations_delta", citation={**CITATION, "start_char_index": 20, "end_char_index": 30}),
        *texts(1, "the grass", " is green"),
        stop(1),
        begin(2, "text", text=""),
        *texts(2, "."),
        stop(2),
        *end(),
    ],
    "server tool": [
        start(),
        begin(0, "text", text=""),
        *texts(0, "I'll search."),
        stop(0),
        begin(1, "server_tool_use", id="srvtoolu_01", name="web_search", input={}),
        *inputs(1, "", '{"query"', ': "weather"}'),
        stop(1),
        begin(2, "web_search_tool_result", tool_use_id="srvtoolu_01", content=[RESULT, {**RESULT, "title": "More"}]),
        stop(2),
        begin(3, "text", text=""),
        *texts(3, "It is ", "sunny."),
        stop(3),
        *end("pause_turn", 510, container={"id": "c_1", "expires_at": "2026-11-28T00:00:00Z"}),
    ],
    "what comes next year": [
        start(),
        begin(0, "compaction", content=None),
        delta(0, "compaction_delta", content="Before: "),
        delta(0, "compaction_delta", content="nothing."),
        stop(0),
        {"type": "message_note", "note": {"about": "the block"}},
        begin(1, "text", text=""),
        *texts(1, "One ", "two."),
        stop(1),
        *end("refusal"),
    ],
    "nothing": [start(), *end("end_turn", 2)],
    "length": [start(), begin(0, "text", text=""), *texts(0, "One", " two"), stop(0), *end("max_tokens")],
}  # fmt: skip


def encoded(events: list[dict[str, Any]]) -> list[bytes]:
    """Return the bytes of each event."""
    return [
        f"event: {event.get('type', 'message')}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
        for event in events
    ]


def visible(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what a reader gets of events."""
    return [event for event in events if event["type"] != "ping"]


def again(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the same message as another attempt sends it: other ids, the texts in other pieces."""
    renamed = json.loads(json.dumps(events).replace("msg_01", "msg_02").replace("toolu_0", "toolu_9"))
    joined: list[dict[str, Any]] = []
    for event in renamed:
        last = joined[-1] if joined else event
        fields = [name for name in ("text", "thinking", "partial_json") if name in event.get("delta", ())]
        if fields and last["type"] == event["type"] and last["delta"]["type"] == event["delta"]["type"]:
            last["delta"][fields[0]] += event["delta"][fields[0]]
        elif event != PING:
            joined.append(event)
    return joined
