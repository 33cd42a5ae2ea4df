"""Who is asked: the gateway in a process of its own, the Python client, and the plain SDK."""

from __future__ import annotations

import asyncio
import ssl
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai

import everytoken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONTEXT = ssl.create_default_context()
_STARTING = asyncio.Semaphore(2)  # more at once only wait for each other


def sdk(url: str, http_client: Any = None) -> openai.AsyncOpenAI:
    """Return the SDK with its own retries."""
    http_client = http_client or openai.DefaultAsyncHttpxClient(verify=CONTEXT, trust_env=False)
    return openai.AsyncOpenAI(base_url=url, api_key="bench", http_client=http_client)


@asynccontextmanager
async def plain(primary: str, _: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """The SDK by itself, which knows the primary only."""
    async with sdk(primary) as client:
        yield client


@asynccontextmanager
async def client(primary: str, fallback: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """`everytoken.AsyncClient` under the SDK."""
    others = [everytoken.Upstream(url=fallback)]
    async with sdk(
        primary, everytoken.AsyncClient(upstreams=others, verify=CONTEXT, trust_env=False)
    ) as asked:
        yield asked


@asynccontextmanager
async def gateway(primary: str, fallback: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """`everytoken serve` on its defaults, but for a journal in memory."""
    program = str(Path(sys.executable).with_name("everytoken"))
    options = ["--port", "0", "--journal", "memory", "--upstream", primary, "--upstream", fallback]
    async with _STARTING:
        process = await asyncio.create_subprocess_exec(
            program, "serve", *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert process.stdout
        line = (await process.stdout.readline()).decode()
    try:
        url = next(word for word in line.split() if word.startswith("http"))
        async with sdk(url.rstrip("/") + "/v1") as asked:
            yield asked
    finally:
        process.terminate()
        await process.wait()


CONTENDERS = {"gateway": gateway, "AsyncClient": client, "openai SDK": plain}
