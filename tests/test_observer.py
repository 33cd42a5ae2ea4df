"""What observers are told, and that nobody pays for it."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from contextlib import asynccontextmanager

import msgspec
import pytest

from everytoken import observer as events
from everytoken.errors import JournalUnavailableError
from everytoken.gateway import Gateway
from everytoken.journal import StreamInfo
from everytoken.journal.commit import GroupCommit
from everytoken.journal.sqlite import SqliteJournal
from everytoken.journal.stream import Stream
from everytoken.observer import (
    AttemptAccepted,
    AttemptBegun,
    AttemptEnded,
    Commit,
    FirstContent,
    Observers,
    ReaderCame,
    ReaderResumed,
    ReaderWent,
    Refused,
    ResponseBegun,
    ResponseEnded,
    ResponseHandedOver,
    Seam,
)
from everytoken.recovery import Policy
from gateway_serving import HELLO, ManualUpstream, Served, Wire, event, limit, over, served

ONCE = Policy(attempts=1)


@asynccontextmanager
async def observed(upstream, *observers, kept_in=None, **settings):
    """Serve a gateway that tells some observers."""
    bare = over(upstream, kept_in=kept_in, **settings)
    gateway = Gateway(bare.config, bare.upstreams, bare.journal, observers=observers)
    async with gateway, served(gateway) as port:
        yield Served(gateway, port)


async def told(seen, kind, number=1):
    """Wait until `number` events of a kind have been told; return the last."""
    async with limit():
        while sum(isinstance(one, kind) for one in seen) < number:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
    return [one for one in seen if isinstance(one, kind)][number - 1]


def names(seen):
    return [type(one).__name__ for one in seen]


async def test_a_response_from_its_beginning_to_its_end():
    upstream, seen = ManualUpstream(), []
    async with observed(upstream, seen.append) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO, {"X-Request-Id": "mine"})
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("one ", "two ", "three")
        attempt.finish()
        stream_id = (await wire.answer()).headers["location"].rpartition("/")[2]
        await told(seen, ReaderWent)
    assert names(seen) == [
        "ResponseBegun",
        "AttemptBegun",
        "ReaderCame",
        "AttemptAccepted",
        "FirstContent",
        "AttemptEnded",
        "ResponseEnded",
        "ReaderWent",
    ]
    assert {one.response for one in seen} == {stream_id}
    begun, first, came, accepted, content, attempted, ended, went = seen
    assert (begun.request_id, begun.owner, begun.model, begun.offset) == ("mine", "", "m", None)
    assert begun.dialect == "openai-chat"
    assert (first.attempt, first.upstream, first.strategy, first.offset) == (1, "manual", "first", 0)
    assert (accepted.attempt, content.attempt, first.streamed) == (1, 1, True)
    assert (attempted.attempt, attempted.cause, attempted.message) == (1, None, None)
    assert (ended.outcome, ended.error, ended.attempts, ended.records) == ("completed", None, 1, 4)
    assert (came.readers, went.readers) == (1, 0)
    assert accepted.seconds <= content.seconds <= attempted.seconds <= ended.seconds
    assert ended.first_content is not None
    assert [one.at for one in seen] == sorted(one.at for one in seen)


async def cut_and_repeated(upstream, wire):
    """Cut a response behind two words; return the attempt that has repeated the first of them."""
    wire.send("POST", "/v1/chat/completions", HELLO)
    first = await upstream.attempt()
    first.accept()
    first.send("one ", "two ")
    first.sink.on_eof()
    second = await upstream.attempt(1)
    second.accept()
    second.send("one ")
    return second


async def test_a_cut_a_further_attempt_and_its_seam():
    upstream, seen = ManualUpstream(), []
    async with observed(upstream, seen.append) as gateway, Wire.to(gateway.port) as wire:
        second = await cut_and_repeated(upstream, wire)
        assert not any(isinstance(one, Seam) for one in seen)  # what it repeats is not new
        second.send("two ", "three")
        second.finish()
        assert (await wire.answer()).text == "one two three"
    ended = [one for one in seen if isinstance(one, AttemptEnded)]
    assert [(one.attempt, one.cause) for one in ended] == [(1, "upstream-truncated"), (2, None)]
    assert ended[0].message
    [seam] = [one for one in seen if isinstance(one, Seam)]
    assert (seam.attempt, seam.upstream, seam.strategy, seam.offset) == (2, "manual", "replay", 2)
    assert names(seen).index("Seam") == names(seen).index("FirstContent", names(seen).index("Seam") - 1) + 1
    assert [one.offset for one in seen if isinstance(one, AttemptBegun)] == [0, 2]
    assert [one.attempt for one in seen if isinstance(one, FirstContent)] == [1, 2]
    [over_] = [one for one in seen if isinstance(one, ResponseEnded)]
    assert (over_.outcome, over_.attempts) == ("completed", 2)


async def told_of_a_seam(at_seconds):
    """Return the seam of a response whose second attempt brings something new so many seconds after the first ended."""
    upstream, seen = ManualUpstream(), []
    async with observed(upstream, seen.append) as gateway, Wire.to(gateway.port) as wire:
        second = await cut_and_repeated(upstream, wire)
        await asyncio.sleep(at_seconds)
        second.send("two ", "three")
        second.finish()
        await wire.answer()
    [seam] = [one for one in seen if isinstance(one, Seam)]
    return seam


@pytest.mark.virtual_time
async def test_a_seam_tells_for_how_long_there_was_nothing_new():
    seam = await told_of_a_seam(7.0)
    assert 7.0 <= seam.seconds < 8.5  # and the pause before the second attempt


@pytest.mark.virtual_time
async def test_the_gap_of_a_seam_beside_a_slow_attempt_begins_with_the_one_beside_it():
    upstream, seen = ManualUpstream(), []
    async with observed(upstream, seen.append) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        first = await upstream.attempt()
        first.accept()
        first.send("one ")
        second = await upstream.attempt(1)  # after 30 s without content
        await asyncio.sleep(3.0)
        second.accept()
        second.send("one ", "two ")
        second.finish()
        await wire.answer()
    [seam] = [one for one in seen if isinstance(one, Seam)]
    assert 3.0 <= seam.seconds < 4.0


async def test_requests_that_are_refused_and_readers_that_come_back():
    upstream, seen = ManualUpstream(), []
    async with observed(upstream, seen.append) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", "/v1/chat/completions", HELLO)
            attempt = await upstream.attempt()
            attempt.accept()
            attempt.send("one ", "two ")
            attempt.finish()
            answer = await wire.answer()
        stream, offset = answer.headers["location"], answer.events[0][1]
        await gateway.ask("GET", f"{stream}/events", headers={"Last-Event-ID": offset})
        await gateway.ask("GET", f"{stream}?offset={offset}&live=sse")
        await gateway.ask("GET", f"{stream}?offset={offset}&live=long-poll")
        await gateway.ask("GET", "/none", headers={"X-Request-Id": "mine"})
    assert [(one.offset, one.response) for one in seen if isinstance(one, ReaderResumed)] == [
        (1, stream.rpartition("/")[2])
    ] * 2
    [refused] = [one for one in seen if isinstance(one, Refused)]
    assert (refused.code, refused.status, refused.path) == ("route-not-found", 404, "/none")
    assert refused.request_id == "mine"


async def test_an_attempt_that_brings_nothing_new_has_no_first_content_and_no_seam():
    upstream, seen = ManualUpstream(), []
    policy = Policy(attempts=2, strategies=frozenset({"replay"}))
    async with observed(upstream, seen.append, policy=policy) as gateway, Wire.to(gateway.port) as wire:
        second = await cut_and_repeated(upstream, wire)
        second.sink.on_eof()
        await wire.answer()
        ended = await told(seen, ResponseEnded)
    assert (ended.outcome, ended.error) == ("interrupted", "recovery-exhausted")
    assert ended.message
    assert [one.attempt for one in seen if isinstance(one, FirstContent)] == [1]
    assert not any(isinstance(one, Seam) for one in seen)


async def test_an_answer_without_content_has_no_first_content():
    upstream, seen = ManualUpstream(), []
    async with observed(upstream, seen.append) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.finish()
        await wire.answer()
        ended = await told(seen, ResponseEnded)
    assert (ended.outcome, ended.first_content) == ("completed", None)
    assert "FirstContent" not in names(seen)


async def test_an_answer_in_one_piece_has_its_first_content_before_its_end():
    upstream, seen = ManualUpstream(), []
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    message = {"role": "assistant", "content": "Hi"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    async with observed(upstream, seen.append) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.sink.on_non_streaming(msgspec.json.encode({**whole, "choices": [choice]}))
        await wire.answer()
    assert names(seen).index("FirstContent") < names(seen).index("AttemptEnded")


async def test_a_stopped_response_is_cancelled():
    upstream, seen = ManualUpstream(), []
    async with observed(upstream, seen.append) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("one")
        stream_id = (await wire.head()).headers["location"].rpartition("/")[2]
        await gateway.ask("POST", f"/v1/stream/{stream_id}/cancel")
        ended = await told(seen, ResponseEnded)
    assert (ended.outcome, ended.error, ended.records) == ("cancelled", "cancelled", 1)
    assert (await told(seen, AttemptEnded)).cause is None


async def test_readers_are_counted():
    upstream, seen = ManualUpstream(), []
    async with observed(upstream, seen.append) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("one")
        place = (await wire.head()).headers["location"]
        async with Wire.to(gateway.port) as other:
            other.send("GET", f"{place}/events")
            await other.head()
            assert (await told(seen, ReaderCame, 2)).readers == 2
        assert (await told(seen, ReaderWent)).readers == 1


# More processes than one


async def test_a_response_that_is_handed_over_ends_elsewhere(tmp_path):
    upstream, seen, after = ManualUpstream(), [], []
    path = tmp_path / "journal.sqlite"
    async with observed(upstream, seen.append, kept_in=SqliteJournal(path)) as gateway:
        async with Wire.to(gateway.port) as wire:
            wire.send("POST", "/v1/chat/completions", HELLO, {"Everytoken-Disconnect": "continue"})
            attempt = await upstream.attempt()
            attempt.accept()
            attempt.send("one ")
            await wire.head()
            assert b"one " in (await wire.frame() or b"")
        await gateway.gateway.relays.drain(0)
    handed = await told(seen, ResponseHandedOver)
    assert not any(isinstance(one, ResponseEnded) for one in seen)
    async with observed(upstream, after.append, kept_in=SqliteJournal(path)):
        again = await upstream.attempt(1)
        again.accept()
        again.send("one ", "two")
        again.finish()
        ended = await told(after, ResponseEnded)
    begun = await told(after, ResponseBegun)
    assert (begun.response, begun.offset) == (handed.response, 1)
    assert (ended.response, ended.outcome) == (handed.response, "completed")
    assert (await told(after, Seam)).offset == 1
    assert not any(isinstance(one, ReaderCame | ReaderWent) for one in after)


# The journal


async def test_commits_are_told_with_what_they_stored(tmp_path):
    upstream, seen = ManualUpstream(), []
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    async with observed(upstream, seen.append, kept_in=journal) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        before = sum(isinstance(one, Commit) for one in seen)
        attempt.send("one ", "two ")
        commit = await told(seen, Commit, before + 1)
        attempt.finish()
        await wire.answer()
    records = [event(text).removeprefix(b"data: ").strip() for text in ("one ", "two ")]
    assert (commit.journal, commit.streams) == ("SqliteJournal", 1)
    assert commit.bytes == sum(map(len, records))
    assert commit.seconds >= 0


async def test_a_journal_in_memory_has_no_commits():
    upstream, seen = ManualUpstream(), []
    async with observed(upstream, seen.append) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("one")
        attempt.finish()
        await wire.answer()
    assert "Commit" not in names(seen)


@pytest.mark.virtual_time
async def test_what_could_not_be_stored_is_told_once_it_is():
    loop = asyncio.get_running_loop()
    refusals = [JournalUnavailableError("not now")]
    told = []
    idle = loop.create_future()

    def store(streams):
        if refusals:
            raise refusals.pop()
        return True

    commits = GroupCommit(store, lambda _streams: idle.set_result(None))
    commits.observe(lambda streams, size, _seconds: told.append((streams, size)))
    stream = Stream(StreamInfo(id="s", content_type="application/json"))
    stream.created = True
    stream.pending += [b"12", b"345"]
    commits.add(stream)
    async with limit():
        await idle
    assert refusals == []
    assert told == [(1, 5)]


# Observers


async def test_one_that_fails_is_logged_and_harms_nobody(caplog, tmp_path):
    def broken(_event):
        raise ValueError("no room")

    upstream, seen = ManualUpstream(), []
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    observers = (broken, seen.append)
    with caplog.at_level(logging.ERROR, "everytoken.observer"):
        async with observed(upstream, *observers, kept_in=journal) as gateway, Wire.to(gateway.port) as wire:
            wire.send("POST", "/v1/chat/completions", HELLO)
            attempt = await upstream.attempt()
            attempt.accept()
            attempt.send("one")
            attempt.finish()
            answer = await wire.answer()
    assert (answer.text, answer.complete) == ("one", True)
    assert {"ResponseBegun", "FirstContent", "Commit", "ResponseEnded"} <= set(names(seen))
    logged = [record.getMessage() for record in caplog.records if record.name == "everytoken.observer"]
    assert logged == [f"an observer failed at {name}" for name in names(seen)]


async def test_one_that_is_added_later_is_told_of_what_begins_from_then_on():
    upstream, seen = ManualUpstream(), []
    async with observed(upstream) as gateway, Wire.to(gateway.port) as wire:
        gateway.gateway.observers.add(seen.append)
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.finish()
        await wire.answer()
    assert names(seen)[0] == "ResponseBegun"


async def test_a_commit_within_one_turn_of_the_loop_has_its_seconds_too(monkeypatch):
    """uvloop's clock stands still within a turn."""
    seconds = []

    def store(_):
        until = time.perf_counter() + 0.002
        while time.perf_counter() < until:
            pass
        return True

    commits = GroupCommit(store, lambda _: None)
    commits.observe(lambda _streams, _size, took: seconds.append(took))
    stream = Stream(StreamInfo(id="s", content_type="application/json"))
    stream.created = True
    stream.pending += [b"12"]
    commits.add(stream)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: 1.0)
    commits._flush()
    monkeypatch.undo()
    assert len(seconds) == 1
    assert seconds[0] >= 0.002


