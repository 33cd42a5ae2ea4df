"""What every journal promises (`everytoken.journal`), held against each of them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.journal_backends import BACKENDS, PATIENCE, Reader, info, read_all, until

from everytoken.errors import (
    FencedError,
    InvalidRequestError,
    JournalFullError,
    OffsetExpiredError,
    OffsetInvalidError,
    ProducerGapError,
    ProducerStaleError,
    QuotaExceededError,
    SequenceConflictError,
    StreamClosedError,
    StreamExistsError,
    StreamFullError,
    StreamNotFoundError,
)
from everytoken.journal import Append, Producer
from everytoken.journal.ids import new_stream_id
from everytoken.journal.quota import OWN, Quota, chats_of
from everytoken.journal.rules import MAX_PRODUCERS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from everytoken.journal import Journal


@pytest.fixture(params=list(BACKENDS))
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return BACKENDS[request.param](tmp_path)


@pytest.fixture
async def journal(backend: Any) -> AsyncIterator[Journal]:
    journal = await backend.open()
    yield journal
    await journal.stop()


def _records(count: int, start: int = 0) -> list[bytes]:
    return [b'{"n":%d,"of":"the same stream"}' % n for n in range(start, start + count)]


# Appending and reading


async def test_a_record_is_visible_only_when_it_is_stored(backend: Any, journal: Journal) -> None:
    writer = await journal.create(info())
    seen: list[int] = []
    writer.log.subscribe(lambda: seen.append(writer.log.tail))
    writer.append([b"1"])
    if not backend.immediate:
        assert writer.log.tail == 0
        assert not writer.log.take(0, 100)
        assert seen == []
    await until(lambda: writer.log.tail == 1)
    assert seen == [1]
    assert writer.log.take(0, 100) == [b"1"]


async def test_what_is_appended_in_one_turn_of_the_loop_comes_in_one_piece(
    backend: Any, journal: Journal
) -> None:
    if backend.immediate:
        pytest.skip("stores at once")
    writer = await journal.create(info())
    seen: list[int] = []
    writer.log.subscribe(lambda: seen.append(writer.log.tail))
    writer.append([b"1"])
    writer.append([b"2", b"3"])
    writer.append([b"4"])
    await until(lambda: seen)
    assert seen == [4]
    assert writer.log.take(0, 100) == [b"1", b"2", b"3", b"4"]


async def test_who_observes_commits_is_told_of_each(backend: Any, journal: Any) -> None:
    if backend.immediate:
        pytest.skip("stores at once")
    writer = await journal.create(info())
    other = await journal.create(info(getattr(backend, "neighbour", "other")))
    told: list[tuple[int, int, float]] = []
    journal.commits.observe(lambda streams, size, seconds: told.append((streams, size, seconds)))
    writer.append([b"1", b"22"])
    other.append([b"333"])
    await until(lambda: told)
    assert (writer.log.tail, other.log.tail) == (2, 1)
    [(streams, size, seconds)] = told
    assert (streams, size) == (2, 6)
    assert 0 <= seconds < PATIENCE
    await journal.probe()
    assert len(told) == 1  # it stores nothing of a stream


async def test_who_counts_commits_is_told_of_many_at_once(backend: Any, journal: Any) -> None:
    if backend.immediate:
        pytest.skip("stores at once")
    writer = await journal.create(info())
    told: list[tuple[int, int]] = []
    journal.commits.count(lambda times, size: told.append((len(times), size)))
    for number in range(4):
        writer.append([b"1", b"22"])
        await until(lambda due=2 * number + 2: writer.log.tail == due)
        if number == 2:
            journal.commits.fold()
            assert told == [(3, 9)]
    await journal.probe()
    for _ in range(2):
        journal.commits.fold()
    assert told == [(3, 9), (1, 3)]  # a probe stores nothing of a stream


@pytest.mark.parametrize("limit", [1, 40, 1000, 1_000_000])
async def test_every_offset_gives_the_records_behind_it(journal: Journal, limit: int) -> None:
    records = _records(200)
    writer = await journal.create(info(), records[:3])
    for start in range(3, 200, 13):
        writer.append(records[start : start + 13])
        await until(lambda: writer.log.tail == min(200, start + 13))  # noqa: B023
    for offset in (*range(0, 200, 17), 198, 199):
        some = await writer.log.fetch(offset, limit)
        assert list(some) == records[offset : offset + len(some)]
        assert some
        assert sum(map(len, some)) < limit + 64 * 40
        assert await read_all(writer.log, offset, limit) == records[offset:]
    assert not writer.log.take(200, limit)
    assert not await writer.log.fetch(200, limit)


async def test_an_offset_past_the_tail_is_an_error_at_once(journal: Journal) -> None:
    writer = await journal.create(info(), [b"1", b"2"])
    with pytest.raises(OffsetInvalidError):
        writer.log.take(3, 100)
    with pytest.raises(OffsetInvalidError):
        await writer.log.fetch(3, 100)


async def test_several_readers_during_appends_all_get_everything_once_and_in_order(journal: Journal) -> None:
    records = _records(300)
    writer = await journal.create(info())
    readers = [Reader(writer.log) for _ in range(5)]
    tasks = [asyncio.create_task(reader.run()) for reader in readers]
    for n in range(0, 296, 4):
        writer.append(records[n : n + 4])
        if n == 100:
            await until(lambda: writer.log.tail >= 50)
            late = Reader(await journal.open("s"), 50)
            tasks.append(asyncio.create_task(late.run()))
        if n % 3 == 0:
            await asyncio.sleep(0)
    writer.close(records[296:], {"outcome": "completed"})
    *early, last = await asyncio.gather(*tasks)
    assert all(one == records for one in early)
    assert last == records[50:]


async def test_a_reader_that_unsubscribes_in_its_call_keeps_no_other_from_its_own(journal: Journal) -> None:
    writer = await journal.create(info())
    calls: list[str] = []

    def first() -> None:
        calls.append("first")
        writer.log.unsubscribe(first)

    writer.log.subscribe(first)
    writer.log.subscribe(lambda: calls.append("second"))
    writer.append([b"1"])
    await until(lambda: writer.log.tail == 1)
    writer.append([b"2"])
    await until(lambda: writer.log.tail == 2)
    assert calls == ["first", "second", "second"]


async def test_one_reader_that_fails_does_not_keep_others_from_their_records(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    writer = await journal.create(info())
    seen: list[int] = []

    def broken() -> None:
        raise RuntimeError("a bug")

    writer.log.subscribe(broken)
    writer.log.subscribe(lambda: seen.append(writer.log.tail))
    writer.append([b"1"])
    await until(lambda: seen)
    writer.append([b"2"])
    await until(lambda: seen == [1, 2])
    assert "a bug" in caplog.text


async def test_records_of_any_bytes_and_size_come_back_as_they_are(journal: Journal) -> None:
    records = [b"", b"\0", bytes(range(256)), b"x" * 300_000, b"", "é流".encode(), b"\r\n"]
    writer = await journal.create(info())
    writer.append(records)
    await until(lambda: writer.log.tail == len(records))
    assert await read_all(writer.log) == records


# The end


async def test_last_records_and_the_end_come_in_one_step(journal: Journal) -> None:
    writer = await journal.create(info(), [b"1"])
    seen: list[tuple[int, bool]] = []
    writer.log.subscribe(lambda: seen.append((writer.log.tail, writer.log.closed)))
    writer.append([b"2"])
    writer.close([b"3"], {"outcome": "completed", "usage": None})
    await until(lambda: writer.log.closed)
    assert seen[-1] == (3, True)
    assert all(not closed for tail, closed in seen if tail < 3)
    assert writer.log.info.result == {"outcome": "completed", "usage": None}
    again = await journal.open("s")
    assert again.closed
    assert again.info.result == {"outcome": "completed", "usage": None}
    assert await read_all(again) == [b"1", b"2", b"3"]


async def test_nothing_can_be_appended_after_the_end(journal: Journal) -> None:
    writer = await journal.create(info())
    writer.close([], {})
    with pytest.raises(StreamClosedError):
        writer.append([b"1"])
    await until(lambda: writer.log.closed)
    for append in (lambda: writer.append([b"1"]), lambda: writer.close([], {})):
        with pytest.raises(StreamClosedError):
            append()
    with pytest.raises(StreamClosedError):
        await journal.claim("s")
    assert writer.log.tail == 0


async def test_a_stream_can_be_made_with_records_and_its_end(journal: Journal) -> None:
    await journal.create(info(result={"outcome": "completed"}), [b"1", b"2"], closed=True)
    log = await journal.open("s")
    assert (log.tail, log.closed, log.info.result) == (2, True, {"outcome": "completed"})
    assert await read_all(log) == [b"1", b"2"]


# Names


async def test_a_stream_is_made_once(journal: Journal) -> None:
    await journal.create(info(owner="me"))
    with pytest.raises(StreamExistsError):
        await journal.create(info(owner="somebody else"))
    assert (await journal.open("s")).info.owner == "me"


async def test_of_two_that_make_the_same_stream_at_once_one_has_it(journal: Journal) -> None:
    made = await asyncio.gather(
        *(journal.create(info(owner=str(n))) for n in range(5)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in made).count("StreamExistsError") == 4


async def test_an_ended_stream_still_has_its_name(journal: Journal) -> None:
    await journal.create(info(), closed=True)
    with pytest.raises(StreamExistsError):
        await journal.create(info())


async def test_what_is_not_there_is_not_found(journal: Journal) -> None:
    with pytest.raises(StreamNotFoundError):
        await journal.open("nothing")
    with pytest.raises(StreamNotFoundError):
        await journal.claim("nothing")
    with pytest.raises(StreamNotFoundError):
        await journal.delete("nothing")
    with pytest.raises(StreamNotFoundError):
        await journal.submit("nothing", Append(records=[b"1"]))


@pytest.mark.parametrize("ended", [False, True], ids=["still open", "ended"])
async def test_a_deleted_stream_is_gone_and_its_readers_and_writer_are_told(
    journal: Journal, *, ended: bool
) -> None:
    writer = await journal.create(info(), [b"1"])
    if ended:
        writer.close([], {})
        await until(lambda: writer.log.closed)
    log = await journal.open("s")
    told: list[bool] = []
    log.subscribe(lambda: told.append(log.deleted))
    await journal.delete("s")
    if not ended:
        assert told[-1:] == [True]
        assert log.take(0, 100) is None
        with pytest.raises(StreamNotFoundError):
            await log.fetch(0, 100)
        with pytest.raises(StreamNotFoundError):
            writer.append([b"2"])
    with pytest.raises(StreamNotFoundError):
        await journal.open("s")
    again = await journal.create(info(), [b"other"])
    assert await read_all(again.log) == [b"other"]


async def test_owner_and_meta_are_kept(journal: Journal) -> None:
    meta = {
        "request": {"model": "m", "messages": [{"role": "user", "content": "é"}]},
        "seed": 7,
        "grace": None,
    }
    await journal.create(info(owner="abc", meta=meta, created=123.5, ttl=None, expires=9e9))
    kept = (await journal.open("s")).info
    assert (kept.owner, kept.meta, kept.created, kept.expires) == ("abc", meta, 123.5, 9e9)
    assert kept.content_type == "application/json"


# Two writers


async def test_a_claim_fences_the_writer_before(journal: Journal) -> None:
    old = await journal.create(info())
    old.append([b"1"])
    new = await journal.claim("s")
    with pytest.raises(FencedError):
        old.append([b"late"])
    with pytest.raises(FencedError):
        old.close([b"late"], {})
    assert await read_all(new.log) == [b"1"], "what was appended before the claim is there when it returns"
    new.append([b"2"])
    new.close([b"3"], {"outcome": "completed"})
    await until(lambda: new.log.closed)
    assert await read_all(await journal.open("s")) == [b"1", b"2", b"3"]
    assert new.log.info.epoch == 1


async def test_of_many_claims_the_last_one_writes(journal: Journal) -> None:
    writers = [await journal.create(info())]
    writers += [await journal.claim("s") for _ in range(4)]
    for number, writer in enumerate(writers[:-1]):
        with pytest.raises(FencedError):
            writer.append([b"%d" % number])
    writers[-1].append([b"mine"])
    await until(lambda: writers[-1].log.tail == 1)
    assert (await journal.open("s")).info.epoch == 4


# Appends by anybody


async def _shared(journal: Journal, **more: Any) -> None:
    await journal.create(info(shared=True, **more))


async def test_submitted_records_are_stored_when_it_returns(journal: Journal) -> None:
    await _shared(journal)
    log = await journal.open("s")
    done = await journal.submit("s", Append(records=[b"1", b"2"]))
    assert (done.tail, done.closed, done.duplicate, done.seq) == (2, False, False, None)
    assert await read_all(log) == [b"1", b"2"]
    done = await journal.submit("s", Append(records=[b"3"], close=True, result={"by": "me"}))
    assert (done.tail, done.closed) == (3, True)
    assert (log.tail, log.closed, log.info.result) == (3, True, {"by": "me"})
    with pytest.raises(StreamClosedError):
        await journal.submit("s", Append(records=[b"4"]))
    again = await journal.submit("s", Append(close=True))
    assert (again.tail, again.closed) == (3, True), "to close what is closed changes nothing"


async def test_a_stream_has_its_writer_or_is_everybodys(journal: Journal) -> None:
    writer = await journal.create(info())
    with pytest.raises(FencedError):
        await journal.submit("s", Append(records=[b"1"]))
    everybodys = await journal.create(info("everybody's", shared=True))
    with pytest.raises(FencedError):
        everybodys.append([b"1"])
    assert (writer.log.tail, everybodys.log.tail) == (0, 0)


async def test_submits_at_once_are_all_stored_in_some_order(journal: Journal) -> None:
    await _shared(journal)
    done = await asyncio.gather(*(journal.submit("s", Append(records=[b"%d" % n])) for n in range(20)))
    assert sorted(one.tail for one in done) == list(range(1, 21))
    records = await read_all(await journal.open("s"))
    assert sorted(records) == sorted(b"%d" % n for n in range(20))
    for n, one in enumerate(done):
        assert records[one.tail - 1] == b"%d" % n


async def test_readers_see_submitted_records(journal: Journal) -> None:
    await _shared(journal)
    reader = Reader(await journal.open("s"))
    task = asyncio.create_task(reader.run())
    for n in range(5):
        await journal.submit("s", Append(records=[b"%d" % n], close=n == 4))
    assert await task == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_sequence_must_rise_bytewise(journal: Journal) -> None:
    await _shared(journal)
    await journal.submit("s", Append(records=[b"1"], sequence="a"))
    for low in ("a", "Z", ""):
        with pytest.raises(SequenceConflictError):
            await journal.submit("s", Append(records=[b"no"], sequence=low))
    await journal.submit("s", Append(records=[b"2"]))
    await journal.submit("s", Append(records=[b"3"], sequence="aa"))
    with pytest.raises(SequenceConflictError):
        await journal.submit("s", Append(records=[b"no"], sequence="a9"[:1]))
    assert await read_all(await journal.open("s")) == [b"1", b"2", b"3"]


async def test_a_producers_append_counts_once(journal: Journal) -> None:
    await _shared(journal)

    async def put(epoch: int, seq: int, who: str = "p", **more: Any) -> tuple[int, bool, int | None]:
        append = Append(records=[f"{who}{epoch}.{seq}".encode()], producer=Producer(who, epoch, seq), **more)
        done = await journal.submit("s", append)
        return done.tail, done.duplicate, done.seq

    assert await put(0, 0) == (1, False, 0)
    assert await put(0, 0) == (1, True, 0)
    assert await put(0, 1) == (2, False, 1)
    assert await put(0, 0) == (2, True, 1)
    with pytest.raises(ProducerGapError) as gap:
        await put(0, 3)
    assert (gap.value.expected, gap.value.received) == (2, 3)
    assert await put(0, 0, "q") == (3, False, 0)
    with pytest.raises(ProducerGapError):
        await put(0, 1, "new")
    with pytest.raises(InvalidRequestError):
        await put(1, 1)
    assert await put(1, 0) == (4, False, 0)
    with pytest.raises(ProducerStaleError) as stale:
        await put(0, 2)
    assert stale.value.epoch == 1
    assert await put(1, 1, close=True) == (5, False, 1)
    assert await put(1, 1, close=True) == (5, True, 1), "a repeated append is no error after the end"
    assert await read_all(await journal.open("s")) == [b"p0.0", b"p0.1", b"q0.0", b"p1.0", b"p1.1"]


async def test_closing_again_by_another_producer_changes_nothing(journal: Journal) -> None:
    await _shared(journal)
    await journal.submit("s", Append(records=[b"1"], close=True))
    done = await journal.submit("s", Append(close=True, producer=Producer("new", 0, 0)))
    assert (done.tail, done.closed, done.seq) == (1, True, 0)


async def test_a_stream_knows_a_thousand_producers(journal: Journal) -> None:
    await _shared(journal)
    for at in range(0, MAX_PRODUCERS, 100):
        await asyncio.gather(
            *(
                journal.submit("s", Append(records=[b"1"], producer=Producer(f"p{n}", 0, 0)))
                for n in range(at, at + 100)
            )
        )
    with pytest.raises(StreamFullError):
        await journal.submit("s", Append(records=[b"2"], producer=Producer("one more", 0, 0)))
    assert (await journal.submit("s", Append(records=[b"1"], producer=Producer("p0", 0, 0)))).duplicate
    await journal.submit("s", Append(records=[b"2"], producer=Producer("p999", 0, 1)))
    assert (await journal.submit("s", Append(records=[b"3"]))).tail == MAX_PRODUCERS + 2


# Room


SMALL = Quota(stream=10_000, key_bytes=25_000, key_streams=4)


async def _small(backend: Any) -> Any:
    return await backend.open(quota=SMALL)


async def test_a_stream_has_so_many_bytes_and_no_more(backend: Any) -> None:
    journal = await _small(backend)
    await _shared(journal)
    with pytest.raises(StreamFullError):
        await journal.create(info("large", shared=True), [random.randbytes(11_000)])
    for _ in range(9):
        await journal.submit("s", Append(records=[random.randbytes(1_000)]))
    with pytest.raises(StreamFullError):
        await journal.submit("s", Append(records=[random.randbytes(1_000)]))
    assert (await journal.open("s")).tail == 9, "what was refused is not there"
    await journal.submit("s", Append(close=True))
    with pytest.raises(StreamNotFoundError):
        await journal.open("large")
    await journal.stop()


async def test_the_streams_of_a_key_have_so_many_bytes_together(backend: Any) -> None:
    journal = await _small(backend)
    for name in ("a", "b"):
        await journal.create(info(name, shared=True, owner="me"), [random.randbytes(9_000)])
    for _ in range(3):  # to refuse costs nothing
        with pytest.raises(QuotaExceededError):
            await journal.create(info("c", shared=True, owner="me"), [random.randbytes(9_000)])
    await journal.create(info("theirs", shared=True, owner="you"), [random.randbytes(9_000)])
    await journal.create(info("response", owner="me"), [random.randbytes(9_000)])
    await journal.delete("a")
    await journal.create(info("c", shared=True, owner="me"), [random.randbytes(9_000)])
    await journal.stop()


async def test_a_key_has_so_many_streams(backend: Any) -> None:
    journal = await _small(backend)
    for n in range(4):
        await journal.create(info(f"{n}", shared=True, owner="me"), closed=n == 0)
    with pytest.raises(QuotaExceededError):
        await journal.create(info("one more", shared=True, owner="me"))
    with pytest.raises(StreamExistsError):
        await journal.create(info("3", shared=True, owner="me"))
    await journal.create(info("theirs", shared=True, owner="you"))
    await journal.delete("0")
    await journal.create(info("one more", shared=True, owner="me"))
    await journal.stop()


async def test_what_the_gateway_keeps_for_itself_has_no_quota(backend: Any) -> None:
    """Its ledger, its keys, its log: who writes them sees to it that they do not grow for ever."""
    journal = await _small(backend)
    for n in range(6):
        await journal.create(info(f"~{n}", shared=True, owner=OWN), [random.randbytes(9_000)])
    for _ in range(5):
        await journal.submit("~0", Append(records=[random.randbytes(9_000)]))
    assert (await journal.open("~0")).tail == 6
    await journal.stop()


async def test_what_is_kept_of_a_callers_chats_has_room_of_its_own_and_any_number(backend: Any) -> None:
    journal = await _small(backend)
    for n in range(6):
        await journal.create(info(f"~chat.{n}", shared=True, owner=chats_of("me")), [random.randbytes(1_000)])
    for n in range(4):
        await journal.create(info(f"{n}", shared=True, owner="me"))
    with pytest.raises(QuotaExceededError):
        await journal.create(info("one more", shared=True, owner="me"))
    with pytest.raises(StreamFullError):
        await journal.submit("~chat.0", Append(records=[random.randbytes(10_000)]))
    for n in range(2):
        await journal.submit(f"~chat.{n}", Append(records=[random.randbytes(8_000)]))
    with pytest.raises(QuotaExceededError):
        await journal.submit("~chat.2", Append(records=[random.randbytes(8_000)]))
    await journal.stop()


async def test_streams_at_once_cannot_get_past_the_quota(backend: Any) -> None:
    if backend.clock is None:
        pytest.skip("nodes ask before they store: what they store at once may be a little more")
    journal = await _small(backend)
    done = await asyncio.gather(
        *(journal.create(info(f"{n}", shared=True), [random.randbytes(5_000)]) for n in range(4)),
        *(journal.create(info(f"more{n}", shared=True), [random.randbytes(5_000)]) for n in range(4)),
        return_exceptions=True,
    )
    assert sum(not isinstance(one, Exception) for one in done) == 4
    assert all(isinstance(one, QuotaExceededError) for one in done if isinstance(one, Exception))
    await journal.stop()


async def test_what_a_key_uses_outlives_the_process(backend: Any) -> None:
    if not backend.durable:
        pytest.skip("keeps nothing")
    journal = await _small(backend)
    await journal.create(info("open", shared=True, owner="me"), [random.randbytes(9_000)])
    await journal.create(info("ended", shared=True, owner="me"), [random.randbytes(9_000)], closed=True)
    await _tidied(journal)
    await journal.stop()
    journal = await _small(backend)
    with pytest.raises(QuotaExceededError):
        await journal.create(info("c", shared=True, owner="me"), [random.randbytes(9_000)])
    await journal.delete("ended")
    await journal.create(info("c", shared=True, owner="me"), [random.randbytes(9_000)])
    await journal.delete("c")
    await journal.delete("open")
    for n in range(4):
        await journal.create(info(f"{n}", shared=True, owner="me"))
    await journal.stop()


async def test_what_has_expired_is_used_no_more(timed: Any) -> None:
    journal = await _small(timed)
    expires = timed.clock() + 100
    for n in range(4):
        await journal.create(info(f"{n}", shared=True, owner="me", expires=expires), closed=n < 2)
    await _tidied(journal)
    timed.clock.ahead += 101
    await _tidied(journal)
    await until(lambda: not journal._usage._owners)
    await journal.create(info("a", shared=True, owner="me"))
    await journal.stop()


async def test_open_streams_count_against_what_the_journal_may_take(backend: Any) -> None:
    if backend.clock is None:
        pytest.skip("the server has its own limit")
    journal = await backend.open(max_bytes=20_000)
    await journal.create(info("ended"), [random.randbytes(5_000)], closed=True)
    await journal.create(info("a", shared=True), [random.randbytes(9_000)])
    writer = await journal.create(info("response"))
    writer.append([random.randbytes(15_000)])
    await until(lambda: writer.log.tail == 1)
    backend.clock.ahead += 2
    for shared in (True, False):
        with pytest.raises(JournalFullError):
            await journal.create(info("more", shared=shared))
    with pytest.raises(JournalFullError):
        await journal.submit("a", Append(records=[b"1"]))
    writer.append([b"what has begun goes on"])
    writer.close([], {})
    await until(lambda: writer.log.closed)
    backend.clock.ahead += 2
    await journal.create(info("more", shared=True))
    await journal.submit("a", Append(records=[b"1"]))
    await journal.stop()


async def test_callers_cannot_fill_what_the_gateway_needs_for_itself(backend: Any) -> None:
    if backend.clock is None:
        pytest.skip("the server has its own limit")
    journal = await backend.open(max_bytes=20_000)
    await journal.create(info("~own", shared=True, owner=OWN))
    await journal.create(info("a", shared=True), [random.randbytes(11_000)])
    backend.clock.ahead += 2
    with pytest.raises(JournalFullError):
        await journal.submit("a", Append(records=[b"1"]))
    await journal.submit("~own", Append(records=[b"1"]))
    await journal.create(info("~more", shared=True, owner=OWN))
    await journal.stop()


async def test_the_same_append_three_times_at_once_counts_once(journal: Journal) -> None:
    await _shared(journal)
    append = Append(records=[b"1"], producer=Producer("p", 0, 0))
    done = await asyncio.gather(*(journal.submit("s", append) for _ in range(3)))
    assert sorted(one.duplicate for one in done) == [False, True, True]
    assert all(one.tail == 1 for one in done), "none is acknowledged before it is stored"
    assert (await journal.open("s")).tail == 1


# Time


@pytest.fixture
async def timed(backend: Any) -> Any:
    if backend.clock is None:
        pytest.skip("the server has the clock")
    return backend


async def test_a_stream_lives_on_for_its_ttl_after_it_was_used(timed: Any, journal: Journal) -> None:
    await _shared(journal, ttl=100, created=timed.clock())
    timed.clock.ahead += 90
    await journal.submit("s", Append(records=[b"1"]))
    timed.clock.ahead += 90
    await journal.open("s")
    timed.clock.ahead += 90
    await journal.open("s", touch=False)
    timed.clock.ahead += 11
    with pytest.raises(StreamNotFoundError):
        await journal.open("s")
    with pytest.raises(StreamNotFoundError):
        await journal.submit("s", Append(records=[b"2"]))
    again = await journal.create(info())
    assert again.log.tail == 0


async def test_a_stream_expires(timed: Any, journal: Journal) -> None:
    await journal.create(info(expires=timed.clock() + 100))
    timed.clock.ahead += 99
    await journal.open("s")
    timed.clock.ahead += 2
    with pytest.raises(StreamNotFoundError):
        await journal.open("s")


async def test_the_readers_of_a_stream_whose_time_is_over_are_told(timed: Any, journal: Any) -> None:
    await _shared(journal, ttl=100, created=timed.clock())
    log = await journal.open("s")
    timed.clock.ahead += 101
    journal.sweep()
    await until(lambda: log.deleted)
    with pytest.raises(StreamNotFoundError):
        await log.fetch(0, 100)


# Old responses


async def _tidied(journal: Any) -> None:
    """Have what has ended put in its place: in SQLite its age counts from then. Redis does it at once."""
    if hasattr(journal, "sweep"):
        journal.sweep()
    await until(lambda: not getattr(journal, "_sweeping", False))


async def _removed(journal: Any, name: str) -> StreamNotFoundError:
    """Have what is too old removed; return what is said of the stream then."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if hasattr(journal, "sweep"):
                journal.sweep()
            try:
                await journal.open(name, touch=False)
            except StreamNotFoundError as error:
                return error
            await asyncio.sleep(0)


