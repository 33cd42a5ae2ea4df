"""Everything that a reader can see, through the whole product: gateway on each journal, `AsyncClient`, `Client`.

The upstream is cut once, and then the response has everything once; or it is always cut, and then what was delivered is
what one attempt has sent, and an explicit error. Recovery alone is tested at every byte (`tests/recovery/test_fields.py`),
and so is `everytoken.fetch` (`js/test/shapes.test.mjs`). Here it is every event's edge and its middle, or, with
`EVERYTOKEN_SOAK=1`, every byte too.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.content_shapes import SHAPES, comparable, wire
from tests.gateway_serving import serving
from tests.journal_backends import shared_redis
from tests.redis_server import REDIS

import everytoken
from everytoken.dialects.openai_chat import Accumulator
from everytoken.errors import EverytokenError
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

SOAK = os.environ.get("EVERYTOKEN_SOAK") == "1"
POLICY = Policy(backoff=0.0, strategies=frozenset({"replay"}), attempts=2)
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "Go on"}], "stream": True}


class Cutting:
    """An upstream whose first attempt of each response ends at `cut`; the further ones are complete, or cut there too."""

    def __init__(self, shape: str, *, always: bool = False) -> None:
        self.first, self.second = wire(SHAPES[shape]), wire(SHAPES[shape], number=2)
        self.always = always
        self.cut: int | None = None
        self._asked = 0

    def __call__(self, _: Any) -> list[Any]:
        self._asked += 1
        if self._asked == 1:
            return [Head(), Send(self.first[: self.cut]), CleanEnd()]
        return [Head(), Send(self.second[: self.cut] if self.always else self.second), CleanEnd()]

    def cuts(self) -> Iterator[int]:
        """Yield the places to cut at, setting each: up to the finish reason where each attempt is cut."""
        end = self.first.index(b'"finish_reason": "stop"')
        ends = [at + 2 for at in range(end) if self.first.startswith(b"\n\n", at)]
        if SOAK:
            places = [*range(1, end if self.always else len(self.first))]
        else:
            places = [*ends, *(at - 60 for at in ends)]
        for self.cut in places:
            self._asked = 0
            yield self.cut

    def delivered(self) -> dict[str, Any]:
        """Return what has been delivered of a response whose attempts are all cut: the events of one of them."""
        sent = self.first[: self.cut]
        return joined(sent[: sent.rfind(b"\n\n") + 2].decode() if b"\n\n" in sent else "")


def joined(body: str) -> dict[str, Any]:
    """Return what the chunks in `body` say together, without what tells one attempt from another."""
    message = Accumulator()
    for event in SSEDecoder().receive_data(body.encode()):
        if event.data != "[DONE]":
            message.add(event.data)
    return comparable(message.message())


def message_of(body: str) -> dict[str, Any]:
    """Return the message that a client joins of a response that is complete."""
    assert SSEDecoder().receive_data(body.encode())[-1].data == "[DONE]", body
    return joined(body)


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
@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
async def test_always_cut_through_the_gateway(kind: str, shape: str, tmp_path: Path) -> None:
    script = Cutting(shape, always=True)
    journal = journal_of(kind, tmp_path)
    async with (
        ScriptedUpstream(script) as upstream,
        serving(upstream, kept_in=journal, policy=POLICY) as gateway,
    ):
        for cut in script.cuts():
            answer = await gateway.ask("POST", "/v1/chat/completions", REQUEST)
            if answer.status != 200:
                assert (answer.status, answer.error["code"]) == (502, "upstream-truncated"), cut
                assert script.delivered() == joined(""), cut
                continue
            stored = await gateway.ask("GET", f"{answer.headers['location']}/events")
            for body in (answer.body, stored.body):
                *chunks, last = SSEDecoder().receive_data(body)
                assert "error" in json.loads(last.data), cut
                told = "".join(f"data: {chunk.data}\n\n" for chunk in chunks)
                assert joined(told) == script.delivered(), cut


@pytest.mark.parametrize("shape", SHAPES)
async def test_to_a_caller_that_does_not_stream(shape: str) -> None:
    script = Cutting(shape)
    async with ScriptedUpstream(script) as upstream, serving(upstream, policy=POLICY) as gateway:
        for cut in script.cuts():
            answer = await gateway.ask("POST", "/v1/chat/completions", {**REQUEST, "stream": False})
            assert comparable(answer.json) == expected(shape), cut


@pytest.mark.parametrize("shape", SHAPES)
async def test_always_cut_to_a_caller_that_does_not_stream(shape: str) -> None:
    script = Cutting(shape, always=True)
    async with ScriptedUpstream(script) as upstream, serving(upstream, policy=POLICY) as gateway:
        for cut in script.cuts():
            answer = await gateway.ask("POST", "/v1/chat/completions", {**REQUEST, "stream": False})
            assert answer.status == 502, cut
            assert answer.error["code"] in {"upstream-truncated", "recovery-exhausted"}, cut


async def through_the_async_client(client: everytoken.AsyncClient, url: str) -> tuple[str, Exception | None]:
    """Return what came, and the error that it ended with."""
    body = ""
    try:
        async with client.stream("POST", url, json=REQUEST) as answer:
            async for text in answer.aiter_text():
                body += text
    except httpx2.HTTPError as error:
        return body, error
    return body, None


def through_the_client(client: everytoken.Client, url: str) -> tuple[str, Exception | None]:
    """Do the same, blocking."""
    body = ""
    try:
        with client.stream("POST", url, json=REQUEST) as answer:
            for text in answer.iter_text():
                body += text
    except httpx2.HTTPError as error:
        return body, error
    return body, None


@pytest.mark.blocking_allowed("a client reads the system's certificates when it is made")
@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_through_the_async_client(shape: str, always: bool) -> None:  # noqa: FBT001
    script = Cutting(shape, always=always)
    async with ScriptedUpstream(script) as upstream, everytoken.AsyncClient(policy=POLICY) as client:
        for _ in script.cuts():
            told = await through_the_async_client(client, f"{upstream.base_url}/chat/completions")
            check(script, shape, *told)


@pytest.mark.blocking_allowed("a client reads the system's certificates when it is made")
@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_through_the_client(shape: str, always: bool) -> None:  # noqa: FBT001
    script = Cutting(shape, always=always)
    with everytoken.Client(policy=POLICY) as client:
        async with ScriptedUpstream(script) as upstream:
            for _ in script.cuts():
                url = f"{upstream.base_url}/chat/completions"
                check(script, shape, *await asyncio.to_thread(through_the_client, client, url))


def check(script: Cutting, shape: str, body: str, error: Exception | None) -> None:
    if not script.always:
        assert error is None, script.cut
        assert message_of(body) == expected(shape), script.cut
        return
    assert error is not None, script.cut
    assert isinstance(error.__cause__, EverytokenError), script.cut
    assert "[DONE]" not in body, script.cut
    assert joined(body) == script.delivered(), script.cut
