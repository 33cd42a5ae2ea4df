"""What stands in for parts of the standard library behaves as they do, and takes less."""

from __future__ import annotations

import asyncio
import sys
from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from everytoken.gateway.light import Flag, Queue

STEPS = st.lists(st.sampled_from(["set", "clear", "wait", "cancel", "turn"]), max_size=30)


async def played(flag, steps):
    """Do some steps with a flag or an event; return what has become of each that waits, and whether it is set."""
    waiting: list[asyncio.Task[bool]] = []
    for step in steps:
        if step == "wait":
            waiting.append(asyncio.ensure_future(flag.wait()))
        elif step == "cancel" and waiting:
            waiting[-1].cancel()
        elif step == "turn":
            await asyncio.sleep(0)
        elif step in {"set", "clear"}:
            getattr(flag, step)()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    states = [("cancelled" if one.cancelled() else one.result()) if one.done() else None for one in waiting]
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    return states, flag.is_set()


@settings(max_examples=200)
@given(STEPS)
def test_a_flag_is_an_event(steps):
    async def both():
        return await played(Flag(), steps), await played(asyncio.Event(), steps)

    flag, event = asyncio.run(both())
    assert flag == event


def test_a_flag_can_be_set_from_the_beginning():
    assert asyncio.run(Flag(is_set=True).wait())
    assert not Flag().is_set()


@given(st.lists(st.sampled_from(["append", "pop"]), max_size=40))
def test_a_queue_gives_back_as_a_deque_does(steps):
    ours, theirs = Queue(), deque()
    for number, step in enumerate(steps):
        if step == "append":
            ours.appendleft(number)
            theirs.appendleft(number)
        elif theirs:
            assert ours.pop() == theirs.pop()
        assert list(ours) == list(theirs)
        assert bool(ours) == bool(theirs)


def test_they_are_small():
    assert sys.getsizeof(Flag()) + sys.getsizeof(Queue()) < 150
    assert sys.getsizeof(deque()) > 500