async def test_a_response_that_was_too_old_is_expired_and_one_that_never_was_is_not_found(
    backend: Any,
) -> None:
    retention = 0.01 if backend.clock is None else 100.0
    now = time.time() - 5  # for the journal whose server has the clock
    name, never = new_stream_id(now), new_stream_id(now + 60)
    journal = await backend.open(retention=retention)
    writer = await journal.create(info(name, created=now), _records(3))
    writer.close([], {})
    await until(lambda: writer.log.closed)
    await journal.create(info(expires=time.time() + 100))
    # Redis removes it by its own clock, perhaps before it could be opened again.
    log = writer.log if backend.clock is None else await journal.open(name)
    if backend.clock is not None:
        await _tidied(journal)
        backend.clock.ahead += 50
        assert type(journal.missing(new_stream_id(now))) is StreamNotFoundError, "nothing was removed yet"
        backend.clock.ahead += 51
    error = await _removed(journal, name)
    assert isinstance(error, OffsetExpiredError)
    assert (error.code, error.status) == ("offset-expired", 410)
    with contextlib.suppress(OffsetExpiredError):  # who has it open is given what was there, or told
        assert await read_all(log) == _records(3)
    for call in (journal.delete(name), journal.claim(name), journal.submit(name, Append(records=[b"1"]))):
        with pytest.raises(OffsetExpiredError):
            await call
    if backend.durable:
        await journal.stop()
        journal = await backend.open(retention=retention)
        with pytest.raises(OffsetExpiredError):
            await journal.open(name)
    for other in (never, "s" if backend.clock is not None else "none", name[1:], name.upper(), f"{name}0"):
        with pytest.raises(StreamNotFoundError) as refused:
            await journal.open(other)
        assert type(refused.value) is StreamNotFoundError, other
    await journal.stop()


