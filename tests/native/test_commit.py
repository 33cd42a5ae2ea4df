"""What a commit does with a stream, in C and in Python: the same, whatever was stored, refused or kept in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everytoken.errors import JournalUnavailableError
from everytoken.journal import StreamInfo
from everytoken.journal.commit import GroupCommit
from everytoken.journal.packed import PackedRecords
from everytoken.journal.stream import Stream
from everytoken.native import parts
from sampling import SOAK

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(parts.commit is None, reason="the C part was not built")

RECORD = b'{"id":"chatcmpl-123","object":"chat.completion.chunk","choices":[{"delta":{"content":"%b"}}]}'
RECORDS = st.one_of(
    st.integers(0, 20).map(lambda number: RECORD % b"word %d" % number),
    st.binary(max_size=80),
    st.integers(1, 3).map(lambda size: RECORD % (b"x" * 2000 * size)),
)


def state(stream: Stream, told: list[int]) -> dict[str, Any]:
    return {
        "tail": stream.tail,
        "packed": stream.records.dump(len(stream.records)),
        "newest": list(stream._newest),
        "pending": stream.pending,
        "pending_bytes": stream.pending_bytes,
        "storing": stream.storing,
        "dirty": stream.dirty,
        "closed": stream.closed,
        "created": stream.created,
        "result": stream.info.result,
        "told": told,
    }


def new(told: list[int]) -> Stream:
    stream = Stream(StreamInfo(id="s", content_type="application/json", created=0.0))
    stream.subscribe(lambda: told.append(stream.tail))
    return stream


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.lists(RECORDS, min_size=1, max_size=4)),
        st.tuples(st.just("begin"), st.none()),
        st.tuples(st.just("commit"), st.none()),
        st.tuples(st.just("put_back"), st.none()),
        st.tuples(st.just("part"), st.integers(0, 5)),
        st.tuples(st.just("trim"), st.none()),
        st.tuples(st.just("end"), st.none()),
        st.tuples(st.just("wait"), st.none()),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=3000 if SOAK else 200)
@given(steps=STEPS)
async def test_it_does_what_python_does(steps):
    assert parts.begin
    assert parts.commit
    assert parts.part
    both: list[tuple[Stream, list[int], Any, Any, Any]] = []
    for begin, commit, part in [
        (Stream.begin, Stream.commit, PackedRecords.part),
        (parts.begin, parts.commit, parts.part),
    ]:
        told: list[int] = []
        both.append((new(told), told, begin, commit, part))
    storing = False
    for name, value in steps:
        seen = []
        for stream, told, begin, commit, part in both:
            found = None
            if name == "append" and not stream.closing:
                stream.pending += list(value)  # type: ignore[arg-type]
                stream.pending_bytes += sum(map(len, value))  # type: ignore[arg-type]
                stream.dirty = True
            elif name == "begin" and not storing:
                begin(stream)
            elif name == "commit" and storing:
                commit(stream)
            elif name == "put_back" and storing:
                stream.put_back()
            elif name == "part":
                found = part(stream.records, max(0, len(stream.records) - value))  # type: ignore[operator]
            elif name == "trim" and not storing:
                stream.trim()
            elif name == "end" and not stream.closing:
                stream.end({"outcome": "completed"})
            elif name == "wait":
                stream.wait()
            seen.append((state(stream, list(told)), found))
        storing = (storing or name == "begin") and name not in {"commit", "put_back"}
        assert seen[0] == seen[1]


@pytest.mark.parametrize("start", range(8))
def test_a_part_is_what_follows(start):
    assert parts.part
    packed = PackedRecords()
    packed.extend([RECORD % b"%d" % number for number in range(6)] + [b"odd"])
    assert parts.part(packed, start) == packed.part(start)


@pytest.mark.parametrize("odd", [2**70, "1", None])
def test_a_part_that_is_none_is_refused_as_python_does(odd):
    assert parts.part
    packed = PackedRecords()
    packed.extend([RECORD % b"1", RECORD % b"2"])
    seen = []
    for part in (parts.part, PackedRecords.part):
        with pytest.raises((TypeError, IndexError, OverflowError)) as raised:
            part(packed, odd)
        seen.append(raised.type)
    assert seen[0] is seen[1]


class Broken(PackedRecords):
    """Records that cannot take one with a certain word in it."""

    def extend(self, records: Any) -> None:
        for record in records:
            if b"bad" in record:
                raise MemoryError
            super().extend([record])


def committed(store: Callable[[Any], bool]) -> GroupCommit:
    return GroupCommit(store, lambda _: None)


async def test_a_record_that_cannot_be_packed_is_that_stream_s_error_only():
    commit = committed(lambda _: True)
    good, bad = new([]), new([])
    bad.records = Broken()
    for stream in (good, bad):
        stream.created = True
    good.pending.append(RECORD % b"good")
    bad.pending.append(RECORD % b"bad")
    commit.add(bad)
    commit.add(good)
    await commit.finish()
    assert good.tail == 1
    assert list(good.records[0:1]) == [RECORD % b"good"]
    assert bad.broken_off or bad.lost is not None


async def test_what_cannot_be_stored_now_is_stored_later():
    tries = []

    def store(streams: Any) -> bool:
        tries.append(len(streams))
        if len(tries) < 3:
            raise JournalUnavailableError("not now")
        return True

    commit = committed(store)
    stream = new(told := [])
    stream.created = True
    for number in range(3):
        stream.pending.append(RECORD % b"%d" % number)
        commit.add(stream)
    async with asyncio.timeout(10):
        while stream.tail < 3:  # noqa: ASYNC110  # the second try comes by the clock
            await asyncio.sleep(0)
    assert told == [3]
    assert list(stream.records[0:3]) == [RECORD % b"%d" % number for number in range(3)]


async def test_a_reader_that_raises_keeps_nothing_from_the_others(caplog):
    assert parts.begin
    assert parts.commit
    stream = new(told := [])

    def moved() -> None:
        raise ValueError("a bug")

    stream.subscribe(moved)
    stream.subscribe(lambda: told.append(-1))
    stream.pending.append(RECORD % b"x")
    parts.begin(stream)
    parts.commit(stream)
    assert told == [1, -1]
    assert "a reader of stream s failed" in caplog.text


def test_what_is_no_stream_of_ours_is_asked_itself():
    assert parts.begin
    assert parts.commit
    asked = []

    class Other:
        def begin(self) -> None:
            asked.append("begin")

        def commit(self) -> None:
            asked.append("commit")

    parts.begin(Other())
    parts.commit(Other())
    assert asked == ["begin", "commit"]