def test_several_are_told_in_order():
    seen = []
    observers = Observers([lambda one: seen.append(("a", one)), lambda one: seen.append(("b", one))])
    one = ReaderCame(at=1.0, response="r", readers=1)
    observers.tell(one)
    assert seen == [("a", one), ("b", one)]
    assert bool(observers) is True
    assert bool(Observers()) is False


class Picky:
    """An observer that wants to be told of one kind of event."""

    def __init__(self):
        self.came = []
        self.handlers = {ReaderCame: self.came.append}

    def __call__(self, event):
        raise AssertionError("it is told by its handlers")


def test_one_with_handlers_is_told_of_their_kinds_only():
    picky, seen = Picky(), []
    came, went = (kind(at=1.0, response="r", readers=1) for kind in (ReaderCame, ReaderWent))
    observers = Observers([picky])
    observers.tell(came)
    observers.tell(went)
    assert picky.came == [came]
    assert (len(observers.of(ReaderCame)), observers.of(ReaderWent)) == (1, ())
    observers.add(seen.append)
    observers.tell(went)
    assert (picky.came, seen) == ([came], [went])


def test_every_event_is_a_value_that_json_can_hold():
    kinds = [
        kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)
    ]
    assert {kind.__name__ for kind in kinds} - {"Event"} <= set(events.__all__)
    made = ReaderCame(at=1.0, response="r", readers=1)
    assert msgspec.json.encode(made) == b'{"event":"ReaderCame","at":1.0,"response":"r","readers":1}'
    with pytest.raises(AttributeError):
        made.readers = 2


