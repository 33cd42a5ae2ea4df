"""Streams of OpenAI's completions as servers send them; each attempt has an id of its own."""

from __future__ import annotations

import json
from typing import Any

PARTS = ["Once ", "upon a ", "time,\u2028", "文字 ", "👍🏽", " there\nwas."]
TEXT = "".join(PARTS)
USAGE = {"prompt_tokens": 3, "completion_tokens": 6, "total_tokens": 9}
ASK: dict[str, Any] = {"model": "m", "prompt": "Tell.", "stream": True}


def chunk(tag: str, text: str = "", finish: str | None = None, **more: Any) -> dict[str, Any]:
    head = {"id": f"cmpl-{tag}", "object": "text_completion", "created": ord(tag), "model": f"m-{tag}"}
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
    return {**head, "choices": [choice], **more}


def like_openai(tag: str, parts: list[str] = PARTS) -> list[dict[str, Any]]:
    """Usage in a chunk of its own, which is sent because we ask for it."""
    told = {**chunk(tag), "choices": [], "usage": USAGE}
    return [*(chunk(tag, part, usage=None) for part in parts), chunk(tag, "", "stop"), told]


def like_vllm(tag: str, parts: list[str] = PARTS) -> list[dict[str, Any]]:
    """The finish reason comes with the last piece, and choices have more fields."""
    told = [chunk(tag, part, "length" if part is parts[-1] else None) for part in parts]
    for one in told:
        one["choices"][0].update(stop_reason=None, token_ids=None, prompt_token_ids=None)
    return told


def like_llama(tag: str, parts: list[str] = PARTS) -> list[dict[str, Any]]:
    timings = {"predicted_n": 6, "predicted_ms": 1.5}
    last = chunk(tag, "", "stop", usage=USAGE, timings=timings)
    return [*(chunk(tag, part, system_fingerprint="b1") for part in parts), last]


STREAMS = {one.__name__: one for one in (like_openai, like_vllm, like_llama)}


def wire(chunks: list[dict[str, Any]]) -> list[bytes]:
    """Return the bytes of each event, the end mark too."""
    events = [f"data: {json.dumps(one, ensure_ascii=False)}\n\n".encode() for one in chunks]
    return [*events, b"data: [DONE]\n\n"]


def text_of(records: list[dict[str, Any]]) -> str:
    return "".join(choice["text"] for record in records for choice in record.get("choices", ()))


def finishes(records: list[dict[str, Any]]) -> list[str]:
    found = [choice["finish_reason"] for record in records for choice in record.get("choices", ())]
    return [reason for reason in found if reason]