# A new start


@pytest.fixture
async def durable(backend: Any) -> Any:
    if not backend.durable:
        pytest.skip("keeps nothing")
    return backend


@pytest.mark.parametrize("crashed", [False, True], ids=["stopped", "crashed"])
async def test_everything_is_there_after_a_new_start(durable: Any, *, crashed: bool) -> None:
    journal = await durable.open()
    meta = {"request": {"model": "m"}}
    writer = await journal.create(info("open", owner="me", meta=meta, created=5.0), _records(3))
    writer = await journal.claim("open")
    writer.append(_records(100, 3))
    ended = await journal.create(info("ended"), _records(50))
    ended.close([b"last"], {"outcome": "failed"})
    await _shared(journal)
    await journal.submit("s", Append(records=[b"1"], sequence="b", producer=Producer("p", 2, 0), close=False))
    await journal.create(info("gone"), [b"1"])
    await journal.delete("gone")
    await until(lambda: writer.log.tail == 103 and ended.log.closed)
    await (durable.crash(journal) if crashed else journal.stop())

    journal = await durable.open()
    log = await journal.open("open")
    assert (log.info.owner, log.info.meta, log.info.created, log.info.epoch) == ("me", meta, 5.0, 1)
    assert (log.tail, log.closed) == (103, False)
    assert await read_all(log) == _records(103)
    log = await journal.open("ended")
    assert (log.tail, log.closed, log.info.result) == (51, True, {"outcome": "failed"})
    assert await read_all(log) == [*_records(50), b"last"]
    with pytest.raises(StreamNotFoundError):
        await journal.open("gone")
    with pytest.raises(SequenceConflictError):
        await journal.submit("s", Append(records=[b"no"], sequence="a"))
    with pytest.raises(ProducerStaleError):
        await journal.submit("s", Append(records=[b"no"], producer=Producer("p", 1, 5)))
    assert (await journal.submit("s", Append(records=[b"1"], producer=Producer("p", 2, 0)))).duplicate
    assert (await journal.submit("s", Append(records=[b"2"], producer=Producer("p", 2, 1)))).tail == 2
    again = await journal.claim("open")
    assert again.log.info.epoch == 2
    again.append([b"more"])
    again.close([], {"outcome": "completed"})
    await until(lambda: again.log.closed)
    assert await read_all(await journal.open("open"), 103) == [b"more"]
    await journal.stop()


async def test_the_responses_that_were_being_written_are_orphans_oldest_first(durable: Any) -> None:
    journal = await durable.open()
    for n in range(6):
        await journal.create(info(f"s{n}", created=float(n + 1)))
    await _shared(journal)
    await journal.delete("s4")
    closed = await journal.claim("s5")
    closed.close([], {})
    await until(lambda: closed.log.closed)
    assert await journal.orphans() == []
    await durable.crash(journal)

    journal = await durable.open()
    assert await journal.orphans() == ["s0", "s1", "s2", "s3"]
    assert await journal.orphans() == ["s0", "s1", "s2", "s3"], "until somebody goes on with them"
    await journal.claim("s1")
    await journal.delete("s3")
    assert await journal.orphans() == ["s0", "s2"]
    await journal.create(info("new"))
    assert await journal.orphans() == ["s0", "s2"]
    await journal.stop()
