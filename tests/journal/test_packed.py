"""Records come out of their packing byte for byte as they went in, and take little room."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everytoken.journal.packed import PackedRecords

_FRAMES = st.tuples(st.binary(max_size=80), st.binary(max_size=80))
_FAMILY = _FRAMES.flatmap(
    lambda frame: st.lists(
        st.binary(max_size=12).map(lambda middle: frame[0] + middle + frame[1]), max_size=12
    )
)
_RECORDS = st.lists(st.one_of(_FAMILY, st.lists(st.binary(max_size=120), max_size=4)), max_size=6).map(
    lambda families: [record for family in families for record in family]
)


def _chunk(text: str, reason: str = "null") -> bytes:
    return (
        '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"a-model",'
        f'"choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":{reason}}}]}}'
    ).encode()


@given(_RECORDS, st.integers(min_value=1, max_value=5))
def test_every_span_comes_out_as_it_went_in(records: list[bytes], step: int) -> None:
    packed = PackedRecords()
    for start in range(0, len(records), step):
        packed.extend(records[start : start + step])
    assert len(packed) == len(records)
    for start in range(len(records) + 1):
        for stop in (start, start + 1, start + 3, len(records)):
            assert packed[start:stop] == records[start:stop]


def test_the_chunks_of_one_response_take_a_tenth_of_their_size() -> None:
    words = random.Random(1)
    records = [_chunk(" " + words.choice(["the", "then", "transformer", "a", "é", "流"])) for _ in range(500)]
    records.append(_chunk("", '"stop"'))
    packed = PackedRecords()
    packed.extend(records)
    assert packed[:] == records
    assert packed.nbytes < sum(map(len, records)) / 10


def test_what_has_nothing_in_common_is_kept_as_it_is() -> None:
    noise = random.Random(2)
    records = [noise.randbytes(200) for _ in range(50)]
    packed = PackedRecords()
    packed.extend(records)
    assert packed[:] == records
    assert packed.nbytes < sum(map(len, records)) * 1.1


@given(_RECORDS, st.integers(min_value=1, max_value=5), st.data())
def test_parts_put_together_are_the_same_records(
    records: list[bytes], step: int, data: st.DataObject
) -> None:
    one, other = PackedRecords(), PackedRecords()
    for start in range(0, len(records), step):
        one.extend(records[start : start + step])
        if data.draw(
            st.booleans()
        ):  # what could not be stored is taken back, and comes again with what follows
            one.truncate(start)
            assert one[:] == records[:start]
            one.extend(records[start : start + step])
        other.extend_part(one.part(start))
        assert other[:] == records[: start + step]
    length = data.draw(st.integers(min_value=0, max_value=len(records)))
    loaded = PackedRecords.load(one.dump(length))
    assert loaded[:] == records[:length]
    loaded.extend(records[length:])
    assert loaded[:] == records


@pytest.mark.parametrize("length", range(40))
def test_what_is_damaged_is_not_loaded(length: int) -> None:
    packed = PackedRecords()
    packed.extend([_chunk("a"), _chunk("b"), _chunk("c")])
    data = packed.dump(3)
    with pytest.raises(ValueError):
        PackedRecords.load(data[: len(data) * length // 40])
