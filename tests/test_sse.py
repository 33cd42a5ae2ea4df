from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from calls import calls_of
from everytoken import sse
from everytoken.errors import EventTooLargeError, LocalProtocolError
from everytoken.sse import MAX_RETRY, ServerSentEvent, SSEDecoder, encode
from everytoken.testing.splits import THREE_WAY_BYTES, split_everywhere
from sse_reference import Outcome, decode_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[1] / "spec" / "cases" / "sse.yaml").read_text(encoding="utf-8")
)
UNLIMITED = [case for case in CASES if "limits" not in case]
MIB = 1024 * 1024


def case_input(case: dict[str, Any]) -> bytes:
    return bytes.fromhex(case["hex"]) if "hex" in case else case["input"].encode()


def case_decoder(case: dict[str, Any]) -> SSEDecoder:
    limits = case.get("limits")
    return (
        SSEDecoder(max_line_bytes=limits["line"], max_event_bytes=limits["event"]) if limits else SSEDecoder()
    )


def case_outcome(case: dict[str, Any]) -> Outcome:
    events = [ServerSentEvent(**event) for event in case["events"]]
    return Outcome(events, case.get("last_event_id", ""), case.get("retry"), case.get("error"))


def outcome(decoder: SSEDecoder, reads: Iterable[bytes]) -> Outcome:
    events: list[ServerSentEvent] = []
    error = None
    try:
        for read in reads:
            events += decoder.receive_data(read)
        events += decoder.receive_eof()
    except EventTooLargeError as failure:
        events += failure.events
        error = failure.code
    return Outcome(events, decoder.last_event_id, decoder.retry, error)


def name_of(case: dict[str, Any]) -> str:
    return str(case["name"])


