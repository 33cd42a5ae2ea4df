"""Who is asked: the gateway in a process of its own, the Python client, LiteLLM's proxy, and the plain SDK."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai

import everytoken
from bench.faults.cases import healthy
from bench.faults.provider import Provider
from bench.peers import python_of
from bench.processes import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONTEXT = ssl.create_default_context()
_STARTING = asyncio.Semaphore(2)  # more at once only wait for each other
_PEER_STARTING = asyncio.Semaphore(1)  # each takes all of a core for many seconds
_PEERS = asyncio.Semaphore(6)  # at a time: each takes some hundred MB
_PEER_READY = 120.0  # seconds


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
    """`everytoken serve` on its defaults: its journal is a SQLite file in the user's data directory, here a new one."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        async with _serve(primary, fallback, environment={"XDG_DATA_HOME": directory}) as asked:
            yield asked


@asynccontextmanager
async def in_memory(primary: str, fallback: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """The same with its journal in memory."""
    async with _serve(primary, fallback, "--journal", "memory") as asked:
        yield asked


@asynccontextmanager
async def litellm(primary: str, fallback: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """LiteLLM's proxy with retries and fallbacks as its documentation shows them, and everything else as it comes."""
    async with _PEERS, AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        warm = await stack.enter_async_context(Provider(healthy))
        config = _configuration(Path(directory), primary, fallback, warm.url)
        port = free_port()
        program = str(Path(python_of("litellm")).with_name("litellm"))
        options = f"--host 127.0.0.1 --port {port} --num_workers 1 --telemetry False --config {config}"
        async with _PEER_STARTING:
            process = await asyncio.create_subprocess_exec(
                program,
                *options.split(),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                cwd=directory,
                env=os.environ | {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            )
            stack.push_async_callback(process.wait)
            stack.callback(process.kill)
            await _listens(port, process)
            asked = await stack.enter_async_context(sdk(f"http://127.0.0.1:{port}/v1"))
            await _warm(asked)
        yield asked


_LITELLM = """model_list:
  - model_name: m
    litellm_params: {{model: openai/m, api_base: "{primary}", api_key: bench}}
  - model_name: spare
    litellm_params: {{model: openai/m, api_base: "{fallback}", api_key: bench}}
  - model_name: warm
    litellm_params: {{model: openai/m, api_base: "{warm}", api_key: bench}}
litellm_settings:
  num_retries: 2
  fallbacks: [{{"m": ["spare"]}}]
  context_window_fallbacks: [{{"m": ["spare"]}}]
general_settings: {{disable_spend_logs: true, dangerously_permit_weak_or_unset_master_key: true}}
"""


async def _warm(asked: openai.AsyncOpenAI) -> None:
    """Ask a model of its own first: the first answer after a start is late, and that is not what is measured."""
    stream = await asked.chat.completions.create(
        model="warm", messages=[{"role": "user", "content": "Say it."}], stream=True
    )
    async for _ in stream:
        pass


def _configuration(directory: Path, primary: str, fallback: str, warm: str) -> Path:
    config = directory / "config.yaml"
    text = _LITELLM.format(primary=primary, fallback=fallback, warm=warm)
    config.write_text(text, encoding="utf-8")
    return config


async def _listens(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_PEER_READY):
        while True:
            assert process.returncode is None, "it does not start"
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.2)
                continue
            writer.close()
            return


@asynccontextmanager
async def _serve(
    primary: str, fallback: str, *more: str, environment: dict[str, str] | None = None
) -> AsyncIterator[openai.AsyncOpenAI]:
    program = str(Path(sys.executable).with_name("everytoken"))
    options = ["--port", "0", "--upstream", primary, "--upstream", fallback, *more]
    async with _STARTING:
        process = await asyncio.create_subprocess_exec(
            program,
            "serve",
            *options,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=os.environ | (environment or {}),
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


CONTENDERS = {
    "gateway": gateway,
    "gateway, in memory": in_memory,
    "AsyncClient": client,
    "LiteLLM proxy": litellm,
    "openai SDK": plain,
}
