"""What real and documented upstreams send, read from bytes to the finished message."""

from __future__ import annotations

import base64
import json
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from everytoken.dialects.openai_chat import Accumulator, ChatDecoder, chunks_of
from everytoken.errors import ErrorEventError, EverytokenError, MalformedEventError, TruncatedError
from everytoken.sse import SSEDecoder

FIXTURES = Path(__file__).parents[2] / "fixtures" / "upstreams"
DOCUMENTED = yaml.safe_load((FIXTURES / "documented.yaml").read_text(encoding="utf-8"))
RECORDED = sorted(FIXTURES.glob("*.jsonl"))
ENDINGS = {ErrorEventError: "error", MalformedEventError: "malformed", TruncatedError: "truncated"}


class Read(NamedTuple):
    records: list[str]
    ending: str
    decoder: ChatDecoder


def read(reads: list[bytes], choices: int = 1) -> Read:
    """Read a stream as an upstream shell does."""
    decoder, records = ChatDecoder(choices=choices), []
    sse = SSEDecoder()
    try:
        for event in chain.from_iterable(map(sse.receive_data, reads)):
            if decoder.receive_event(event) is not None:
                records += [event.data]
        decoder.receive_eof()
    except EverytokenError as error:
        return Read(records, ENDINGS[type(error)], decoder)
    return Read(records, "completed", decoder)


def joined(records: list[str]) -> dict[str, Any]:
    accumulator = Accumulator()
    for record in records:
        accumulator.add(record)
    return accumulator.message()


def text_of(message: dict[str, Any]) -> str:
    content = message["content"] or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def load(path: Path) -> tuple[dict[str, Any], list[bytes]]:
    head, *reads = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return head, [base64.b64decode(item["data"]) for item in reads]


@pytest.mark.parametrize("case", DOCUMENTED, ids=lambda case: case["name"])
def test_a_documented_stream(case: dict[str, Any]):
    found = read([case["input"].encode()], case.get("choices", 1))
    assert found.ending == case["ending"]
    if case["text"] is None:
        assert found.records == []
        return
    whole = joined(found.records)
    choice = whole["choices"][0]
    assert text_of(choice["message"]) == case["text"]
    # A reason by which the upstream broke off raises before its chunk is passed on.
    assert choice["finish_reason"] == case["finish"]
    message = choice["message"]
    assert (message.get("reasoning_content") or message.get("reasoning")) == case.get("reasoning")
    calls = [
        [call["function"]["name"], call["function"]["arguments"]] for call in message.get("tool_calls", ())
    ]
    assert calls == case.get("calls", [])
    if "usage" in case:
        assert found.decoder.usage["total_tokens"] == whole["usage"]["total_tokens"] == case["usage"]


@pytest.mark.parametrize("case", DOCUMENTED, ids=lambda case: case["name"])
def test_a_documented_stream_cut_at_any_event_is_complete_only_behind_its_end(case: dict[str, Any]):
    events = case["input"].encode().split(b"\n\n")
    for kept in range(len(events)):
        found = read([b"\n\n".join(events[:kept]) + b"\n\n"], case.get("choices", 1))
        if found.ending == "completed":
            assert case["ending"] == "completed"
            assert joined(found.records)["choices"][0]["finish_reason"] == case["finish"]


STREAMED = [
    path for path in RECORDED if load(path)[0]["request"].get("stream") and load(path)[0]["status"] == 200
]


@pytest.mark.parametrize("path", STREAMED, ids=lambda path: path.stem)
def test_a_recorded_stream_is_read_whole(path: Path):
    head, reads = load(path)
    choices = head["request"].get("n", 1)
    found = read(reads, choices)
    assert found.ending == "completed"
    assert found.decoder.done
    whole = joined(found.records)
    assert len(whole["choices"]) == choices
    assert ChatCompletion.model_validate(whole, strict=True).choices[0].message.content
    for record in found.records:
        ChatCompletionChunk.model_validate_json(record)
    limit = head["request"]["max_tokens"]
    if usage := whole.get("usage"):
        assert 0 < usage["completion_tokens"] <= limit
    if head["request"].get("logprobs"):
        assert len(whole["choices"][0]["logprobs"]["content"]) == limit
    assert joined([chunk.decode() for chunk in chunks_of(whole)]) == whole


@pytest.mark.parametrize("path", STREAMED, ids=lambda path: path.stem)
def test_a_recorded_stream_reads_the_same_however_it_is_split(path: Path):
    head, reads = load(path)
    data, choices = b"".join(reads), head["request"].get("n", 1)
    whole = read([data], choices).records
    assert read(reads, choices).records == whole
    for size in (1, 7, 997):
        assert (
            read([data[start : start + size] for start in range(0, len(data), size)], choices).records
            == whole
        )


@pytest.mark.parametrize("path", STREAMED, ids=lambda path: path.stem)
def test_a_recorded_stream_cut_before_its_end_is_truncated(path: Path):
    head, reads = load(path)
    data, choices = b"".join(reads), head["request"].get("n", 1)
    events = data.split(b"\n\n")
    last = max(number for number, event in enumerate(events) if b'"finish_reason":"' in event)
    for kept in range(last + 1):
        assert read([b"\n\n".join(events[:kept]) + b"\n\n"], choices).ending == "truncated"
    assert read([b"\n\n".join(events[: last + 1]) + b"\n\n"], choices).ending == "completed"


def test_an_answer_that_was_not_streamed_is_the_same_as_chunks():
    _, reads = load(FIXTURES / "llamacpp-not-streamed.jsonl")
    whole = json.loads(b"".join(reads))
    assert joined([chunk.decode() for chunk in chunks_of(whole)]) == whole


def test_every_recording_is_small_and_of_this_form():
    assert len(RECORDED) >= 8
    for path in RECORDED:
        head, reads = load(path)
        assert head.keys() == {"name", "server", "request", "status", "headers"}
        assert all(reads)
        assert path.stat().st_size < 100_000
