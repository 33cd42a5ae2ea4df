"""A finished completion taken apart into chunks, and joined again."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from chat_joined import joined
from everytoken.dialects.openai_chat import chunks_of

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


some_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


entries = st.fixed_dictionaries(
    {"token": texts, "logprob": st.floats(-9, 0), "bytes": st.just([120]), "top_logprobs": st.just([])}
)


@st.composite
def completions(draw: st.DrawFn) -> dict[str, Any]:
    """Answers as OpenAI and its followers give them when not streaming."""
    choices = []
    for index in range(draw(st.integers(1, 3))):
        calls = draw(st.lists(st.tuples(some_text, texts), max_size=3))
        message: dict[str, Any] = {"role": "assistant", "content": None if calls else draw(texts)}
        message |= draw(st.fixed_dictionaries({}, optional={"refusal": st.none(), "reasoning_content": some_text, "reasoning": some_text, "thought": some_text}))  # fmt: skip
        if calls:
            message["tool_calls"] = [
                {
                    "id": f"call_{number}",
                    "type": "function",
                    "function": {"name": name, "arguments": arguments},
                }
                for number, (name, arguments) in enumerate(calls)
            ]
        choice = {
            "index": index,
            "message": message,
            "finish_reason": draw(st.sampled_from(["stop", "length"])),
        }
        choice |= draw(st.fixed_dictionaries({}, optional={"logprobs": st.none() | st.fixed_dictionaries({"content": st.lists(entries, max_size=2), "refusal": st.none()})}))  # fmt: skip
        choices.append(choice)
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": choices}
    usage = st.just({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    optional = {"usage": usage, "system_fingerprint": st.none() | texts, "service_tier": st.just("default")}
    return whole | draw(st.fixed_dictionaries({}, optional=optional | {"timings": st.just({"a": 1})}))


@given(completions())
def test_an_answer_taken_apart_and_joined_is_the_same(completion: dict[str, Any]):
    before = json.dumps(completion)
    chunks = chunks_of(completion)
    assert json.dumps(completion) == before, "chunks_of changed its argument"
    assert joined(*chunks) == completion
    for chunk in chunks:
        ChatCompletionChunk.model_validate_json(chunk, strict=True)
    ChatCompletion.model_validate(joined(*chunks), strict=True)


@given(completions(), st.data())
def test_a_text_is_the_same_however_it_is_cut_into_deltas(completion: dict[str, Any], data: st.DataObject):
    chunks = []
    for chunk in map(json.loads, chunks_of(completion)):
        text = chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None
        cut = data.draw(st.integers(0, len(text or "")))
        if not cut:
            chunks.append(chunk)
            continue
        first = {
            "index": chunk["choices"][0]["index"],
            "delta": {"content": text[:cut]},
            "finish_reason": None,
        }
        chunk["choices"][0]["delta"]["content"] = text[cut:]
        chunks += [{**chunk, "choices": [first]}, chunk]
    assert joined(*chunks) == completion


def test_an_answer_without_a_finish_reason_gets_none():
    completion = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}}]}
    assert joined(*chunks_of(completion))["choices"][0]["finish_reason"] is None


def test_an_answer_without_choices_keeps_its_fields():
    assert joined(*chunks_of({"id": "a", "choices": [], "timings": 1}))["timings"] == 1


def test_chunks_of_an_answer_with_half_a_surrogate_pair_are_json():
    (chunk,) = chunks_of({"choices": [{"index": 0, "message": {"content": "\ud83d"}}]})
    assert json.loads(chunk)["choices"][0]["delta"]["content"] == "\ud83d"
