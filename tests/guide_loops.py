"""The guide's loops with only the construction of the client changed, and how they may end."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import openai

import everytoken
from everytoken.errors import EverytokenError

if TYPE_CHECKING:
    from collections.abc import Callable

    from everytoken.testing import ScriptedUpstream

MESSAGES: Any = [{"role": "user", "content": "Explain transformers"}]
# Reading the system's certificates for every test would take longer than the tests.
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
# Real sockets without virtual time: the upstream's seconds are shortened by as much.
SCALE = 100
# For a fault that is told at once: a busy machine has all the time that it needs.
PROMPT = everytoken.Policy(linger=0.05, backoff=0.005, retry_after_max=0.3)
# For a fault that is told by silence, and stays.
HASTY = everytoken.Policy(
    connect=0.3,
    first_content=0.12,
    content_gap=0.12,
    thinking=0.12,
    give_up=0.12,
    linger=0.05,
    backoff=0.005,
    retry_after_max=0.3,
)
# For one that an attempt which must succeed comes after.
MILD = msgspec.structs.replace(
    HASTY, connect=2.0, first_content=2.0, content_gap=2.0, thinking=2.0, give_up=2.0
)
PATIENT = everytoken.Policy(first_content=2.0, content_gap=1.0, linger=0.05)


async def shortened(seconds: float) -> None:
    await asyncio.sleep(seconds / SCALE)


@dataclass
class Outcome:
    """What came of a loop. `error` is what the SDK raised."""

    text: str
    error: Exception | None = None

    @property
    def cause(self) -> EverytokenError | None:
        """Ours, behind the SDK's and the HTTP client's."""
        cause = self.error and self.error.__cause__ and self.error.__cause__.__cause__
        assert cause is None or isinstance(cause, EverytokenError)
        return cause


def _content(chunk: Any) -> str:
    # The guide's `chunk.choices[0]`; one fault sends two choices in turn.
    choice = chunk.choices[0]
    return (choice.delta.content or "") if not choice.index else ""


def ignore(_content: str) -> None:
    """Process content in no way."""


def ask(
    base_url: str,
    policy: everytoken.Policy | None = None,
    process: Callable[[str], None] = ignore,
    transport: httpx2.BaseTransport | None = None,
    **options: Any,
) -> Outcome:
    with openai.OpenAI(
        base_url=base_url,
        api_key="secret",
        http_client=everytoken.Client(policy=policy, verify=CONTEXT, transport=transport),
        **options,
    ) as client:
        return loop(client, process)


def loop(client: openai.OpenAI, process: Callable[[str], None] = ignore) -> Outcome:
    """The guide's synchronous loop."""
    full_response = ""
    try:
        stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        for chunk in stream:
            content = _content(chunk)
            full_response += content
            process(content)
    except openai.OpenAIError as error:
        return Outcome(full_response, error)
    return Outcome(full_response)


def client_for(
    base_url: str,
    policy: everytoken.Policy | None = None,
    transport: httpx2.AsyncBaseTransport | None = None,
    **options: Any,
) -> openai.AsyncOpenAI:
    http_client = everytoken.AsyncClient(policy=policy, verify=CONTEXT, transport=transport)
    return openai.AsyncOpenAI(base_url=base_url, api_key="secret", http_client=http_client, **options)


async def ask_async(
    base_url: str,
    policy: everytoken.Policy | None = None,
    process: Callable[[str], None] = ignore,
    **options: Any,
) -> Outcome:
    async with client_for(base_url, policy, **options) as async_client:
        return await read(async_client, process)


async def read(async_client: openai.AsyncOpenAI, process: Callable[[str], None] = ignore) -> Outcome:
    """The guide's asynchronous loop."""
    full_response = ""
    try:
        stream = await async_client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        async for chunk in stream:
            content = _content(chunk)
            full_response += content
            process(content)
    except openai.OpenAIError as error:
        return Outcome(full_response, error)
    return Outcome(full_response)


def is_explicit(outcome: Outcome, upstream: ScriptedUpstream) -> bool:
    """Whether a loop that did not get everything was told so, with a true beginning of the answer."""
    if not upstream.text.startswith(outcome.text):
        return False
    if isinstance(outcome.error, openai.APIConnectionError):
        return outcome.cause is not None
    # The upstream's own refusal, before anything of an answer.
    return isinstance(outcome.error, openai.APIStatusError) and not outcome.text


async def _import_all() -> None:
    """Let the HTTP client import what it imports with its first connection: in a test that is a blocked event loop."""
    async with everytoken.AsyncClient(verify=CONTEXT) as client:
        with suppress(httpx2.ConnectError):
            await client.get("http://127.0.0.1:1")


asyncio.run(_import_all())