def in_reads(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


# --- the table


def test_the_names_of_the_cases_are_unique():
    assert len({name_of(case) for case in CASES}) == len(CASES) > 60


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_case_is_the_same_for_every_split(case: dict[str, Any]):
    expected = case_outcome(case)
    for reads in split_everywhere(case_input(case)):
        assert outcome(case_decoder(case), reads) == expected, reads


@pytest.mark.parametrize("case", UNLIMITED, ids=name_of)
def test_an_event_is_out_with_its_last_byte_and_never_taken_back(case: dict[str, Any]):
    data = case_input(case)
    whole = case_outcome(case).events
    decoder = SSEDecoder()
    events: list[ServerSentEvent] = []
    for end in range(len(data) + 1):
        events += decoder.receive_data(data[end - 1 : end] if end else b"")
        assert events == decode_document(data[:end]).events
        assert events == whole[: len(events)]
        assert outcome(SSEDecoder(), [data[:end]]).events == events
    assert events == whole


@pytest.mark.parametrize("case", UNLIMITED, ids=name_of)
def test_the_reference_agrees_with_the_table(case: dict[str, Any]):
    assert decode_document(case_input(case)) == case_outcome(case)


# --- properties

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
LINE = st.sampled_from([
    "data", "data:", "data: a", "data:b", "data:  c", "data: é世界😀", "data: \u2028\u0085\v", "event: e", "event:",
    "id: 1", "id:2", "id", "id: \0", "retry: 3", "retry:4", "retry: -5", "retry: 1_0", ":", ": comment", "x: y",
    "\ufeff", "\ufeffdata: f", " ", "data: a\nid: 7", "data: b\n\ndata: c", "data: d\n\ndata: e\n",
])  # fmt: skip
LINE_END = st.sampled_from([b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r", b"\r\r\n", b""])
PIECE = st.tuples(LINE.map(str.encode) | st.binary(max_size=6), LINE_END).map(b"".join)
DOCUMENT = st.lists(PIECE, max_size=12).map(b"".join)
CUTS = st.lists(st.integers(0, 120), max_size=6)
# What nearly all streams look like, where the decoder takes whole blocks at once, with a few other blocks in between.
COMMON_BLOCK = st.sampled_from([
    b"data: a\n\n", b"data: b\n\n", b"data: \xe4\xb8\x96\xff\n\n", b"data: a\nid: 1\n\n", b"data: b\nid: \n\n",
    b"data: c\nid:  \xff\n\n", b"data: a\nid: \0\n\n", b"data: \0\n\n", b"data: a\nid:3\n\n", b"data: \n\n",
    b"data: a\nid: 4\nid: 5\n\n", b"data: a\nid: 6\n\nid: 7\n\n", b"data: a\ndata: b\nid: 8\n\n",
    b"data: a\nretry: 9\n\n", b"data: a\ndata: b\n\n", b"data: a\n: c\n\n", b": c\n\n", b"\n", b"\n\n",
    b"data:a\n\n", b"event: e\ndata: a\n\n",
])  # fmt: skip
COMMON = st.lists(COMMON_BLOCK, max_size=8).map(b"".join)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = [0, *sorted(min(end, len(data)) for end in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(ends)]


@given(
    DOCUMENT | COMMON | COMMON.map(lambda data: data.replace(b"\n", b"\r\n")) | st.binary(max_size=60), CUTS
)
@example(b"data: a\n\n\ndata: b\n\n", [9])
def test_any_document_in_any_reads_is_what_the_standard_says(data: bytes, cuts: list[int]):
    assert outcome(SSEDecoder(), cut(data, cuts)) == decode_document(data)


@given(st.lists(PIECE | st.just(b"\n\n\n\n") | st.just(b"\r\r\r"), max_size=12).map(b"".join), CUTS)
def test_runs_of_blank_lines_are_what_the_standard_says(data: bytes, cuts: list[int]):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sse, "_LARGE", 0)
        assert outcome(SSEDecoder(), cut(data, cuts)) == decode_document(data)


LINE = st.sampled_from(
    b"|event: ping|event: x|id: 1|id: 2|id|idx: 3|retry: 5|retry: x|: c|data: a|data|date: a|da".split(b"|")
)


@given(st.lists(LINE, max_size=30).map(b"\n".join), CUTS)
@example(b"event: x\n\nid: 1\n\nevent: y\ndata: a\n\n", [2])
def test_a_flood_of_lines_that_say_nothing_is_what_the_standard_says(data: bytes, cuts: list[int]):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sse, "_MANY", 0)
        assert outcome(SSEDecoder(), cut(data, cuts)) == decode_document(data)


def test_a_flood_of_blank_lines_costs_less_than_as_much_text():
    def cost(data: bytes) -> float:
        times = []
        for _ in range(5):
            decoder = SSEDecoder()
            since = time.process_time()
            decoder.receive_data(data)
            times.append(time.process_time() - since)
        return min(times)

    assert cost(b"\n" * 262_144) < cost(b"data: a word\n\n" * (262_144 // 14))


@given(DOCUMENT | COMMON, CUTS, st.integers(1, 20), st.integers(1, 20))
def test_limits_strike_at_the_same_place_for_every_split(data: bytes, cuts: list[int], line: int, event: int):
    def decoder() -> SSEDecoder:
        return SSEDecoder(max_line_bytes=line, max_event_bytes=event)

    whole = outcome(decoder(), [data])
    assert outcome(decoder(), cut(data, cuts)) == whole
    assert outcome(decoder(), in_reads(data, 1)) == whole
    assert whole.events == decode_document(data).events[: len(whole.events)]
    assert (whole.error is None) == (whole == decode_document(data))


# --- limits and ends


def test_a_failed_decoder_stays_failed():
    decoder = SSEDecoder(max_line_bytes=10)
    with pytest.raises(EventTooLargeError, match="line is longer than 10 bytes") as first:
        decoder.receive_data(b"data: a\n\n" + b"x" * 11)
    assert first.value.events == (ServerSentEvent(data="a"),)
    for call in (
        lambda: decoder.receive_data(b"\n\ndata: b\n\n"),
        lambda: decoder.receive_data(b""),
        decoder.receive_eof,
    ):
        with pytest.raises(EventTooLargeError, match="line is longer than 10 bytes") as again:
            call()
        assert again.value.events == ()


def test_a_decoder_serves_one_stream():
    decoder = SSEDecoder()
    assert decoder.receive_data(b"id: 1\ndata: a\n\nid: 2\ndata: b") == [ServerSentEvent(data="a", id="1")]
    assert decoder.receive_eof() == []
    assert decoder.receive_eof() == []
    assert decoder.last_event_id == "1"
    with pytest.raises(LocalProtocolError):
        decoder.receive_data(b"data: c\n\n")


def test_a_retry_of_thousands_of_digits_is_the_largest():
    decoder = SSEDecoder()
    decoder.receive_data(b"retry: " + b"9" * 100_000 + b"\n")
    assert decoder.retry == MAX_RETRY
    decoder.receive_data(b"retry: " + b"0" * 100_000 + b"7\n")
    assert decoder.retry == 7


@pytest.mark.parametrize(
    "unit",
    [b"x", b"data\ndata:\n", b"data: a\n"],
    ids=["a line without end", "an event of empty lines without end", "an event of short lines without end"],
)
def test_what_is_kept_is_limited(unit: bytes):
    limit = MIB // 64
    decoder = SSEDecoder(max_line_bytes=limit, max_event_bytes=limit)
    read = unit * (4096 // len(unit))
    tracemalloc.start()
    try:
        result = outcome(decoder, [read] * (16 * limit // len(read)))
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result == Outcome([], error="event-too-large")
    assert kept < limit // 2, "a failed decoder still holds what it refused"
    # Growing a buffer may hold it twice for a moment; a read of short lines is split into many objects.
    assert peak < 2 * limit + 16 * len(read), peak


def test_comments_without_end_are_not_kept():
    decoder = SSEDecoder(max_line_bytes=100, max_event_bytes=100)
    decoder.receive_data(b"data: a\n")
    for _ in range(100):
        assert decoder.receive_data(b": keep-alive\n" * 10) == []
    assert decoder.receive_data(b"\n") == [ServerSentEvent(data="a")]


# --- linear cost


@pytest.mark.parametrize(
    ("unit", "read"),
    [
        (b"x", 1),
        (b"x", 64),
        (b"data: a\n", 1),
        (b"data: a\n", 1000),
        (b"data: a\n\n", 7),
        (b"\r\n", 3),
        (b"\n", 1000),
    ],
    ids=[
        "one line byte by byte",
        "one line in larger reads",
        "an event of many lines byte by byte",
        "an event of many lines in larger reads",
        "events that straddle reads",
        "CRLFs that straddle reads",
        "blank lines",
    ],
)
def test_twice_the_bytes_cost_twice_the_calls(unit: bytes, read: int):
    def cost(units: int) -> int:
        return calls_of(lambda: outcome(SSEDecoder(), in_reads(unit * units, read)))

    once = cost(500)
    assert cost(1000) <= 2.1 * once
    assert cost(2000) <= 4.2 * once


@pytest.mark.parametrize(
    "data",
    [b"data: " + b"x" * (14 * MIB) + b"\n\n", (b"data: " + b"x" * 1023 + b"\n") * (14 * 1024) + b"\n"],
    ids=["one line", "an event of many lines"],
)
def test_a_huge_event_in_small_reads_is_not_copied_again_and_again(data: bytes):
    # Copies are not calls, so this one looks at the processor's time (not the clock's), with two orders of magnitude
    # between what it allows and what it takes: joining or searching what is kept anew for each of these reads moves
    # more than 50 GB. The speed itself is the benchmark's subject.
    before = time.process_time()
    events = outcome(SSEDecoder(), in_reads(data, 1024)).events
    assert time.process_time() - before < 5
    assert [event.data.count("x") for event in events] == [data.count(b"x")]


# --- events and the encoder


def test_an_event_is_an_immutable_value():
    event = ServerSentEvent("e", "d", "1", 2)
    assert event == ServerSentEvent(event="e", data="d", id="1", retry=2) != ServerSentEvent("e", "d", "1", 3)
    assert hash(event) == hash(ServerSentEvent("e", "d", "1", 2))
    assert repr(event) == "ServerSentEvent(event='e', data='d', id='1', retry=2)"
    assert ServerSentEvent() == ServerSentEvent("message", "", "", None)
    with pytest.raises(AttributeError):
        event.data = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("event", "encoded"),
    [
        (ServerSentEvent(), b"data: \n\n"),
        (ServerSentEvent(data="a"), b"data: a\n\n"),
        (ServerSentEvent(data="a\n\nb\n"), b"data: a\ndata: \ndata: b\ndata: \n\n"),
        (ServerSentEvent(data=" a"), b"data:  a\n\n"),
        (ServerSentEvent(data="\u2028世"), "data: \u2028世\n\n".encode()),
        (ServerSentEvent("e", "a", "1", 5), b"event: e\nretry: 5\ndata: a\nid: 1\n\n"),
        (ServerSentEvent(data="a\nb", id=" 1"), b"data: a\ndata: b\nid:  1\n\n"),
    ],
    ids=[
        "empty data is an empty data line",
        "what is at its default is not written",
        "LF in data starts another data line",
        "a leading space is kept by a second one",
        "U+2028 is a character like any other",
        "the id is the last line",
        "the id is the last line behind several of data",
    ],
)
def test_an_event_is_encoded_so(event: ServerSentEvent, encoded: bytes):
    assert encode(event) == encoded
    assert SSEDecoder().receive_data(encoded) == [event]


@pytest.mark.parametrize(
    "event",
    [
        ServerSentEvent(data="a\rb"),
        ServerSentEvent(data="a\r\nb"),
        ServerSentEvent(event="a\nb"),
        ServerSentEvent(event="a\r"),
        ServerSentEvent(event=""),
        ServerSentEvent(id="a\nb"),
        ServerSentEvent(id="\r"),
        ServerSentEvent(id="a\0"),
        ServerSentEvent(retry=-1),
        ServerSentEvent(retry=MAX_RETRY + 1),
        ServerSentEvent(data="\ud800"),
        ServerSentEvent(id="\udfff"),
    ],
    ids=repr,
)
def test_what_the_format_cannot_carry_is_refused(event: ServerSentEvent):
    with pytest.raises(LocalProtocolError):
        encode(event)


EVENT = st.builds(
    ServerSentEvent,
    st.just("message") | TEXT,
    TEXT,
    TEXT,
    st.none() | st.integers(-1, 9) | st.just(MAX_RETRY),
)


@given(st.lists(EVENT, max_size=5), CUTS)
def test_an_encoded_event_decodes_to_itself_or_is_refused(events: list[ServerSentEvent], cuts: list[int]):
    blocks = []
    expected: list[ServerSentEvent] = []
    last_id, retry = "", None
    for event in events:
        try:
            blocks.append(encode(event))
        except LocalProtocolError:
            continue
        assert SSEDecoder().receive_data(blocks[-1]) == [event]
        # In a stream, what an event leaves open is what was in force before it.
        last_id = event.id or last_id
        retry = event.retry if event.retry is not None else retry
        expected.append(ServerSentEvent(event.event, event.data, last_id, retry))
    assert outcome(SSEDecoder(), cut(b"".join(blocks), cuts)) == Outcome(expected, last_id, retry)


# --- the helper


def test_split_everywhere_keeps_the_bytes_and_cuts_everywhere():
    data = b"abcd"
    splits = list(split_everywhere(data))
    assert {b"".join(reads) for reads in splits} == {data}
    assert [data] in splits
    assert [b"a", b"b", b"c", b"d"] in splits
    assert all([data[:i], data[i:]] in splits for i in range(1, 4))
    assert all([data[:i], data[i:j], data[j:]] in splits for i in range(5) for j in range(i, 5))
    assert [b"", data, b""] in splits
    assert [b"", b"a", b"", b"b", b"", b"c", b"", b"d", b""] in splits


def test_split_everywhere_cuts_long_input_in_two():
    data = bytes(THREE_WAY_BYTES + 1)
    splits = list(split_everywhere(data))
    assert len(splits) == 2 * (2 + THREE_WAY_BYTES)
    assert {b"".join(reads) for reads in splits} == {data}


def test_split_everywhere_takes_the_empty_input():
    assert {b"".join(reads) for reads in split_everywhere(b"")} == {b""}


def test_the_public_names_are_complete():
    own = {name for name, value in vars(sse).items() if getattr(value, "__module__", None) == sse.__name__}
    assert {name for name in own if name[0] != "_"} | {"MAX_BYTES", "MAX_RETRY"} == set(sse.__all__)


@pytest.mark.parametrize(
    "stream",
    [
        b"event: a\ndata: 1\n\nevent: b\ndata: 2\n\n",
        b"event: a\ndata: 1\n\ndata: 2\n\nevent: c\ndata: 3\n\n",
        b"event: \ndata: 1\n\n",
        b"event: a\nid: 1\ndata: 1\n\nevent: b\ndata: 2\n\n",
        b"event: a\ndata: 1\ndata: 2\n\n",
        b"event: a\ndata: event: b\n\nevent: b\ndata: \n\n",
        b"event: a\n\nevent: b\ndata: 2\n\n",
        "event: é\ndata: \u2028\n\n".encode(),
    ],
)
def test_named_events_are_the_same_in_one_read_and_byte_by_byte(stream):
    whole, bytewise = SSEDecoder(), SSEDecoder()
    events = whole.receive_data(stream)
    assert events == [event for byte in stream for event in bytewise.receive_data(bytes([byte]))]
    assert whole.last_event_id == bytewise.last_event_id
