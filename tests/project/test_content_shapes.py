"""Everything that a reader can see, through the whole product: gateway on each journal, `AsyncClient`, `Client`.

Recovery alone is tested at every byte (`tests/recovery/test_fields.py`); here it is every event's edge and its
middle, or, with `EVERYTOKEN_SOAK=1`, every byte too.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.content_shapes import SHAPES, comparable, wire
from tests.gateway_serving import serving
from tests.journal_backends import shared_redis
from tests.redis_server import REDIS

import everytoken
from everytoken.dialects.openai_chat import Accumulator
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.redis import RedisJournal
from everytoken.journal.sqlite import SqliteJournal
from everytoken.recovery import Policy
from everytoken.sse import SSEDecoder
from everytoken.testing import CleanEnd, Head, ScriptedUpstream, Send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from everytoken.journal import Journal

pytestmark = pytest.mark.timeout(1200 if os.environ.get("EVERYTOKEN_SOAK") == "1" else 120)

POLICY = Policy(backoff=0.0, strategies=frozenset({"replay"}))
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "Go on"}], "stream": True}


class Cutting:
    """An upstream whose first attempt of each answer ends at `cut`, and whose further ones are whole."""

    def __init__(self, shape: str) -> None:
        self.first, self.second = wire(SHAPES[shape]), wire(SHAPES[shape], number=2)
        self.cut: int | None = None
        self._asked = 0

    def __call__(self, _: Any) -> list[Any]:
        self._asked += 1
        if self._asked == 1:
            return [Head(), Send(self.first[: self.cut]), CleanEnd()]
        return [Head(), Send(self.second), CleanEnd()]

    def cuts(self) -> Iterator[int]:
        """Yield the places to cut at, setting each."""
        end = self.first.index(b'"finish_reason": "stop"')
        ends = [at + 2 for at in range(end) if self.first.startswith(b"\n\n", at)]
        places = (
            range(1, end) if os.environ.get("EVERYTOKEN_SOAK") == "1" else [*ends, *(at - 60 for at in ends)]
        )
        for self.cut in places:
            self._asked = 0
            yield self.cut


def message_of(body: str) -> dict[str, Any]:
    """Return the message that a client joins, without what tells one attempt from another."""
    joined = Accumulator()
    events = SSEDecoder().receive_data(body.encode())
    assert events[-1].data == "[DONE]", body
    for event in events[:-1]:
        joined.add(event.data)
    return comparable(joined.message())


def expected(shape: str) -> dict[str, Any]:
    return message_of(wire(SHAPES[shape]).decode())


def journal_of(kind: str, path: Path) -> Journal:
    if kind == "memory":
        return MemoryJournal()
    if kind == "sqlite":
        return SqliteJournal(path / "journal.sqlite")
    if REDIS is None:
        pytest.skip("redis-server is not installed")
    return RedisJournal(shared_redis().url)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
async def test_through_the_gateway(kind: str, shape: str, tmp_path: Path) -> None:
    script = Cutting(shape)
    journal = journal_of(kind, tmp_path)
    async with (
        ScriptedUpstream(script) as upstream,
        serving(upstream, kept_in=journal, policy=POLICY) as gateway,
    ):
        for cut in script.cuts():
            answer = await gateway.ask("POST", "/v1/chat/completions", REQUEST)
            assert message_of(answer.body.decode()) == expected(shape), cut
            stored = await gateway.ask("GET", f"{answer.headers['location']}/events")
            assert message_of(stored.body.decode()) == expected(shape), cut


@pytest.mark.parametrize("shape", SHAPES)
async def test_to_a_caller_that_does_not_stream(shape: str) -> None:
    script = Cutting(shape)
    async with ScriptedUpstream(script) as upstream, serving(upstream, policy=POLICY) as gateway:
        for cut in script.cuts():
            answer = await gateway.ask("POST", "/v1/chat/completions", {**REQUEST, "stream": False})
            assert comparable(answer.json) == expected(shape), cut


@pytest.mark.blocking_allowed("a client reads the system's certificates when it is made")
@pytest.mark.parametrize("shape", SHAPES)
async def test_through_the_async_client(shape: str) -> None:
    script = Cutting(shape)
    async with ScriptedUpstream(script) as upstream, everytoken.AsyncClient(policy=POLICY) as client:
        for cut in script.cuts():
            answer = await client.post(f"{upstream.base_url}/chat/completions", json=REQUEST)
            assert message_of(answer.text) == expected(shape), cut


@pytest.mark.parametrize("shape", SHAPES)
async def test_through_the_client(shape: str) -> None:
    script = Cutting(shape)

    def ask(url: str) -> str:
        with everytoken.Client(policy=POLICY) as client:
            return client.post(url, json=REQUEST).text

    async with ScriptedUpstream(script) as upstream:
        for cut in script.cuts():
            body = await asyncio.to_thread(ask, f"{upstream.base_url}/chat/completions")
            assert message_of(body) == expected(shape), cut
