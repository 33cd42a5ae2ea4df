"""Numbers and nesting that every journal can store."""

from __future__ import annotations

import json
import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everytoken.errors import InvalidRequestError
from everytoken.gateway.http import read_json_object
from everytoken.journal.sqlite_file import encode
from everytoken.json.bounds import (
    MAX_DEPTH,
    MAX_INTEGER,
    MIN_INTEGER,
    has_too_many_values,
    is_too_deep,
    is_within,
    problem_in,
    problem_in_text,
    storable,
)


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def body(**fields: str) -> bytes:
    """Return a chat request with some fields as they are written."""
    told = "".join(f', "{name}": {value}' for name, value in fields.items())
    return (
        f'{{"model": "m", "stream": true, "messages": [{{"role": "user", "content": "Hi"}}]{told}}}'.encode()
    )


def test_what_a_request_costs_depends_on_its_size_alone():
    """A body of the largest size keeps neither the loop nor the memory busy with what it is refused for."""
    tracemalloc.start()
    try:
        for unit in ("[],", "0,", '"",', "{},"):
            data = body(metadata="[" + unit * (8 * 1024**2 // len(unit)) + "0]")
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with pytest.raises(InvalidRequestError, match="more than 1,000,000 values"):
                read_json_object(data)
            assert tracemalloc.get_traced_memory()[1] - before < 2 * len(data), unit
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", ["a,b[{", '\\",', "\\\\,", "\\u002c,"])
def test_what_stands_in_a_text_is_no_value(text):
    data = f'["{text * 50}", 1, {{"{text}": 2}}]'.encode()
    json.loads(data)
    assert not has_too_many_values(data, 6)
    assert has_too_many_values(data, 3)
    assert not is_too_deep(b'["' + text.encode() * 500 + b'"]')


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_has_no_problem_can_be_stored(value):
    if problem_in(value) is None:
        try:
            encode(value)
        except UnicodeEncodeError:
            assert "\\ud" in json.dumps(value)  # half a character, which no decoder of ours lets in
    encode(storable(value))


@pytest.mark.parametrize(
    ("value", "fine"),
    [(MAX_INTEGER, True), (MAX_INTEGER + 1, False), (MIN_INTEGER, True), (MIN_INTEGER - 1, False)],
)
def test_the_bounds_are_those_of_64_bits(value, fine):
    assert (problem_in({"a": value}) is None) is fine
    assert storable({"a": MAX_INTEGER}) == {"a": MAX_INTEGER}


def test_nesting_is_bounded_in_lists_and_objects():
    def of(levels: int, *, objects: bool) -> object:
        value: object = 1.5
        for _ in range(levels):
            value = {"a": value} if objects else [value]
        return value

    for objects in (True, False):
        assert problem_in(of(MAX_DEPTH, objects=objects)) is None
        path, what = problem_in(of(MAX_DEPTH + 1, objects=objects))
        assert "nested" in what
        assert len(path) < 250
        for levels, deep in ((MAX_DEPTH, False), (MAX_DEPTH + 1, True)):
            text = json.dumps(of(levels, objects=objects)).encode()
            assert is_too_deep(text, MAX_DEPTH) is deep
            assert problem_in_text(text) == ((path, what) if deep else None)


ODD = st.sampled_from(
    [
        *(
            "1180591620717411303424",
            "-9223372036854775809",
            "18446744073709551616",
            "1e400",
            "0.1e999",
            "-1E309",
        ),
        *("18446744073709551615", "-9223372036854775808", "1e308", '"1e400"', "null", "9" * 400),
        *(nested(levels) for levels in (300, 511, 600)),
    ]
)


@given(st.lists(ODD, max_size=4), st.text(max_size=20))
def test_a_glance_never_lets_pass_what_looking_closer_finds(values, text):
    data = f'{{"a": {json.dumps(text)}, "b": [{", ".join(values)}]}}'.encode()
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return
    assert not (is_within(data) and problem_in(value))


def test_a_glance_is_enough_for_a_usual_request():
    assert is_within(body(temperature="0.7", max_tokens="4096", seed="2147483647"))
