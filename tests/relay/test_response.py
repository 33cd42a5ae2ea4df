"""Recovery under its driver, over real sockets in virtual time: limits kept, connections closed, bugs told, logs."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from everytoken.dialects.openai_chat import Accumulator, ChatRequest
from everytoken.journal.memory import MemoryJournal
from everytoken.recovery import Policy, Recovery, Target
from everytoken.recovery.live import LiveAttempt
from everytoken.relay import Relays
from everytoken.testing import Answer, CleanEnd, Head, ScriptedUpstream, Send, Stall, Status
from everytoken.upstream.http import HttpUpstream

pytestmark = pytest.mark.virtual_time

BODY = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True}
KEY = "sk-very-secret"


@asynccontextmanager
async def serving(*scripts, policy=Policy(), grace=None, **options):  # noqa: B008  # frozen
    """Yield the relays and the scripted upstreams behind them."""
    scripted, upstreams, targets = [], {}, []
    journal = MemoryJournal()
    await journal.start()
    for number, script in enumerate(scripts):
        one = script if isinstance(script, ScriptedUpstream) else ScriptedUpstream(script)
        await one.__aenter__()
        scripted.append(one)
        name = f"u{number}"
        upstreams[name] = HttpUpstream(name, one.base_url, api_key=KEY)
        targets.append(Target(name=name, policy=policy, **options))
    relays = Relays(upstreams, lambda _: targets, journal, grace=grace, jitter=lambda: 0.5)
    try:
        yield relays, scripted
    finally:
        for stream_id in relays.running():
            await relays.stop(stream_id)
        for upstream in upstreams.values():
            await upstream.stop()
        for one in scripted:
            await one.__aexit__(None, None, None)
        await journal.stop()


async def ended(relay, seconds=1_000.0):
    event = asyncio.Event()
    relay.log.subscribe(event.set)
    async with asyncio.timeout(seconds):
        while not relay.log.closed:
            event.clear()
            await event.wait()
    return relay.log.info.result


def now():
    return asyncio.get_running_loop().time()


async def test_a_gap_is_noticed_after_its_own_limit_not_after_the_longer_one_before():
    policy = Policy(first_content=30.0, content_gap=1.0, give_up=1.0, attempts=1)
    async with serving(ScriptedUpstream(faults=[("always", "silent", "middle")]), policy=policy) as (
        relays,
        _,
    ):
        started = now()
        relay = await relays.begin(ChatRequest(BODY))
        result = await ended(relay)
        assert result["error"]["code"] == "upstream-stalled-gap"
        assert now() - started < 1.5


async def test_a_finish_reason_without_anything_behind_it_ends_after_the_linger():
    answer = Answer("Hello.", done=False)
    chunks = ScriptedUpstream(answer).script_for

    def script(request):
        steps = [step for step in chunks(request) if not isinstance(step, CleanEnd)]
        return [*steps, Stall()]

    async with serving(script) as (relays, _):
        started = now()
        result = await ended(await relays.begin(ChatRequest(BODY)))
        assert result["outcome"] == "completed"
        assert 9.9 < now() - started < 10.5


PHASES = [
    pytest.param("tls-silent", id="while connecting"),
    pytest.param("silent-after-accept", id="before the headers"),
    pytest.param("silent-after-head", id="before the content"),
    pytest.param("silent", id="in the middle"),
    pytest.param("connection-refused", id="in a back-off"),
    pytest.param("status-503", id="in a back-off after a status"),
]


@pytest.mark.parametrize("fault", PHASES)
@pytest.mark.parametrize("way", ["stop", "lost reader"])
async def test_a_stop_and_a_lost_reader_close_the_connection_within_a_second_in_every_phase(fault, way):
    before = asyncio.all_tasks()
    async with serving(ScriptedUpstream(faults=[("always", fault, "middle")]), grace=0.0) as (
        relays,
        (scripted,),
    ):
        relay = await relays.begin(ChatRequest(BODY))
        relay.reader_came()
        await asyncio.sleep(0.3)
        attempts = len(relay.recovery.attempts)
        if way == "stop":
            relay.stop()
        else:
            relay.reader_went()
        assert relay.log.info.result["outcome"] == "cancelled"
        assert relay.log.closed
        assert len(relays) == 0
        await asyncio.sleep(0.9)
        assert len(scripted.open_connections) == 0
        if scripted._broken_address is not None:
            assert not scripted._broken_address._transports
        assert len(relay.recovery.attempts) == attempts, "no further attempt is made"
        assert not {task for task in asyncio.all_tasks() - before if "connection" in repr(task).lower()} - {
            connection.task for connection in scripted.open_connections
        }


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")
async def test_a_thousand_upstreams_that_fall_silent_at_once_are_all_given_up_on_time(caplog):
    caplog.set_level(logging.CRITICAL, "everytoken")
    policy = Policy(content_gap=7.0, give_up=7.0, attempts=1)
    loop_tasks = asyncio.all_tasks()
    gc.collect()
    before = descriptors()
    async with serving(
        ScriptedUpstream(Answer("one two three four"), faults=[("always", "silent", 2)]), policy=policy
    ) as (
        relays,
        (scripted,),
    ):
        waiting = [await relays.begin(ChatRequest(BODY)) for _ in range(1_000)]
        results = [await ended(relay) for relay in waiting]
        assert {result["error"]["code"] for result in results} == {"upstream-stalled-gap"}
        assert {len(list(relay.log.take(0, 1 << 20))) for relay in waiting} == {4}
        spans = [relay.recovery.attempts[0].ended - relay.recovery.attempts[0].started for relay in waiting]
        assert max(spans) < 12.0
        assert len(scripted.attempts) == 1_000
        assert len(relays) == 0
        await asyncio.sleep(1.0)
        assert not scripted.open_connections
        upstream = relays.upstreams["u0"]
        assert not upstream._open
        assert not upstream._tasks
    await asyncio.sleep(1.0)
    gc.collect()
    assert asyncio.all_tasks() == loop_tasks
    assert descriptors() <= before


async def test_a_bug_ends_the_response_with_what_it_has_and_says_so_once(monkeypatch, caplog):
    calls = 0
    receive = LiveAttempt.receive_data

    def broken(self, now, data):
        nonlocal calls
        calls += 1
        if calls > 5:
            raise ZeroDivisionError
        return receive(self, now, data)

    monkeypatch.setattr(LiveAttempt, "receive_data", broken)
    async with serving(Answer("one two three four five six")) as (relays, (scripted,)):
        relay = await relays.begin(ChatRequest(BODY))
        result = await ended(relay)
        assert (result["outcome"], result["error"]["code"]) == ("interrupted", "internal-error")
        assert json.loads(list(relay.log.take(0, 1 << 20))[-1])["error"]["code"] == "internal-error"
        await asyncio.sleep(0.5)
        assert not scripted.open_connections
        assert len(scripted.attempts) == 1
    assert len([record for record in caplog.records if record.exc_info]) == 1


@pytest.mark.parametrize("what", ["tick", "fail", "receive_eof", "start"])
async def test_a_bug_in_any_decision_leaves_nothing_hanging(what, monkeypatch, caplog):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(Recovery, what, broken)
    fault = {"tick": "silent", "fail": "reset", "receive_eof": "clean-end", "start": "close"}[what]
    async with serving(ScriptedUpstream(faults=[("always", fault, "middle")])) as (relays, _):
        relay = await relays.begin(ChatRequest(BODY))
        result = await ended(relay)
        assert result["error"]["code"] == "internal-error"
        assert len(relays) == 0
    assert any(record.exc_info for record in caplog.records)


def text_in(relay):
    joined = Accumulator()
    for record in relay.log.take(0, 1 << 20):
        joined.add(record)
    return joined.message()["choices"][0]["message"]["content"]


async def test_a_silent_attempt_is_hedged_within_its_response_and_logged(caplog):
    """30 s of silence in the middle, on the real clock of a virtual loop: the reader loses 30 s and not one token."""
    caplog.set_level(logging.INFO, "everytoken")
    answer = Answer("one two three four")
    async with serving(ScriptedUpstream(answer, faults=[(0, "silent", "middle")])) as (relays, (scripted,)):
        started = now()
        relay = await relays.begin(ChatRequest(BODY))
        result = await ended(relay)
        assert 29.0 < now() - started < 31.0
        assert (result["outcome"], text_in(relay)) == ("completed", answer.text)
        await asyncio.sleep(1.0)
        assert len(scripted.open_connections) == 1, "the one that can be used again"
        assert len(scripted.attempts) == 2
    first, last = (record for record in caplog.records if record.name.startswith("everytoken.relay"))
    assert "attempt 1 at u0 is slow" in first.getMessage()
    assert first.getMessage().endswith("attempt 2 beside it: replay at u0 from offset 3")
    assert "completed" in last.getMessage()


async def test_every_attempt_is_logged_once_with_its_cause_and_seam(caplog):
    caplog.set_level(logging.INFO, "everytoken")
    faults = [(0, "close", "middle"), (1, "silent", "last")]
    policy = Policy(hedge=False)
    async with serving(ScriptedUpstream(Answer("one two three four"), faults=faults), policy=policy) as (
        relays,
        _,
    ):
        relay = await relays.begin(ChatRequest(BODY))
        result = await ended(relay)
    lines = [record for record in caplog.records if record.name.startswith("everytoken.relay")]
    assert len(lines) == 3, [line.getMessage() for line in lines]
    first, second, last = lines
    for line, code, offset in ((first, "upstream-truncated", 3), (second, "upstream-stalled-gap", 4)):
        assert line.levelno == logging.WARNING
        assert f"({code})" in line.getMessage()
        assert line.getMessage().endswith(f"from offset {offset}")
        assert line.stream_id == relay.stream_id
        assert line.attempt["cause"]["code"] == code
    assert last.levelno == logging.INFO
    assert last.result == result
    assert [attempt["offset"] for attempt in result["attempts"]] == [0, 3, 4]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            [Status(401, body=b'{"error":{"message":"wrong key %s"}}' % KEY.encode())], id="in a status"
        ),
        pytest.param(
            [Head(), Send(b'data: {"error":{"message":"wrong key %s"}}\n\n' % KEY.encode()), CleanEnd()],
            id="in the stream",
        ),
        pytest.param(
            [Status(200, body=b'{"error":{"message":"wrong key %s"}}' % KEY.encode())], id="in a whole answer"
        ),
    ],
)
async def test_no_secret_is_ever_shown(steps, caplog):
    caplog.set_level(logging.DEBUG, "everytoken")
    async with serving(steps) as (relays, _):
        relay = await relays.begin(ChatRequest(BODY))
        result = await ended(relay)
        shown = json.dumps(result) + b"".join(relay.log.take(0, 1 << 20)).decode() + caplog.text
    assert "wrong key ***" in shown
    assert KEY not in shown


async def test_the_error_record_is_what_the_sdks_raise_from():
    async with serving(
        ScriptedUpstream(faults=[("always", "close", "middle")]), policy=Policy(attempts=1)
    ) as (relays, _):
        relay = await relays.begin(ChatRequest(BODY))
        result = await ended(relay)
        last = json.loads(list(relay.log.take(0, 1 << 20))[-1])
    assert last == {"error": result["error"]}
    assert result["error"] == {
        "message": "the connection broke in the middle of the response",
        "type": "upstream_error",
        "param": None,
        "code": "upstream-truncated",
    }
    assert result["outcome"] == "interrupted"
    assert result["usage"]["estimated"] is True


def test_a_timer_that_is_due_at_once_fires_under_uvloop():
    """uvloop gives a handle without `when()` for a delay that rounds to 0 ms; a response must not hang on that."""
    uvloop = pytest.importorskip("uvloop")

    async def broken(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async def main():
        server = await asyncio.start_server(broken, "127.0.0.1", 0)
        upstream = HttpUpstream("u0", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        journal = MemoryJournal()
        await journal.start()
        # Waits of all lengths around a millisecond, where the clocks of loop and machine are rounded differently.
        for number in range(40):
            policy = Policy(backoff=number / 20_000, backoff_max=1.0)
            target = Target(name="u0", policy=policy)
            relays = Relays({"u0": upstream}, lambda _, target=target: [target], journal, jitter=lambda: 0.5)
            result = await ended(await relays.begin(ChatRequest(BODY)), seconds=5.0)
            assert result["outcome"] == "failed"
            assert len(result["attempts"]) == 3
        await upstream.stop()
        await journal.stop()
        server.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
