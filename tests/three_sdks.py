"""An answer as the official SDK of each API gives it to its user, in one form."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import anthropic
import openai

QUESTION = "Explain transformers"
ASKS: dict[str, dict[str, Any]] = {
    "chat": {
        "model": "m",
        "messages": [{"role": "user", "content": QUESTION}],
        "stream_options": {"include_usage": True},
    },
    "messages": {"model": "m", "max_tokens": 4096, "messages": [{"role": "user", "content": QUESTION}]},
    "responses": {"model": "m", "input": QUESTION},
}
_FINISHED = {
    "stop": "stop",
    "end_turn": "stop",
    "completed": "stop",
    "tool_calls": "tools",
    "tool_use": "tools",
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
}


@dataclass
class Answered:
    """What a user of an SDK gets; `tokens` are those of the answer."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    finish: str = ""
    tokens: int = 0


async def ask(api: str, base_url: str, *, streamed: bool = True, **more: Any) -> Answered:
    """Ask a server at `base_url` (without `/v1`) as a caller of `api`."""
    body = {**ASKS[api], **more}
    if api == "messages":
        async with anthropic.AsyncAnthropic(base_url=base_url, api_key="sk-x", max_retries=0) as client:
            if not streamed:
                return _of_message(await client.messages.create(**body))
            async with client.messages.stream(**body) as stream:
                return _of_message(await stream.get_final_message())
    async with openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="sk-x", max_retries=0) as client:
        if api == "responses":
            if not streamed:
                return _of_response(await client.responses.create(**body))
            async with client.responses.stream(**body) as events:
                return _of_response(await events.get_final_response())
        if not streamed:
            body.pop("stream_options")
            completion = await client.chat.completions.create(**body)
            return _of_choice(completion.choices[0], completion.usage)
        async with client.chat.completions.stream(**body) as chunks:
            reasoning = ""
            async for event in chunks:
                if event.type == "chunk":
                    for choice in event.chunk.choices:
                        reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            completion = await chunks.get_final_completion()
        answered = _of_choice(completion.choices[0], completion.usage)
        answered.reasoning = reasoning
        return answered


def _of_choice(choice: Any, usage: Any) -> Answered:
    message = choice.message
    calls = [(one.function.name, _input(one.function.arguments)) for one in message.tool_calls or ()]
    reasoning = getattr(message, "reasoning_content", None) or ""
    finish = _FINISHED.get(choice.finish_reason, choice.finish_reason)
    return Answered(message.content or "", reasoning, calls, finish, usage.completion_tokens if usage else 0)


def _of_message(message: anthropic.types.Message) -> Answered:
    answered = Answered(finish=_FINISHED.get(str(message.stop_reason), str(message.stop_reason)))
    answered.tokens = message.usage.output_tokens
    for block in message.content:
        if block.type == "text":
            answered.text += block.text
        elif block.type == "thinking":
            answered.reasoning += block.thinking
        elif block.type == "tool_use":
            answered.calls.append((block.name, block.input))
    return answered


def _of_response(response: Any) -> Answered:
    answered = Answered(response.output_text, tokens=response.usage.output_tokens)
    for item in response.output:
        if item.type == "reasoning":
            parts = [*(item.content or ()), *(item.summary or ())]
            answered.reasoning += "".join(part.text for part in parts)
        elif item.type == "function_call":
            answered.calls.append((item.name, _input(item.arguments)))
    details = response.incomplete_details
    finish = details.reason if details is not None else response.status
    answered.finish = "tools" if answered.calls and finish == "completed" else _FINISHED.get(finish, finish)
    return answered


def _input(arguments: str) -> Any:
    return json.loads(arguments or "{}")
