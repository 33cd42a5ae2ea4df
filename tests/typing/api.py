"""The public surface as type checkers see it; nothing here is run. mypy and pyright must both find it right.

What must be refused stands behind an ignore with its code: where a checker accepts it, the ignore is one too many.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from io import StringIO
from typing import assert_type

import httpx2
import openai

import everytoken
from everytoken.errors import RecoveryExhaustedError

policy = everytoken.Policy(connect=10, first_content=30.0, content_gap=30, attempts=3)
everytoken.Policy(content_gap="30")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

client = everytoken.Client(
    policy=policy, timeout=10, headers={"x": "1"}, http2=True, proxy="http://proxy:3128"
)
async_client = everytoken.AsyncClient(policy=policy, verify=ssl.create_default_context(), trust_env=False)
everytoken.Client()
everytoken.Client(transport=httpx2.HTTPTransport(retries=1), limits=httpx2.Limits(max_connections=5))
everytoken.AsyncClient(transport=httpx2.AsyncHTTPTransport(), follow_redirects=True)
everytoken.Client(polcy=policy)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
everytoken.Client(transport=httpx2.AsyncHTTPTransport())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

as_given: httpx2.Client = client
as_given_too: httpx2.AsyncClient = async_client
sdk = openai.OpenAI(http_client=client)
async_sdk = openai.AsyncOpenAI(http_client=async_client)


def synchronous() -> None:
    stream = sdk.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    assert_type(everytoken.words(stream), Iterator[str])
    assert_type(everytoken.words(["a"], hold=0.1), Iterator[str])
    assert_type(everytoken.show(stream), str)
    assert_type(everytoken.show(["a"], file=StringIO()), str)
    with everytoken.Client() as entered:
        assert_type(entered, everytoken.Client)


async def asynchronous() -> None:
    stream = await async_sdk.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "Hello"}], stream=True
    )
    assert_type(everytoken.words(stream), AsyncIterator[str])
    assert_type(await everytoken.show(stream), str)
    async with everytoken.AsyncClient() as entered:
        assert_type(entered, everytoken.AsyncClient)


def errors(error: everytoken.EverytokenError) -> None:
    assert_type(error.code, str)
    assert_type(error.retryable, bool)
    assert_type(error.message, str)
    if isinstance(error, RecoveryExhaustedError):
        assert_type(error.attempts, tuple[everytoken.EverytokenError, ...])


assert_type(everytoken.__version__, str)
