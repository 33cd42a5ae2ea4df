"""What a silent gateway is doing about an answer, for the line that says what is waited for."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from everytoken.cli.asking import Answer, ChatServer

__all__ = ["trouble", "watching"]

_EVERY = 1.0  # seconds


@asynccontextmanager
async def watching(server: ChatServer, answer: Answer) -> AsyncIterator[None]:
    """While an answer is read, ask about it whenever nothing has come for a second, and set its `trouble`."""
    if answer.stream is None:
        yield
        return
    task = asyncio.create_task(_watch(server, answer, answer.stream))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def trouble(attempts: Sequence[dict[str, Any]]) -> str:
    """Return what has happened to an answer that another attempt is to complete; "" while it is the first."""
    if len(attempts) < 2:
        return ""
    last = attempts[-1]
    causes = [attempt["cause"]["code"] for attempt in attempts[:-1] if attempt.get("cause")]
    if not causes:
        return f"the provider is silent: attempt {last['number']} runs beside it"
    at = f" at {last['upstream']}" if last.get("upstream") != attempts[-2].get("upstream") else ""
    return f"the provider was cut ({causes[-1]}): attempt {last['number']}{at}"


async def _watch(server: ChatServer, answer: Answer, stream: str) -> None:
    seen = -1
    while True:
        await asyncio.sleep(_EVERY)
        if answer.pieces != seen:
            seen, answer.trouble = answer.pieces, ""
            continue
        told = await server.result(stream)
        if told is not None and answer.pieces == seen:
            answer.trouble = trouble(told.get("running") or ())
