"""The line between a worker and the process that has started it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from everytoken.cli.workers.peer import Peer, PeerGoneError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def nothing(kind: str, value: Any) -> Any:
    raise AssertionError(f"{kind} {value}")


@asynccontextmanager
async def line(ours=nothing, theirs=nothing) -> AsyncIterator[tuple[Peer, Peer]]:
    """Two ends, each with what it does with what it is told."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    one, other = await Peer.over(ends[0], ours), await Peer.over(ends[1], theirs)
    serving = [asyncio.create_task(peer.serve()) for peer in (one, other)]
    try:
        yield one, other
    finally:
        one.close()
        other.close()
        await asyncio.gather(*serving)


async def test_each_end_tells_and_asks_and_answers_may_come_in_any_order():
    first = asyncio.Event()
    told = asyncio.Queue[tuple[str, Any]]()

    async def ours(kind, value):
        await told.put((kind, value))

    async def theirs(kind, value):
        if kind == "late":
            await first.wait()
        else:
            first.set()
        return [kind, value]

    async with line(ours, theirs) as (one, other):
        late, early = await asyncio.gather(one.ask("late", {"a": 1}), one.ask("early", "line\nend"))
        assert (late, early) == (["late", {"a": 1}], ["early", "line\nend"])
        other.tell("lost", "node")
        assert await told.get() == ("lost", "node")


async def test_a_question_that_cannot_be_answered_raises_here_and_ends_nothing(caplog):
    async def theirs(kind, _):
        if kind == "bad":
            raise ValueError("no such question")
        return "well"

    async with line(theirs=theirs) as (one, _):
        with pytest.raises(PeerGoneError):
            await one.ask("bad")
        assert await one.ask("good") == "well"
    assert "a worker's message cannot be handled: bad" in caplog.text


async def test_who_waits_for_an_answer_learns_that_the_other_end_is_gone():
    asked = asyncio.Event()

    async def theirs(*_):
        asked.set()
        await asyncio.Event().wait()

    async with line(theirs=theirs) as (one, other):
        waiting = asyncio.create_task(one.ask("anything"))
        await asked.wait()
        other.close()
        with pytest.raises(PeerGoneError):
            await waiting
        one.tell("nobody listens")


async def test_an_answer_that_nobody_waits_for_any_more_is_ignored():
    begin, asked = asyncio.Event(), asyncio.Event()

    async def theirs(kind, _):
        asked.set()
        await begin.wait()
        return kind

    async with line(theirs=theirs) as (one, _):
        given_up = asyncio.create_task(one.ask("a"))
        await asked.wait()
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        begin.set()
        assert await one.ask("b") == "b"


async def test_half_a_message_of_one_that_died_is_none():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    peer = await Peer.over(ours, nothing)
    theirs.send(b'{"kind":"lost","val')
    theirs.close()
    await peer.serve()


async def test_what_is_no_message_ends_the_line_and_is_logged(caplog):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    peer = await Peer.over(ours, nothing)
    theirs.send(b"garbage\n")
    await peer.serve()
    theirs.close()
    assert "cannot be read" in caplog.text
