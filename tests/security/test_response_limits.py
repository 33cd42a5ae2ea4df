"""A response cannot eat the machine: what it may send, how long it may take, and what it keeps."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import pytest

from everytoken.errors import TruncatedError
from everytoken.gateway import Config, Gateway
from everytoken.recovery import Policy
from everytoken.redaction import Redactor
from everytoken.upstream.exchange import Exchange
from gateway_serving import HELLO, ManualUpstream, Wire, event, limit, serving

CHAT = "/v1/chat/completions"
ONCE = Policy(attempts=1)


def error_of(answer) -> dict:
    return json.loads(answer.events[-1][0])["error"]


async def ended(upstream: ManualUpstream, number: int = 0) -> None:
    async with limit():
        await upstream.attempts[number].released.wait()


@pytest.mark.parametrize("stream", [True, False])
async def test_a_response_ends_at_max_response(stream):
    upstream = ManualUpstream()
    async with limit(), serving(upstream, max_response=10_000) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, {**HELLO, "stream": stream}))
        attempt = await upstream.attempt()
        attempt.accept()
        for _ in range(1000):
            if attempt.released.is_set():
                break
            attempt.send("x" * 100)
        await ended(upstream)
        answer = await asking
        assert len(upstream.attempts) == 1, "nothing is tried again"
        told = error_of(answer) if stream else answer.error
        assert told["code"] == "response-too-large"
        if stream:
            assert len(answer.text) <= 10_000
            assert "[DONE]" not in answer.body.decode()
        log = (
            await gateway.gateway.journal.open(answer.headers["location"].rpartition("/")[2])
            if stream
            else None
        )
        assert log is None or log.info.result["outcome"] == "interrupted"


async def test_what_all_attempts_send_counts():
    upstream = ManualUpstream()
    async with limit(), serving(upstream, max_response=2_000) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        for number in range(3):
            attempt = await upstream.attempt(number)
            attempt.accept()
            for piece in "abcdef":
                if attempt.released.is_set():
                    break
                attempt.send(piece)
            if attempt.released.is_set():
                break
            attempt.sink.on_eof()
        assert error_of(await asking)["code"] == "response-too-large"


async def test_a_whole_answer_counts_too():
    upstream = ManualUpstream()
    async with limit(), serving(upstream, max_response=1_000) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, {**HELLO, "stream": False}))
        attempt = await upstream.attempt()
        attempt.accept()
        message = {"role": "assistant", "content": "x" * 2000}
        attempt.sink.on_non_streaming(
            json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
        )
        assert (await asking).error["code"] == "response-too-large"


@pytest.mark.virtual_time
@pytest.mark.parametrize("begun", [True, False])
async def test_a_response_ends_at_max_duration(begun):
    upstream = ManualUpstream()
    loop = asyncio.get_running_loop()
    async with serving(upstream, max_duration=100.0) as gateway:
        since = loop.time()
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        attempt = await upstream.attempt()
        attempt.accept()

        async def speak() -> None:
            while not attempt.released.is_set():
                attempt.send("x") if begun else attempt.sink.on_data(b": waiting\n")
                await asyncio.sleep(5 if begun else 1)

        speaking = asyncio.ensure_future(speak())
        answer = await asking
        await speaking
        if begun:
            assert error_of(answer)["code"] == "response-too-long"
            assert 99 <= loop.time() - since <= 106


@pytest.mark.parametrize(
    "flood",
    [
        b": x\n" * 4096,
        b"\n" * 16_384,
        b"event: ping\n\n" * 1000,
        event("") * 100,
        b'data: {"choices": []}\n\n' * 1000,
        b"retry: 1\n" * 2000,
    ],
    ids=["comments", "blank lines", "pings", "empty deltas", "no choices", "fields"],
)
async def test_a_flood_without_content_is_given_up_and_hinders_nobody(flood):
    upstream = ManualUpstream()
    async with limit(), serving(upstream, policy=ONCE) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        attempt = await upstream.attempt()
        attempt.accept()
        honest = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        other = await upstream.attempt(1)
        other.accept()
        sent = 0
        while not attempt.released.is_set():
            attempt.sink.on_data(flood)
            sent += len(flood)
            if sent % (len(flood) * 64) == 0:
                other.send("a")
                await asyncio.sleep(0)
        assert 512 * 1024 <= sent <= 20 * 1024**2
        assert "without content" in (await asking).body.decode()
        other.finish()
        assert set((await honest).text) <= {"a"}


@pytest.mark.virtual_time
async def test_a_keep_alive_is_no_flood():
    upstream = ManualUpstream()
    async with serving(upstream, policy=Policy(first_content=3000.0)) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        attempt = await upstream.attempt()
        attempt.accept()
        for _ in range(2500):
            attempt.sink.on_data(b": processing\n\n" * 10)
            await asyncio.sleep(1)
        attempt.send("There.")
        attempt.finish()
        assert (await asking).text == "There."


async def test_tool_calls_without_end_are_an_error():
    upstream = ManualUpstream()
    async with limit(), serving(upstream, policy=ONCE) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        attempt = await upstream.attempt()
        attempt.accept()
        for number in range(2000):
            if attempt.released.is_set():
                break
            call = {"index": number, "id": f"c{number}", "function": {"name": "f", "arguments": "{}"}}
            chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
            attempt.sink.on_data(f"data: {json.dumps(chunk)}\n\n".encode())
        assert number == 1025
        assert "tool calls" in error_of(await asking)["message"]


async def test_what_waits_for_the_first_content_is_bounded():
    upstream = ManualUpstream()
    async with limit(), serving(upstream) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        attempt = await upstream.attempt()
        attempt.accept()
        big = {"choices": [{"index": 0, "delta": {"role": "assistant"}}], "pad": "x" * 500_000}
        for _ in range(5):
            attempt.sink.on_data(f"data: {json.dumps(big)}\n\n".encode())
        [relay] = gateway.gateway.relays._relays.values()
        assert sum(map(len, relay.recovery._lives[0]._held._records)) < 2_000_000
        attempt.send("Hi")
        attempt.finish()
        assert (await asking).text == "Hi"


@pytest.mark.virtual_time
@pytest.mark.parametrize("asked", ["continue", "999999999"])
async def test_nobody_gets_more_grace_than_max_grace(asked):
    upstream = ManualUpstream()
    loop = asyncio.get_running_loop()
    async with serving(
        upstream, max_grace=50.0, policy=Policy(content_gap=9e6, first_content=9e6)
    ) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", CHAT, HELLO, {"Everytoken-Disconnect": asked})
            attempt = await upstream.attempt()
            attempt.accept()
            await wire.head()
        left = loop.time()
        await attempt.released.wait()
        assert 49 <= loop.time() - left <= 52


def test_a_grace_for_ever_is_max_grace():
    assert Gateway(Config(grace=-1, max_grace=7.0), {}).grace == 7.0
    assert Gateway(Config(grace=100, max_grace=7.0), {}).grace == 7.0
    assert Gateway(Config(grace=5), {}).grace == 5.0


async def test_noise_behind_a_whole_answer_does_not_undo_it():
    upstream = ManualUpstream()
    async with limit(), serving(upstream, max_response=10_000) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("Hi")
        attempt.sink.on_data(event(finish="stop"))
        attempt.sink.on_data(b": noise\n" * 2000)
        assert attempt.released.is_set()
        answer = await asking
        assert answer.text == "Hi"
        assert answer.events[-1][0] == "[DONE]"


@pytest.mark.parametrize("index", [129, 10**9, 10**30, -1])
@pytest.mark.parametrize("choices", [1, 3])
async def test_a_choice_that_nobody_asked_for_is_malformed(index, choices):
    """Each new index cost as much as all before it."""
    upstream = ManualUpstream()
    async with limit(), serving(upstream, policy=ONCE) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, {**HELLO, "n": choices}))
        attempt = await upstream.attempt()
        attempt.accept()
        chunk = {"choices": [{"index": index, "delta": {"content": "x"}}]}
        attempt.sink.on_data(f"data: {json.dumps(chunk)}\n\n".encode())
        assert attempt.released.is_set()
        assert "a choice has an index" in (await asking).error["message"]


def call(name: str, **more) -> bytes:
    chunk = {
        "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": name}, **more}]}}]
    }
    return f"data: {json.dumps(chunk)}\n\n".encode()


async def test_a_tools_name_is_bounded_where_it_comes_in_pieces():
    """A piece is compared with all that has come."""
    upstream = ManualUpstream()
    async with limit(), serving(upstream, policy=ONCE) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, HELLO))
        attempt = await upstream.attempt()
        attempt.accept()
        sent = 0
        while not attempt.released.is_set():
            attempt.sink.on_data(call("ab" if sent % 2 else "cd"))
            sent += 1
        assert sent == 514
        assert "name" in error_of(await asking)["message"]


async def test_a_name_that_is_repeated_whole_is_fine():
    upstream = ManualUpstream()
    async with limit(), serving(upstream, policy=ONCE) as gateway:
        asking = asyncio.ensure_future(gateway.ask("POST", CHAT, {**HELLO, "stream": False}))
        attempt = await upstream.attempt()
        attempt.accept()
        for _ in range(2000):
            attempt.sink.on_data(call("get_weather", id="c"))
        attempt.finish()
        [made] = (await asking).json["choices"][0]["message"]["tool_calls"]
        assert made["function"]["name"] == "get_weather"


# What is compressed, without a network: every turn of the loop by hand


class Heard:
    """A sink that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list = []

    def __getattr__(self, name: str):
        return lambda *args: self.told.append((name, *args))

    @property
    def data(self) -> bytes:
        return b"".join(args[0] for name, *args in self.told if name == "on_data")