# The cost


async def calls_of_one_chunk(*observers):
    """Return the Python calls that one chunk makes, from the upstream's connection to the reader's."""
    upstream = ManualUpstream()
    async with observed(upstream, *observers) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        attempt.accept()
        attempt.send("one ")
        await wire.head()
        await wire.frame()
        attempt.send("two ")
        await wire.frame()
        called = []

        def note(frame, what, _argument):
            if what == "call" and "everytoken" in frame.f_code.co_filename:
                called.append((frame.f_code.co_filename, frame.f_code.co_qualname))

        data = event("three ")
        sys.setprofile(note)
        attempt.sink.on_data(data)
        sys.setprofile(None)
        assert b"three " in (await wire.frame() or b"")
        attempt.finish()
        await wire.frame()
    return called


async def test_a_chunk_costs_the_same_with_observers_and_without():
    without = await calls_of_one_chunk()
    assert len(without) > 5
    assert await calls_of_one_chunk([].append) == without
    assert not [name for file, name in without if "observer" in file or "relay/events" in file]


async def test_without_observers_nothing_is_made(tmp_path):
    upstream = ManualUpstream()
    journal = SqliteJournal(tmp_path / "journal.sqlite")
    async with observed(upstream, kept_in=journal, keep_log=0.0) as gateway, Wire.to(gateway.port) as wire:
        wire.send("POST", "/v1/chat/completions", HELLO)
        attempt = await upstream.attempt()
        [relay] = gateway.gateway.relays._relays.values()
        assert relay._events is None
        assert journal.commits._store == journal._begin
        attempt.accept()
        attempt.finish()
        await wire.answer()


def test_what_is_told_has_its_times():
    kinds = (AttemptAccepted, FirstContent, AttemptEnded, Commit, ResponseHandedOver, ResponseEnded)
    assert all({"at", "seconds"} <= set(kind.__struct_fields__) for kind in kinds)
