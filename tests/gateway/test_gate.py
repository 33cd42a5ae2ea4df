"""Places to run: so many at once, the rest waits in turn, and what cannot be had is refused before it costs anything."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from everytoken.errors import ConfigurationError, OverloadedError, RateLimitedError
from everytoken.gateway.config import parse
from everytoken.gateway.gate import Gate
from everytoken.gateway.reload import reload
from gateway_serving import HELLO, ManualUpstream, Wire, limit, serving

pytestmark = pytest.mark.virtual_time

CHAT = "/v1/chat/completions"
KEYS = ["sk-one-0123456789", "sk-two-0123456789"]


def bearer(number):
    return {"Authorization": f"Bearer {KEYS[number]}"}


class Asking:
    """Somebody who asks a gate, and what has become of it."""

    def __init__(self, gate, owner="", names=("a",)):
        self.place = None
        self.error = None
        self.task = asyncio.ensure_future(self._ask(gate, owner, names))

    async def _ask(self, gate, owner, names):
        try:
            self.place = await gate.enter(None, owner, names)
        except (OverloadedError, RateLimitedError) as error:
            self.error = error


async def settled():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_without_limits_everybody_gets_in_and_nothing_is_counted():
    gate = Gate(0, {"a": 0}, 10, 10.0)
    places = [await gate.enter(None, "", ["a"]) for _ in range(100)]
    assert gate.off
    assert (gate.running, gate.waiting) == (0, 0)
    for place in places:
        place.leave()


async def test_so_many_run_and_the_others_follow_in_their_order():
    gate = Gate(2, {}, 10, 10.0)
    asking = [Asking(gate) for _ in range(4)]
    await settled()
    assert [one.place is not None for one in asking] == [True, True, False, False]
    assert (gate.running, gate.waiting) == (2, 2)
    asking[1].place.leave()
    asking[1].place.leave()  # once is enough
    await settled()
    assert [one.place is not None for one in asking] == [True, True, True, False]
    asking[0].place.leave()
    asking[2].place.leave()
    await settled()
    asking[3].place.leave()
    assert (gate.running, gate.waiting) == (0, 0)


async def test_who_waits_too_long_is_told_when_to_come_back():
    gate = Gate(1, {}, 10, 5.0)
    first = await gate.enter(None, "", [])
    began = asyncio.get_running_loop().time()
    with pytest.raises(OverloadedError, match="within 5 seconds") as caught:
        await gate.enter(None, "", [])
    assert asyncio.get_running_loop().time() - began == pytest.approx(5.0, abs=0.1)
    assert caught.value.retry_after
    first.leave()
    assert (gate.running, gate.waiting) == (0, 0)


async def test_keys_take_turns_however_many_each_has_waiting():
    gate = Gate(1, {}, 100, 1000.0)
    order = []
    place = await gate.enter(None, "a", [])
    asking = [(owner, Asking(gate, owner, [])) for owner in "aaaaabbc"]
    await settled()
    while asking:
        place.leave()
        await settled()
        ((owner, one),) = [pair for pair in asking if pair[1].place is not None]
        asking.remove((owner, one))
        order.append(owner)
        place = one.place
    assert "".join(order) == "abcabaaa"


async def test_the_queue_has_an_end():
    gate = Gate(1, {}, 2, 1000.0)
    place = await gate.enter(None, "a", [])
    waiting = [Asking(gate, "a", []) for _ in range(2)]
    await settled()
    with pytest.raises(OverloadedError, match="as many requests wait"):
        await gate.enter(None, "a", [])
    # Another key is not kept out by it: the last of the many makes room.
    other = Asking(gate, "b", [])
    await settled()
    assert isinstance(waiting[1].error, RateLimitedError)
    assert gate.waiting == 2
    for _ in range(2):
        place.leave()
        await settled()
        place = waiting[0].place if place is not waiting[0].place else other.place
    assert other.place is not None


async def test_without_a_queue_nobody_waits():
    gate = Gate(1, {}, 0, 1000.0)
    await gate.enter(None, "a", [])
    with pytest.raises(OverloadedError):
        await gate.enter(None, "b", [])


async def test_each_upstream_has_its_own_limit_and_the_one_with_room_is_taken():
    gate = Gate(0, {"a": 1, "b": 2}, 10, 1000.0)
    names = ["a", "b"]
    places = [await gate.enter(None, "", names) for _ in range(3)]
    assert [place.upstream for place in places] == ["a", "b", "b"]
    only_a, either, free = Asking(gate, "x", ["a"]), Asking(gate, "y", names), Asking(gate, "z", ["c"])
    await settled()
    assert [one.place is not None for one in (only_a, either, free)] == [False, False, True]
    places[2].leave()
    await settled()
    assert only_a.place is None
    assert either.place.upstream == "b"
    places[0].leave()
    await settled()
    assert only_a.place.upstream == "a"


async def test_more_room_lets_those_in_who_wait():
    gate = Gate(1, {}, 10, 1000.0)
    await gate.enter(None, "", [])
    waiting = [Asking(gate, "", []) for _ in range(3)]
    await settled()
    gate.change(3, {}, 10, 1000.0)
    await settled()
    assert [one.place is not None for one in waiting] == [True, True, False]
    waiting[0].place.leave()
    await settled()
    assert waiting[2].place is not None


async def test_who_is_cancelled_while_waiting_leaves_no_trace():
    gate = Gate(1, {}, 10, 1000.0)
    place = await gate.enter(None, "", [])
    one, other = Asking(gate, "a", []), Asking(gate, "b", [])
    await settled()
    one.task.cancel()
    place.leave()  # in the same moment
    await settled()
    assert other.place is not None
    other.place.leave()
    assert (gate.running, gate.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_happens_no_limit_is_passed_and_nothing_is_lost(seed):
    chance = random.Random(seed)
    gate = Gate(5, {"a": 3, "b": 2}, 8, 50.0)
    asking = []
    for _ in range(300):
        if chance.random() < 0.5:
            names = chance.sample(["a", "b", "c"], chance.randint(1, 3))
            asking.append(Asking(gate, chance.choice("xyz"), names))
        elif asking:
            one = chance.choice(asking)
            if chance.random() < 0.2:
                one.task.cancel()
            if one.place is not None:
                asking.remove(one)
                one.place.leave()
        if chance.random() < 0.1:
            await asyncio.sleep(10)
        await asyncio.sleep(0)
        assert gate.running <= 5
        assert gate.waiting <= 8
        assert all(gate._by_upstream.get(name, 0) <= most for name, most in (("a", 3), ("b", 2)))
    await asyncio.sleep(100)
    for one in asking:
        assert one.task.done()
        if one.place is not None:
            one.place.leave()
    await settled()
    for one in asking:
        if one.place is not None:
            one.place.leave()
    assert (gate.running, gate.waiting) == (0, 0)
    assert not any(gate._by_upstream.values())


# At a gateway


async def until_waiting(gateway, number):
    while gateway.gateway.gate.waiting != number:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)


@asynccontextmanager
async def full(upstream, **settings):
    """Serve a gateway with one place, which is taken; yield it and whom it was given to."""
    async with limit(), AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(serving(upstream, **{"max_running": 1, **settings}))
        wire = await stack.enter_async_context(Wire.to(gateway.port))
        wire.send("POST", CHAT, HELLO, bearer(0))
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("Hello")
        await wire.head()
        await wire.frame()
        yield gateway, wire


async def test_a_response_waits_for_another_to_end():
    upstream = ManualUpstream()
    async with full(upstream) as (gateway, _), Wire.to(gateway.port) as second:
        second.send("POST", CHAT, HELLO)
        await until_waiting(gateway, 1)
        assert len(upstream.attempts) == 1
        upstream.attempts[0].finish()
        attempt = await upstream.attempt(1)
        attempt.accept()
        attempt.send("Hi")
        attempt.finish()
        assert (await second.answer()).text == "Hi"
        await gateway.until_idle()
        assert gateway.gateway.gate.running == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, HELLO),
        ("/v1/messages", {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/responses", {"model": "m", "input": "Hi"}),
        ("/v1/embeddings", {"model": "m", "input": "Hi"}),
        ("/api/chat", {"prompt": "Hi", "model": "m"}),
    ],
)
async def test_what_cannot_wait_is_refused_before_it_costs_anything(path, body):
    upstream = ManualUpstream()
    async with full(upstream, queue=0) as (gateway, _):
        answer = await gateway.ask("POST", path, body)
        assert answer.status == 503
        assert answer.headers["retry-after"] == "1"
        assert "x-should-retry" not in answer.headers
        assert len(upstream.attempts) == 1
        assert (await gateway.ask("GET", "/v1/models")).status == 200


async def test_a_caller_who_leaves_while_waiting_is_not_served():
    upstream = ManualUpstream()
    async with full(upstream) as (gateway, _):
        async with Wire.to(gateway.port) as second:
            second.send("POST", CHAT, HELLO)
            await until_waiting(gateway, 1)
        await until_waiting(gateway, 0)
        upstream.attempts[0].finish()
        await gateway.until_idle()
        assert len(upstream.attempts) == 1


async def test_who_comes_back_for_a_response_needs_no_place():
    upstream = ManualUpstream()
    key = {"Idempotency-Key": "k"}
    async with limit(), serving(upstream, max_running=1, queue=0) as gateway:
        async with Wire.to(gateway.port) as first, Wire.to(gateway.port) as second:
            first.send("POST", CHAT, HELLO, key)
            attempt = await upstream.attempt()
            attempt.accept()
            attempt.send("Hello")
            await first.head()
            second.send("POST", CHAT, HELLO, key)
            assert (await second.head()).status == 200
            attempt.finish()
            await second.frame()
        await gateway.until_idle()


async def test_each_key_gets_its_turn():
    upstream = ManualUpstream()
    async with full(upstream, api_keys=KEYS) as (gateway, _), AsyncExitStack() as stack:
        wires = []
        for number in (0, 0, 0, 1):
            wire = await stack.enter_async_context(Wire.to(gateway.port))
            wire.send("POST", CHAT, {**HELLO, "user": str(number)}, bearer(number))
            wires.append(wire)
            await until_waiting(gateway, len(wires))
        served = []
        for number in range(4):
            upstream.attempts[number].finish()
            attempt = await upstream.attempt(number + 1)
            attempt.accept()
            attempt.send("Hi")
            served.append(attempt.body["user"])
        assert served == ["0", "1", "0", "0"]
        upstream.attempts[4].finish()


async def test_limits_change_while_it_runs():
    upstream = ManualUpstream()
    async with full(upstream) as (gateway, _), Wire.to(gateway.port) as second:
        second.send("POST", CHAT, HELLO)
        await until_waiting(gateway, 1)
        config = gateway.gateway.config
        changed = type(config)(
            **{name: getattr(config, name) for name in config.__struct_fields__} | {"max_running": 2}
        )
        await reload(gateway.gateway, changed)
        await upstream.attempt(1)
        for attempt in upstream.attempts:
            attempt.accept()
            attempt.finish()


@pytest.mark.parametrize(
    "line",
    [
        "max_running = -1",
        "queue = -1",
        "queue_timeout = 0",
        '[[upstream]]\nurl = "http://x/v1"\nmax_running = -1',
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(line):
    with pytest.raises(ConfigurationError):
        parse(line, {}, where="x")
