"""The scripted upstream in Anthropic's Messages, as the official SDK reads it, and what it refuses."""

from __future__ import annotations

import anthropic
import pytest

from everytoken.testing import Answer, ScriptedUpstream, ToolCall

ASK = {"model": "m", "max_tokens": 4096, "messages": [{"role": "user", "content": "Hi you"}]}


def sdk(upstream: ScriptedUpstream) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(
        base_url=upstream.base_url.removesuffix("/v1"), api_key="any", max_retries=0
    )


def after(text: str) -> dict[str, object]:
    return {**ASK, "messages": [*ASK["messages"], {"role": "assistant", "content": text}]}


ANSWER = Answer(
    "Let me look.",
    reasoning="Hm, weather.",
    tool_calls=(ToolCall("look", '{"at": ["sky"]}', "t1"), ToolCall("wait", "", "t2")),
)


async def test_the_whole_message_is_the_streamed_one():
    async with ScriptedUpstream(ANSWER) as upstream, sdk(upstream) as client:
        async with client.messages.stream(**ASK) as stream:
            streamed = (await stream.get_final_message()).to_dict()
        whole = (await client.messages.create(**ASK)).to_dict()
    streamed["content"][2].pop("id")
    streamed["content"][3].pop("id")
    for block in whole["content"][2:]:
        block.pop("id")
    assert streamed["content"] == whole["content"]
    assert (streamed["stop_reason"], streamed["usage"]) == (whole["stop_reason"], whole["usage"])
    assert [block["type"] for block in whole["content"]] == ["thinking", "text", "tool_use", "tool_use"]
    assert whole["content"][2]["input"] == {"at": ["sky"]}
    assert whole["content"][3]["input"] == {}
    assert whole["usage"]["input_tokens"] == 2


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer("Hi"), "end_turn"),
        (Answer("Hi", refusal="I will not."), "refusal"),
        (Answer("Hi", finish_reason="pause_turn"), "pause_turn"),
        (Answer(""), "end_turn"),
    ],
)
async def test_how_it_ends(answer, reason):
    async with ScriptedUpstream(answer) as upstream, sdk(upstream) as client:
        async with client.messages.stream(**ASK) as stream:
            assert (await stream.get_final_message()).stop_reason == reason
        cut = await client.messages.create(**{**ASK, "max_tokens": 1})
    assert cut.stop_reason == ("max_tokens" if len(answer.tokens) > 1 else reason)


async def test_it_continues_a_prefill_as_the_api_does():
    text = "One two three."
    async with ScriptedUpstream(Answer(text)) as upstream, sdk(upstream) as client:
        assert (await client.messages.create(**after("One two"))).content[0].text == " three."
        parts = [{"type": "text", "text": "One"}, {"type": "text", "text": " two"}]
        assert (await client.messages.create(**after(parts))).content[0].text == " three."
        with pytest.raises(anthropic.BadRequestError, match="trailing whitespace"):
            await client.messages.create(**after("One "))
        thinking = {"type": "enabled", "budget_tokens": 1024}
        with pytest.raises(anthropic.BadRequestError, match="thinking"):
            await client.messages.create(thinking=thinking, **after("One"))
        assert (await client.messages.count_tokens(model="m", messages=ASK["messages"])).input_tokens == 2
    async with ScriptedUpstream(Answer(text, prefill="refuse")) as upstream, sdk(upstream) as client:
        with pytest.raises(anthropic.BadRequestError, match="prefill"):
            await client.messages.create(**after("One"))
    async with ScriptedUpstream(Answer(text, prefill="restart")) as upstream, sdk(upstream) as client:
        assert (await client.messages.create(**after("One"))).content[0].text == text
