"""Responses begun, taken over, fenced off, handed over; repeated requests that attach."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from everytoken.dialects.openai_chat import ChatRequest
from everytoken.errors import JournalUnavailableError, OverloadedError
from everytoken.journal import StreamInfo
from everytoken.journal.memory import MemoryJournal
from everytoken.journal.sqlite import SqliteJournal
from everytoken.recovery import Policy, Target
from everytoken.relay import Relays, registry
from gateway_serving import HELLO, ManualUpstream, event

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from everytoken.journal import Journal, Log

REQUEST = ChatRequest(HELLO)
TEXT = ["One ", "two ", "three ", "four ", "five"]


def relays_over(journal: Journal, upstream: ManualUpstream, **options: Any) -> Relays:
    target = Target(name="manual", policy=Policy(backoff=0))
    return Relays({"manual": upstream}, lambda _: [target], journal, **options)


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # the journal commits within some turns of the loop
            await asyncio.sleep(0)


def text_of(log: Log) -> str:
    records: Sequence[bytes] = log.take(0, 10**6) or []
    chunks = [json.loads(record) for record in records]
    return "".join(choice["delta"].get("content") or "" for c in chunks for choice in c.get("choices", ()))


async def began(relays: Relays, upstream: ManualUpstream, *contents: str) -> Any:
    """Begin a response, deliver some content, and wait until it is stored."""
    relay = await relays.begin(REQUEST)
    attempt = await upstream.attempt(len(upstream.attempts) - 1)
    attempt.accept()
    attempt.send(*contents)
    await until(lambda: relay.log.tail == len(contents))
    return relay


@pytest.mark.parametrize("delivered", range(len(TEXT) + 1))
async def test_a_response_whose_process_died_is_gone_on_with_to_the_exact_text(
    tmp_path: Path, delivered: int
) -> None:
    upstream = ManualUpstream()
    journal = SqliteJournal(tmp_path / "journal")
    await journal.start()
    relay = await began(relays_over(journal, upstream), upstream, *TEXT[:delivered])
    stream_id, epoch = relay.stream_id, relay.log.info.epoch
    relay.let_go()  # what a kill does too: nothing more is written, and the stream stays open
    await journal.stop()

    again = SqliteJournal(tmp_path / "journal")
    await again.start()
    relays = relays_over(again, upstream)
    assert await relays.take_over() == 1
    attempt = await upstream.attempt(1)
    assert attempt.body["seed"] == upstream.attempts[0].body["seed"], "only so can it repeat itself"
    attempt.accept()
    attempt.send(*TEXT)
    attempt.finish()
    log = await again.open(stream_id)
    await until(lambda: log.closed)
    assert text_of(log) == "".join(TEXT)
    result = log.info.result
    assert result is not None
    assert result["outcome"] == "completed"
    assert result["attempts"][0]["cause"]["code"] == "node-lost"
    assert result["attempts"][1]["offset"] == delivered
    assert log.info.epoch == epoch + 1
    await again.stop()


async def test_an_end_that_was_stored_is_not_asked_for_again(tmp_path: Path) -> None:
    upstream = ManualUpstream()
    journal = SqliteJournal(tmp_path / "journal")
    await journal.start()
    relay = await began(relays_over(journal, upstream), upstream, *TEXT)
    upstream.attempts[0].sink.on_data(event(finish="stop"))
    await until(lambda: relay.log.tail == len(TEXT) + 1)
    relay.let_go()
    await journal.stop()

    again = SqliteJournal(tmp_path / "journal")
    await again.start()
    await relays_over(again, upstream).take_over()
    log = await again.open(relay.stream_id)
    await until(lambda: log.closed)
    assert (log.info.result or {})["outcome"] == "completed"
    assert len(upstream.attempts) == 1
    await again.stop()


@pytest.mark.parametrize(
    ("error", "code"),
    [(JournalUnavailableError("the disk is gone"), "journal-unavailable"), (KeyError("odd"), "node-lost")],
)
async def test_a_response_that_cannot_be_gone_on_with_ends_and_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    """It has been claimed by then: nobody else finds it any more."""
    upstream = ManualUpstream()
    journal = SqliteJournal(tmp_path / "journal")
    await journal.start()
    relay = await began(relays_over(journal, upstream), upstream, "One ")
    relay.let_go()
    await journal.stop()

    async def fail(_: Log) -> list[bytes]:
        raise error

    monkeypatch.setattr(registry, "read_all", fail)
    again = SqliteJournal(tmp_path / "journal")
    await again.start()
    assert await relays_over(again, upstream).take_over() == 0
    log = await again.open(relay.stream_id)
    await until(lambda: log.closed)
    assert (log.info.result or {})["outcome"] == "interrupted"
    assert (log.info.result or {})["error"]["code"] == code
    assert text_of(log) == "One "
    await again.stop()


async def test_streams_that_are_no_responses_are_left_alone(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "journal")
    await journal.start()
    await journal.create(StreamInfo(id="mine", content_type="text/plain", created=1.0))
    await journal.stop()
    again = SqliteJournal(tmp_path / "journal")
    await again.start()
    assert await relays_over(again, ManualUpstream()).take_over() == 0
    assert not (await again.open("mine")).closed
    await again.stop()


async def test_a_writer_that_was_fenced_off_stops_and_adds_nothing() -> None:
    upstream, journal = ManualUpstream(), MemoryJournal()
    relays = relays_over(journal, upstream)
    relay = await began(relays, upstream, "One ")
    successor = await journal.claim(relay.stream_id)
    upstream.attempts[0].send("two ")
    assert upstream.attempts[0].released.is_set()
    assert len(relays) == 0
    assert relay.log.tail == 1
    assert not relay.log.closed
    successor.append([b"{}"])
    assert relay.log.tail == 2


async def test_stopping_a_response_that_is_written_elsewhere_ends_it_for_every_reader() -> None:
    upstream, journal = ManualUpstream(), MemoryJournal()
    here, elsewhere = relays_over(journal, upstream), relays_over(journal, upstream)
    relay = await began(here, upstream, "One ")
    await elsewhere.stop(relay.stream_id)
    assert relay.log.closed
    assert (relay.log.info.result or {})["outcome"] == "cancelled"
    upstream.attempts[0].send("two ")
    assert upstream.attempts[0].released.is_set()
    assert text_of(relay.log) == "One "


async def test_a_node_that_drains_lets_finish_what_finishes_and_takes_nothing_new() -> None:
    upstream = ManualUpstream()
    relays = relays_over(MemoryJournal(), upstream)
    relay = await began(relays, upstream, *TEXT)
    draining = asyncio.create_task(relays.drain(60))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await relays.begin(REQUEST)
    upstream.attempts[0].finish()
    async with asyncio.timeout(5):
        await draining
    assert (relay.log.info.result or {})["outcome"] == "completed"


async def test_a_node_has_not_drained_before_the_ends_of_its_last_responses_are_stored(
    tmp_path: Path,
) -> None:
    upstream, journal = ManualUpstream(), SqliteJournal(tmp_path / "journal")
    await journal.start()
    relays = relays_over(journal, upstream)
    relay = await began(relays, upstream, *TEXT)
    draining = asyncio.create_task(relays.drain(60))
    journal.commits.hold()  # as a server that has not answered yet
    upstream.attempts[0].finish()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not relays.running()
    assert not draining.done()
    journal.commits.release()
    async with asyncio.timeout(5):
        await draining
    assert relay.log.closed
    await journal.stop()


@pytest.mark.parametrize("durable", [True, False])
async def test_what_does_not_finish_is_handed_over_or_stopped(tmp_path: Path, *, durable: bool) -> None:
    upstream = ManualUpstream()
    journal: Journal = SqliteJournal(tmp_path / "journal") if durable else MemoryJournal()
    await journal.start()
    relays = relays_over(journal, upstream)
    relay = await began(relays, upstream, "One ")
    await relays.drain(0)
    assert upstream.attempts[0].released.is_set()
    assert len(relays) == 0
    assert relay.log.closed is not durable
    await journal.stop()


async def test_who_is_in_a_hurry_does_not_wait_for_responses() -> None:
    upstream = ManualUpstream()
    relays = relays_over(MemoryJournal(), upstream)
    await began(relays, upstream, "One ")
    draining = asyncio.create_task(relays.drain(3600))
    await asyncio.sleep(0)
    relays.hurry()
    async with asyncio.timeout(5):
        await draining


async def test_a_journal_that_cannot_keep_up_pauses_the_upstream() -> None:
    upstream, journal = ManualUpstream(), MemoryJournal()
    relay = await began(relays_over(journal, upstream), upstream, "One ")
    told: list[str] = []
    attempt = upstream.attempts[0]
    attempt.pause, attempt.resume = lambda: told.append("pause"), lambda: told.append("resume")  # type: ignore[method-assign]
    writer = relay.writer

    class Slow:
        full = True
        log = writer.log

        def append(self, records: Sequence[bytes]) -> bool:
            writer.append(records)
            return self.full

        close = staticmethod(writer.close)
        when_fenced = staticmethod(writer.when_fenced)

    slow = Slow()
    relay.writer = slow
    attempt.sink._append = slow.append
    attempt.send("two ", "three ")
    assert told == ["pause"]
    slow.full = False
    attempt.send("four ")
    assert told == ["pause", "resume"]
    attempt.finish()
    assert text_of(relay.log) == "One two three four "