class Line:
    """A connection that writes down whether it is read."""

    def __init__(self) -> None:
        self.reading = True

    def pause(self) -> None:
        self.reading = False

    def resume(self) -> None:
        self.reading = True


def compressed(status: int = 200, later=None) -> tuple[Exchange, Heard]:
    sink = Heard()
    exchange = Exchange(sink, redactor=Redactor([]), later=later)
    exchange.protocol = Line()
    exchange.on_head(status, [(b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")])
    return exchange, sink


def test_a_little_that_inflates_to_much_leaves_the_others_their_turns():
    turns: list = []
    exchange, sink = compressed(later=turns.append)
    line = exchange.protocol
    whole = b":\n" * 4_000_000
    exchange.on_body(gzip.compress(whole))
    exchange.on_end()
    taken = 1
    while turns:
        assert len(turns) == 1
        assert not line.reading
        assert sink.told[-1][0] == "on_data", "the end comes behind all data"
        assert len(sink.told[-1][1]) <= 256 * 1024
        turns.pop()()
        taken += 1
    assert taken > len(whole) // (256 * 1024)
    assert sink.data == whole
    assert sink.told[-1] == ("on_eof",)


def test_a_reader_that_is_slow_stops_the_inflating_too():
    turns: list = []
    exchange, sink = compressed(later=turns.append)
    whole = b":\n" * 1_000_000
    packed = gzip.compress(whole)
    exchange.on_body(packed[: len(packed) // 2])
    exchange.pause()
    while turns:
        turns.pop()()
    before = len(sink.told)
    exchange.on_body(packed[len(packed) // 2 :])
    exchange.on_error(TruncatedError("cut"))
    assert not turns
    assert len(sink.told) == before
    exchange.resume()
    exchange.resume()
    assert len(turns) == 1
    while turns:
        turns.pop()()
    assert sink.data == whole
    assert sink.told[-1][0] == "on_error"


def test_without_a_loop_all_is_inflated_at_once():
    exchange, sink = compressed()
    exchange.on_body(gzip.compress(b":\n" * 1_000_000))
    exchange.on_end()
    assert len(sink.data) == 2_000_000
    assert sink.told[-1] == ("on_eof",)


def test_what_follows_a_compressed_answer_is_not_kept():
    exchange, sink = compressed(later=pytest.fail)
    exchange.on_body(gzip.compress(b"data: 1\n\n"))
    for _ in range(100):
        exchange.on_body(b"x" * 100_000)
    assert sink.data == b"data: 1\n\n"
    assert len(exchange._inflate.unused_data) < 1000


@pytest.mark.parametrize("packed", [False, True])
def test_an_error_without_end_is_not_waited_for(packed):
    sink = Heard()
    exchange = Exchange(sink, redactor=Redactor([]))
    exchange.on_head(500, [(b"content-encoding", b"gzip")] if packed else [])
    packing = zlib.compressobj(wbits=31)
    for _ in range(100):
        data = b"x" * 10_000
        exchange.on_body(packing.compress(data) + packing.flush(zlib.Z_SYNC_FLUSH) if packed else data)
    [(name, error)] = [told for told in sink.told if told[0] != "on_head"]
    assert name == "on_error"
    assert len(error.body) == 65_536
    assert exchange.released
