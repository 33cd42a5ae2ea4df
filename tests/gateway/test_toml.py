"""Where the keys of a file are, and values as they are written."""

from __future__ import annotations

import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everytoken.gateway.toml import key, places, written

TEXT = '''# a = 1
a = 1 # [b]
"b.c" = "x # y"
d.e = """
[f]
g = 1"""
h = [
  1, "],", # ]
  [2, { i = "}" }],
]
  [j] # k
l = { m = 'n = 1', "o" = [3] }
[[p]]
q = 1979-05-27 07:32:00
[p.r]
s = 1
[[p]]
[[p.t]]
u = true
[[p.t]]
u = \'\'\'\'a\'\'\'\'
[p.v."w.x"]
y = 1_0.5e+1
'''
EXPECTED = {
    ("a",): (2, 1),
    ("b.c",): (3, 1),
    ("d",): (4, 1),
    ("d", "e"): (4, 1),
    ("h",): (7, 1),
    ("h", 0): (8, 3),
    ("h", 1): (8, 6),
    ("h", 2): (9, 3),
    ("h", 2, 0): (9, 4),
    ("h", 2, 1): (9, 7),
    ("h", 2, 1, "i"): (9, 9),
    ("j",): (11, 3),
    ("j", "l"): (12, 1),
    ("j", "l", "m"): (12, 7),
    ("j", "l", "o"): (12, 20),
    ("j", "l", "o", 0): (12, 27),
    ("p",): (13, 1),
    ("p", 0): (13, 1),
    ("p", 0, "q"): (14, 1),
    ("p", 0, "r"): (15, 1),
    ("p", 0, "r", "s"): (16, 1),
    ("p", 1): (17, 1),
    ("p", 1, "t"): (18, 1),
    ("p", 1, "t", 0): (18, 1),
    ("p", 1, "t", 0, "u"): (19, 1),
    ("p", 1, "t", 1): (20, 1),
    ("p", 1, "t", 1, "u"): (21, 1),
    ("p", 1, "v", "w.x"): (22, 1),
    ("p", 1, "v", "w.x", "y"): (23, 1),
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_key_is_found_where_it_is(newline):
    tomllib.loads(TEXT)
    assert places(TEXT.replace("\n", newline)) == EXPECTED


def paths_of(value, path=()):
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in items:
        yield (*path, name)
        yield from paths_of(one, (*path, name))


TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
SCALARS = st.one_of(
    TEXTS, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, width=64)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_is_written_is_read_and_found(value):
    text = "".join(f"{key(name)} = {written(one)}\n" for name, one in value.items())
    assert tomllib.loads(text) == value
    assert set(places(text)) == set(paths_of(value))


@given(st.text("ab.=[]{}\"'#,\n1 ", max_size=40))
def test_what_is_no_toml_is_no_reason_to_fail(text):
    places(text)


@pytest.mark.parametrize(("value", "text"), [(math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan")])
def test_numbers_that_are_none(value, text):
    assert written(value) == text


def test_a_set_is_written_in_order_and_none_is_left_out():
    assert written({"a": frozenset({3, 1}), "b": None}) == "{ a = [1, 3] }"
