"""What one long response costs in memory: no more than recovery can use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.gateway_serving import HELLO, ManualUpstream, Wire, serving

from everytoken.dialects.openai_chat.dialect import OPENAI_CHAT
from everytoken.recovery import transcript
from everytoken.recovery.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Callable


def _call(text: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": text}}]}


DELTAS: dict[str, Callable[[str], dict[str, Any]]] = {
    "text": lambda text: {"content": text},
    "reasoning": lambda text: {"reasoning_content": text},
    "refusal": lambda text: {"refusal": text},
    "tool call": _call,
    "function call": lambda text: {"function_call": {"name": "f", "arguments": text}},
}


@pytest.mark.parametrize("kind", DELTAS)
def test_a_transcript_is_bounded_whatever_an_upstream_sends(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript, "LIMIT", 10_000)
    kept = Transcript(OPENAI_CHAT)
    record = msgspec.json.encode({"choices": [{"index": 0, "delta": DELTAS[kind]("x" * 1000)}]})
    for number in range(200):
        assert kept.add(kept.history.read(record))
        assert kept.chunks == number + 1
        assert len(kept.text) + sum(len(text) for _, _, text in kept.texts()) <= 12_000
    assert kept.long


def test_tool_calls_without_any_text_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcript, "LIMIT", 10_000)
    kept = Transcript(OPENAI_CHAT)
    for number in range(1000):
        delta = {"tool_calls": [{"index": number, "id": f"c{number}", "function": {"name": "f"}}]}
        kept.add(kept.history.read(msgspec.json.encode({"choices": [{"index": 0, "delta": delta}]})))
        assert len(list(kept.texts())) <= 40
    assert kept.long


async def test_what_is_too_long_to_compare_is_interrupted_and_never_spliced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transcript, "LIMIT", 100)
    upstream = ManualUpstream()
    async with serving(upstream) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("x" * 60, "y" * 60)
        head = await wire.head()
        attempt.sink.on_eof()
        answer = await wire.rest(head)
        assert "[DONE]" not in answer.body.decode()
        assert answer.text == "x" * 60 + "y" * 60
        assert "too long to be compared" in answer.body.decode()
        assert len(upstream.attempts) == 1
