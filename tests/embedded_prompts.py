"""How long the embedded model's answers are to what people try first: `python tests/embedded_prompts.py` prints a table."""

from __future__ import annotations

import asyncio
import statistics
import sys
from typing import TYPE_CHECKING, NamedTuple

import httpx2

from everytoken.upstream.local import LocalModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

PROMPTS = (
    "hi",
    "What is 2+2",
    "Explain transformers",
    "Explain transformers in one paragraph",
    "Write a poem about the sea",
    "Write a Python function that reverses a string",
    "Tell me a joke",
    "Who are you?",
    "What is the capital of France?",
    "Write a short story about a robot",
    "How do I make pasta?",
    "List ten animals",
    "Summarize the plot of Romeo and Juliet",
    "Translate 'good morning' to Spanish",
    "Erkläre mir, was ein Computer ist.",
    "用中文介绍一下北京",
    "What is the meaning of life?",
    "Give me a recipe for pancakes",
    "How does the internet work?",
    "Write a haiku about autumn",
)
_LIMIT = 600.0  # seconds for an answer on a busy machine


class Measured(NamedTuple):
    """One answer: its length in tokens, and why it ended."""

    prompt: str
    seed: int
    tokens: int
    finish_reason: str
    text: str


async def measured(prompts: Sequence[str], seeds: Sequence[int]) -> AsyncIterator[Measured]:
    """Ask every prompt with every seed and nothing else, one after the other."""
    async with (
        LocalModel(parallel=1) as model,
        httpx2.AsyncClient(
            base_url=model.endpoint.base_url,
            headers={"authorization": f"Bearer {model.endpoint.api_key}"},
            timeout=_LIMIT,
            trust_env=False,
        ) as client,
    ):
        for seed in seeds:
            for prompt in prompts:
                body = {"messages": [{"role": "user", "content": prompt}], "seed": seed}
                answer = (await client.post("/chat/completions", json=body)).json()
                [choice] = answer["choices"]
                tokens = answer["usage"]["completion_tokens"]
                yield Measured(prompt, seed, tokens, choice["finish_reason"], choice["message"]["content"])


async def main(seeds: Sequence[int]) -> None:
    """Print each length as it is known, and the median in the end."""
    lengths = []
    async for one in measured(PROMPTS, seeds):
        lengths.append(one.tokens)
        sys.stdout.write(f"| {one.prompt} | {one.tokens} | {one.finish_reason} |\n")
        sys.stdout.flush()
    sys.stdout.write(f"median {statistics.median(lengths):g}, longest {max(lengths)}, of {len(lengths)}\n")


if __name__ == "__main__":
    asyncio.run(main([int(seed) for seed in sys.argv[1:]] or [1]))
